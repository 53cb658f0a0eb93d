#include "engine/file_parts.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "engine/file_reader.h"

enum { THREADS_MAX = 64, AHEAD = 8 << 20 };

/* `len` bytes at `at`, where the descriptor stands. */
static struct err read_part(int fd, uint64_t at, uint8_t *out, size_t len)
{
    if (at / AHEAD != (at + len) / AHEAD || at == 0) /* a hint: without it everything still works */
        (void)posix_fadvise(fd, (off_t)at, 2 * (off_t)AHEAD, POSIX_FADV_WILLNEED);
    struct err e = fd_read_exact(fd, out, len);
    return !is_err(e) ? e
                      : err_set(ERR_IO, "it shrank or failed while it was read (%s); copy it again",
                                err_message());
}

static struct err check_end(const struct parted_file *f)
{
    struct file_reader r = file_reader_of(f->fd, f->size, false);
    r.at = r.size;
    return file_reader_end(&r);
}

void parted_file_init(struct parted_file *f, int fd, uint64_t size)
{
    *f = (struct parted_file){.fd = fd, .size = size, .hash = sha256_new()};
}

void parted_file_cleanup(struct parted_file *f)
{
    if (f->hash == NULL)
        return;
    close(f->fd);
    sha256_free(f->hash);
    *f = (struct parted_file){.fd = -1};
}

struct err parted_file_next(struct parted_file *f, uint8_t *out, size_t len)
{
    TRY(read_part(f->fd, f->at, out, len));
    sha256_update(f->hash, bytes_of(out, len));
    f->at += len;
    return err_ok();
}

/* A slot is free, being filled, full, or taken and not settled. */
struct reading {
    struct parted_file *files;
    size_t n;
    const struct part_memory *memory;
    const struct part_taker *taker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock */
    struct part *parts;           /* by slot */
    size_t *free, *full, *flying; /* slots: a stack; two queues, oldest first */
    size_t n_free, n_full, n_flying;
    size_t next, n_workers;
    bool stopped; /* nothing more need be read */
};

static size_t pop_first(size_t *queue, size_t *n)
{
    size_t first = queue[0];
    memmove(queue, queue + 1, --*n * sizeof *queue);
    return first;
}

/* False when reading has stopped. */
static bool take_free(struct reading *r, size_t *slot)
{
    pthread_mutex_lock(&r->lock);
    while (r->n_free == 0 && !r->stopped)
        pthread_cond_wait(&r->changed, &r->lock);
    bool go = !r->stopped;
    if (go)
        *slot = r->free[--r->n_free];
    pthread_mutex_unlock(&r->lock);
    return go;
}

