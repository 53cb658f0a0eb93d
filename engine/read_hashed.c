#include "engine/read_hashed.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/file.h"

/* What is hashed should still be in the core's own cache; what is read ahead need not. */
enum { CHUNK = 256 << 10, AHEAD = 32 << 20, THREADS_MAX = 64 };

/* One file, while a thread reads it and another hashes what is there. */
struct reading {
    struct hashed_file *file;
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t n_ready; /* bytes; under the lock */
    bool ended;     /* there will be no more; under the lock */
};

static void keep_error(struct hashed_file *f, struct err e)
{
    f->code = e.code;
    if (is_err(e))
        snprintf(f->message, sizeof f->message, "%s", err_message());
}

struct err read_part(int fd, uint64_t at, uint8_t *out, size_t len)
{
    if (at / AHEAD != (at + len) / AHEAD || at == 0) /* a hint: without it everything still works */
        (void)posix_fadvise(fd, (off_t)at, 2 * (off_t)AHEAD, POSIX_FADV_WILLNEED);
    struct err e = fd_read_exact(fd, out, len);
    return !is_err(e) ? e
                      : err_set(ERR_IO, "it shrank or failed while it was read (%s); copy it again",
                                err_message());
}

struct err read_end(int fd)
{
    uint8_t more;
    struct err e = fd_read_exact(fd, &more, 1);
    if (e.code == ERR_NOT_FOUND) /* the end, as it should be */
        return err_ok();
    TRY(e);
    return err_set(ERR_IO, "it grew while it was read; wait until it is complete");
}

static struct err read_chunk(const struct hashed_file *f, size_t at, size_t *len)
{
    *len = f->size - at < CHUNK ? f->size - at : CHUNK;
    return read_part(f->fd, at, f->data + at, *len);
}

/* Reads and hashes in turn. */
static struct err read_alone(struct hashed_file *f, struct sha256_stream *hash)
{
    for (size_t at = 0, len = 0; at < f->size; at += len) {
        TRY(read_chunk(f, at, &len));
        sha256_update(hash, bytes_of(f->data + at, len));
    }
    return read_end(f->fd);
}

static void publish(struct reading *r, size_t n_ready, bool ended)
{
    pthread_mutex_lock(&r->lock);
    r->n_ready = n_ready;
    r->ended = ended;
    pthread_cond_signal(&r->more);
    pthread_mutex_unlock(&r->lock);
}

static struct err read_ahead(struct reading *r)
{
    for (size_t at = 0, len = 0; at < r->file->size; at += len) {
        TRY(read_chunk(r->file, at, &len));
        publish(r, at + len, false);
    }
    return read_end(r->file->fd);
}

static void *run_reader(void *context)
{
    struct reading *r = context;
    keep_error(r->file, read_ahead(r));
    publish(r, r->n_ready, true);
    return NULL;
}

/* Hashes what is ready until there is no more. */
static void hash_ready(struct reading *r, struct sha256_stream *hash)
{
    for (size_t done = 0;;) {
        pthread_mutex_lock(&r->lock);
        while (r->n_ready == done && !r->ended)
            pthread_cond_wait(&r->more, &r->lock);
        size_t ready = r->n_ready;
        pthread_mutex_unlock(&r->lock);
        if (ready == done)
            return;
        sha256_update(hash, bytes_of(r->file->data + done, ready - done));
        done = ready;
    }
}

/* Leaves how it went in the file. */
static void read_one(struct hashed_file *f, bool with_reader)
{
    struct sha256_stream *hash = sha256_new();
    struct reading r = {
        .file = f, .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};
    pthread_t reader;
    if (with_reader && f->size > CHUNK && pthread_create(&reader, NULL, run_reader, &r) == 0) {
        hash_ready(&r, hash);
        pthread_join(reader, NULL);
    } else {
        keep_error(f, read_alone(f, hash));
    }
    sha256_final(hash, f->sha256);
    sha256_free(hash);
    pthread_cond_destroy(&r.more);
    pthread_mutex_destroy(&r.lock);
}

/* Files are taken one after the other by whoever is free. */
struct queue {
    struct hashed_file *files;
    size_t n;
    bool with_readers;
    atomic_size_t next;
    atomic_bool failed; /* nothing more need be read */
};

static void *run_queue(void *context)
{
    struct queue *q = context;
    for (size_t i = 0; !q->failed && (i = q->next++) < q->n;) {
        read_one(&q->files[i], q->with_readers);
        if (q->files[i].code != ERR_NONE)
            q->failed = true;
    }
    return NULL;
}

struct err read_hashed(struct hashed_file *files, size_t n, unsigned n_threads, size_t *failed)
{
    struct queue q = {.files = files, .n = n, .with_readers = n_threads > n};
    pthread_t helpers[THREADS_MAX];
    size_t n_helpers = 0, wanted = n < n_threads ? n : n_threads;
    for (; n_helpers + 1 < wanted && n_helpers < THREADS_MAX; n_helpers++)
        if (pthread_create(&helpers[n_helpers], NULL, run_queue, &q) != 0)
            break; /* then with fewer */
    run_queue(&q);
    for (size_t i = 0; i < n_helpers; i++)
        pthread_join(helpers[i], NULL);
    for (size_t i = 0; i < n; i++)
        if (files[i].code != ERR_NONE) {
            *failed = i;
            return err_set(files[i].code, "%s", files[i].message);
        }
    return err_ok();
}
