#include "engine/read_hashed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file_reader.h"

enum {
    THREADS_MAX = 64,
    ALONE_MAX = 256 << 10, /* no second thread for fewer bytes */
    HASHED = 128 << 10,    /* and then moved */
};

/* One file, while a thread reads it and another hashes what is there. */
struct reading {
    struct hashed_file *file;
    uint8_t *landing; /* where it is read to, from file->data to a page behind it */
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

/* Reads and hashes in turn. */
static struct err read_alone(struct hashed_file *f, struct sha256_stream *hash)
{
    struct file_reader r = file_reader_of(f->fd, f->size, false);
    while (r.at < r.size) {
        size_t before = r.at;
        TRY(file_reader_next(&r, f->data));
        sha256_update(hash, bytes_of(f->data + before, r.at - before));
    }
    return file_reader_end(&r);
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
    struct file_reader from = file_reader_of(r->file->fd, r->file->size, true);
    while (from.at < from.size) {
        TRY(file_reader_next(&from, r->landing));
        publish(r, from.at, false);
    }
    return file_reader_end(&from);
}

static void *run_reader(void *context)
{
    struct reading *r = context;
    keep_error(r->file, read_ahead(r));
    publish(r, r->n_ready, true);
    return NULL;
}

/* Bytes `from` to `to`; they go to their place. The reader is behind them. */
static void hash_and_move(const struct reading *r, struct sha256_stream *hash, size_t from,
                          size_t to)
{
    for (size_t at = from, n; at < to; at += n) {
        n = to - at < HASHED ? to - at : HASHED;
        sha256_update(hash, bytes_of(r->landing + at, n));
        if (r->landing != r->file->data)
            memmove(r->file->data + at, r->landing + at, n);
    }
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
        hash_and_move(r, hash, done, ready);
        done = ready;
    }
}

static uint8_t *next_page(uint8_t *at)
{
    return at + (READ_HASHED_PAGE - (uintptr_t)at % READ_HASHED_PAGE) % READ_HASHED_PAGE;
}

/* Leaves how it went in the file. One that comes from the disk is worth a second thread even where
 * no core is left for it: it waits most of the time. */
static void read_one(struct hashed_file *f, bool with_reader)
{
    struct sha256_stream *hash = sha256_new();
    bool cold = file_reader_is_cold(f->fd, f->size);
    struct reading r = {.file = f,
                        .landing = cold ? next_page(f->data) : f->data,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .more = PTHREAD_COND_INITIALIZER};
    pthread_t reader;
    bool ahead = f->size > ALONE_MAX && (with_reader || cold);
    if (ahead && pthread_create(&reader, NULL, run_reader, &r) == 0) {
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
