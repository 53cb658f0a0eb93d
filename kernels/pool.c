#include "kernels/pool.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    /* So that a thread that is held up leaves the rest of its share to the others; no more, since
     * every part begins anew to read from memory, which takes a moment to become fast. */
    PARTS_A_THREAD = 2,
    /* A step is a chain of operations a few microseconds apart: a thread looks this often for the
     * next one before it sleeps; some 50 to 100 microseconds, longer than waking one takes. */
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

    /* The job: written by the caller while no part is unfinished, read by who has claimed one. */
    pool_work *work;
    void *context;
    size_t n_items;
    unsigned n_parts;

    atomic_uint n_unclaimed;  /* parts that nobody has begun */
    atomic_uint n_unfinished; /* parts that are not done */
    atomic_uint n_asleep;     /* workers that wait for `wake` */
    atomic_bool caller_asleep, stopping;
    pthread_mutex_t lock; /* for sleeping only */
    pthread_cond_t wake, done;
};

static void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* The number of unclaimed parts before one of them became ours; 0: there was none. */
static unsigned claim(struct pool *p)
{
    unsigned n = atomic_load(&p->n_unclaimed);
    while (n > 0 && !atomic_compare_exchange_weak(&p->n_unclaimed, &n, n - 1)) {
        /* n was read anew */
    }
    return n;
}

/* Parts until none is unclaimed. The job's fields may be read only after a claim: until that part
 * is finished the caller does not change them. */
static void run_parts(struct pool *p, unsigned index)
{
    for (unsigned n = claim(p); n > 0; n = claim(p)) {
        unsigned part = p->n_parts - n;
        size_t begin = p->n_items * part / p->n_parts, end = p->n_items * (part + 1) / p->n_parts;
        p->work(p->context, begin, end, index);
        if (atomic_fetch_sub(&p->n_unfinished, 1) == 1 && atomic_load(&p->caller_asleep)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static bool has_work(const struct pool *p)
{
    return atomic_load(&p->n_unclaimed) > 0 || atomic_load(&p->stopping);
}

/* A sleeper counts itself before it looks a last time, and wake_sleepers is called after the job is
 * there: one of the two sees the other. */
static void await_work(struct pool *p)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (has_work(p))
            return;
        spin_pause();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (!has_work(p))
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    fesetenv(FE_DFL_ENV);
    while (!atomic_load(&w->pool->stopping)) {
        await_work(w->pool);
        run_parts(w->pool, w->index);
    }
    return NULL;
}

static void wake_sleepers(struct pool *p)
{
    if (atomic_load(&p->n_asleep) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void await_parts(struct pool *p)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load(&p->n_unfinished) == 0)
            return;
        spin_pause();
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_asleep, true);
    while (atomic_load(&p->n_unfinished) != 0)
        pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_asleep, false);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, size_t n_items, size_t grain, pool_work *work, void *context)
{
    if (n_items == 0)
        return;
    size_t most = n_items / (grain > 0 ? grain : 1),
           n_parts = (size_t)p->n_threads * PARTS_A_THREAD;
    if (p->n_threads == 1 || most <= 1) {
        work(context, 0, n_items, 0);
        return;
    }
    p->work = work;
    p->context = context;
    p->n_items = n_items;
    p->n_parts = (unsigned)(most < n_parts ? most : n_parts);
    atomic_store(&p->n_unfinished, p->n_parts);
    atomic_store(&p->n_unclaimed, p->n_parts);
    wake_sleepers(p);
    run_parts(p, 0);
    await_parts(p);
}

struct err pool_new(struct pool **out, unsigned n_threads)
{
    if (n_threads == 0 || n_threads > POOL_THREADS_MAX)
        return err_set(ERR_USAGE, "a pool has 1 to %d threads, not %u", POOL_THREADS_MAX,
                       n_threads);
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
    wake_sleepers(p);
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