static void give_full(struct reading *r, size_t slot, struct part part)
{
    pthread_mutex_lock(&r->lock);
    r->parts[slot] = part;
    r->full[r->n_full++] = slot;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static struct err fill(struct reading *r, size_t file, size_t slot)
{
    struct parted_file *f = &r->files[file];
    uint8_t *at = r->memory->data + slot * r->memory->part_len;
    uint64_t left = f->size - f->at;
    size_t len = left < r->memory->part_len ? (size_t)left : r->memory->part_len;
    struct part part = {.file = file, .at = f->at, .data = bytes_of(at, len)};
    TRY(parted_file_next(f, at, len));
    TRY(r->taker->check(r->taker->context, &part));
    give_full(r, slot, part);
    return err_ok();
}

static struct err read_file(struct reading *r, size_t file)
{
    struct parted_file *f = &r->files[file];
    size_t slot = 0;
    while (f->at < f->size) {
        if (!take_free(r, &slot))
            return err_ok(); /* because of another's error */
        TRY(fill(r, file, slot));
    }
    TRY(check_end(f));
    sha256_final(f->hash, f->sha256);
    return err_ok();
}

static void stop(struct reading *r)
{
    pthread_mutex_lock(&r->lock);
    r->stopped = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* The next file that nobody has; n when there is none. */
static size_t next_file(struct reading *r)
{
    pthread_mutex_lock(&r->lock);
    size_t i = r->stopped || r->next == r->n ? r->n : r->next++;
    pthread_mutex_unlock(&r->lock);
    return i;
}

static void *run_worker(void *context)
{
    struct reading *r = context;
    for (size_t i; (i = next_file(r)) < r->n;) {
        struct err e = read_file(r, i);
        r->files[i].code = e.code;
        if (is_err(e)) {
            snprintf(r->files[i].message, sizeof r->files[i].message, "%s", err_message());
            stop(r);
        }
    }
    pthread_mutex_lock(&r->lock);
    r->n_workers--;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* False when no more will be full. */
static bool next_full(struct reading *r, size_t *slot)
{
    pthread_mutex_lock(&r->lock);
    while (r->n_full == 0 && r->n_workers > 0)
        pthread_cond_wait(&r->changed, &r->lock);
    bool got = r->n_full > 0 && !r->stopped;
    if (got)
        *slot = pop_first(r->full, &r->n_full);
    pthread_mutex_unlock(&r->lock);
    return got;
}

/* Of what was taken all but the newest `n_left`. */
static struct err settle(struct reading *r, size_t n_left)
{
    while (r->n_flying > n_left) {
        size_t slot = pop_first(r->flying, &r->n_flying);
        TRY(r->taker->settle(r->taker->context, slot));
        pthread_mutex_lock(&r->lock);
        r->free[r->n_free++] = slot;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    return err_ok();
}

static struct err take_all(struct reading *r)
{
    size_t slot = 0;
    while (next_full(r, &slot)) {
        TRY(r->taker->take(r->taker->context, &r->parts[slot], slot));
        r->flying[r->n_flying++] = slot;
        TRY(settle(r, r->memory->n_slots / 2));
    }
    return settle(r, 0);
}

static size_t start_workers(struct reading *r, pthread_t *threads, unsigned n_threads)
{
    size_t n = 0, wanted = r->n < n_threads ? r->n : n_threads;
    pthread_mutex_lock(&r->lock);
    for (; n < wanted && n < THREADS_MAX; n++)
        if (pthread_create(&threads[n], NULL, run_worker, r) != 0)
            break; /* then with fewer */
    r->n_workers = n;
    pthread_mutex_unlock(&r->lock);
    return n;
}

static struct err first_error(const struct reading *r, struct err taken, size_t *failed)
{
    for (*failed = 0; *failed < r->n; (*failed)++)
        if (r->files[*failed].code != ERR_NONE)
            return err_set(r->files[*failed].code, "%s", r->files[*failed].message);
    return taken;
}

static struct err read_all(struct reading *r, unsigned n_threads, size_t *failed)
{
    pthread_t threads[THREADS_MAX];
    for (size_t i = 0; i < r->memory->n_slots; i++)
        r->free[r->n_free++] = i;
    size_t n = start_workers(r, threads, n_threads);
    struct err taken = n > 0 || r->n == 0 ? take_all(r) : err_set(ERR_MEMORY, "no thread to read");
    char message[512];
    snprintf(message, sizeof message, "%s", is_err(taken) ? err_message() : "");
    stop(r); /* at the end of all files nothing is left to stop */
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    if (is_err(taken))
        taken = err_set(taken.code, "%s", message);
    return first_error(r, taken, failed);
}

struct err file_parts_read(struct parted_file *files, size_t n, unsigned n_threads,
                           const struct part_memory *memory, const struct part_taker *taker,
                           size_t *failed)
{
    struct reading r = {.files = files,
                        .n = n,
                        .memory = memory,
                        .taker = taker,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER};
    size_t *slots = calloc(3 * memory->n_slots, sizeof *slots);
    r.parts = calloc(memory->n_slots, sizeof *r.parts);
    r.free = slots;
    r.full = slots + memory->n_slots;
    r.flying = slots + 2 * memory->n_slots;
    *failed = n;
    struct err e = slots != NULL && r.parts != NULL
                       ? read_all(&r, n_threads, failed)
                       : err_set(ERR_MEMORY, "no memory to read %zu files", n);
    free(slots);
    free(r.parts);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.lock);
    return e;
}
