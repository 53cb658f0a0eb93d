#include "kernels/pool.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    MAX_THREADS = 1024,
    /* A step is a chain of operations a few microseconds apart: a worker looks this often for the
     * next one before it sleeps. */
    SPINS = 4000,
};

struct worker {
    struct pool *pool;
    unsigned index; /* 1 to n_threads - 1; the caller is 0 */
    pthread_t thread;
};

struct pool {
    unsigned n_threads, n_started;
    struct worker *workers;

    /* The job: written by the caller before `generation` moves, read by workers after. */
    pool_work *work;
    void *context;
    size_t n_items;
    unsigned n_parts;

    atomic_uint_fast64_t generation;
    atomic_uint n_pending; /* workers that have not finished this generation */
    atomic_bool stopping;
    pthread_mutex_t lock; /* for sleeping only */
    pthread_cond_t wake, done;
};

static void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void run_part(struct pool *p, unsigned index)
{
    if (index >= p->n_parts)
        return;
    size_t begin = p->n_items * index / p->n_parts;
    size_t end = p->n_items * (index + 1) / p->n_parts;
    p->work(p->context, begin, end, index);
}

/* Until the generation is not `seen`; false when the pool stops. */
static bool await_job(struct pool *p, uint_fast64_t seen)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load(&p->generation) != seen)
            return !atomic_load(&p->stopping);
        spin_pause();
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->generation) == seen)
        pthread_cond_wait(&p->wake, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return !atomic_load(&p->stopping);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    fesetenv(FE_DFL_ENV);
    for (uint_fast64_t seen = 0; await_job(p, seen); seen++) {
        run_part(p, w->index);
        if (atomic_fetch_sub(&p->n_pending, 1) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
    return NULL;
}

static void next_generation(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->generation, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void await_workers(struct pool *p)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load(&p->n_pending) == 0)
            return;
        spin_pause();
    }
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->n_pending) != 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, size_t n_items, size_t grain, pool_work *work, void *context)
{
    if (n_items == 0)
        return;
    size_t most = n_items / (grain > 0 ? grain : 1);
    p->work = work;
    p->context = context;
    p->n_items = n_items;
    p->n_parts = most < p->n_threads ? (unsigned)most : p->n_threads;
    if (p->n_parts <= 1) {
        work(context, 0, n_items, 0);
        return;
    }
    atomic_store(&p->n_pending, p->n_threads - 1);
    next_generation(p);
    run_part(p, 0);
    await_workers(p);
}

struct err pool_new(struct pool **out, unsigned n_threads)
{
    if (n_threads == 0 || n_threads > MAX_THREADS)
        return err_set(ERR_USAGE, "a pool has 1 to %d threads, not %u", MAX_THREADS, n_threads);
    struct pool *p = calloc(1, sizeof *p);
    struct worker *workers = calloc(n_threads, sizeof *workers);
    if (p == NULL || workers == NULL) {
        free(p);
        free(workers);
        return err_set(ERR_MEMORY, "no memory for a pool of %u threads", n_threads);
    }
    p->n_threads = n_threads;
    p->workers = workers;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    for (unsigned i = 1; i < n_threads; i++) {
        workers[i] = (struct worker){.pool = p, .index = i};
        int rc = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (rc != 0) {
            pool_free(p);
            return err_set(ERR_MEMORY,
                           "cannot start thread %u of %u (error %d); ask for fewer threads", i,
                           n_threads, rc);
        }
        p->n_started++;
    }
    *out = p;
    return err_ok();
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->stopping, true);
    next_generation(p);
    for (unsigned i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p);
}

unsigned pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}

unsigned pool_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}
