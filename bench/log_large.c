/*
 * A log of a million entries beside one of a thousand: what an append costs in each, what an entry
 * takes on the disk, how long a start takes, and a check of everything.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "bench/log_bench.h"
#include "common/file.h"

enum { LARGE = 1000000, SMALL = 1000, LARGE_TINY = 2000, SMALL_TINY = 100, N_BATCHES = 2 };

static const struct {
    unsigned batch, n_commits; /* in a round: so few that a small log stays one */
    const char *name;
} batches[N_BATCHES] = {{1, 100, "append, 1 a commit"}, {16, 10, "append, 16 a commit"}};

struct sized {
    const struct log_bench *b;
    const char *name;
    struct store *log;
    uint64_t n;
    struct series appends[N_BATCHES], starts, checks; /* seconds */
};

static const char *path_of(struct buf *out, const struct sized *s)
{
    return path_join(out, s->b->folder, s->name);
}

static void grow(struct sized *s, uint64_t n)
{
    unsigned batch;
    for (; s->n < n; s->n += batch) {
        batch = n - s->n < LOG_BATCH_MAX ? (unsigned)(n - s->n) : LOG_BATCH_MAX;
        log_bench_append(s->log, s->n, batch, 1);
    }
}

/* Closing empties the -wal: both logs begin a round alike. */
static void restart(struct sized *s)
{
    BUF_AUTO path = BUF_INIT;
    store_close(s->log);
    double start = seconds_now();
    must(store_open(&s->log, path_of(&path, s), &s->b->signer));
    series_add(&s->starts, seconds_now() - start);
}

static void append(struct sized *s, size_t i)
{
    double start = seconds_now();
    log_bench_append(s->log, s->n, batches[i].batch, batches[i].n_commits);
    uint64_t n = (uint64_t)batches[i].batch * batches[i].n_commits;
    series_add(&s->appends[i], (seconds_now() - start) / (double)n);
    s->n += n;
}

static void check(struct sized *s)
{
    double start = seconds_cpu();
    must(store_fsck(s->log, &s->b->signer.key, NULL, NULL));
    series_add(&s->checks, (seconds_cpu() - start) / (double)s->n);
}

static double file_len(const struct sized *s)
{
    BUF_AUTO path = BUF_INIT;
    struct stat st;
    must(stat(path_of(&path, s), &st) == 0 ? err_ok() : err_errno("cannot look at %s", s->name));
    return (double)st.st_size;
}

static void report(struct results *r, const struct sized *large, const struct sized *small,
                   double len, double n)
{
    char root[17];
    struct merkle_hash hash = log_bench_root(large->n);
    log_bench_root_text(root, &hash);
    results_group(r, "log, %llu entries of %d bytes, beside %llu", (unsigned long long)large->n,
                  ENTRY_LEN, (unsigned long long)small->n);
    for (size_t i = 0; i < N_BATCHES; i++)
        results_add_series(r, batches[i].name, &large->appends[i], 1e6, "us/entry",
                           "the same in the small log", &small->appends[i], root);
    results_add(r, &(struct result){.name = "file",
                                    .unit = "bytes/entry",
                                    .value = len / n,
                                    .of = "the entry's own bytes",
                                    .ratio = len / n / ENTRY_LEN,
                                    .output = root});
    results_add_series(r, "start", &large->starts, 1e3, "ms", "the same of the small log",
                       &small->starts, NULL);
    results_add_series(r, "check of everything", &large->checks, 1e6, "us/entry",
                       "the same of the small log", &small->checks, root);
}

void log_bench_large(struct results *r, const struct log_bench *b)
{
    struct sized large = {.b = b, .name = "large.db"}, small = {.b = b, .name = "small.db"};
    log_bench_make(&large.log, b, large.name);
    log_bench_make(&small.log, b, small.name);
    grow(&large, b->o->tiny ? LARGE_TINY : LARGE);
    grow(&small, b->o->tiny ? SMALL_TINY : SMALL);
    check(&large);
    check(&small);
    restart(&large);
    double len = file_len(&large), n = (double)large.n;
    for (unsigned round = 0; round < b->o->n_rounds; round++) {
        struct sized *order[] = {round % 2 ? &large : &small, round % 2 ? &small : &large};
        for (size_t k = 0; k < 2; k++)
            restart(order[k]);
        for (size_t i = 0; i < N_BATCHES; i++)
            for (size_t k = 0; k < 2; k++)
                append(order[k], i);
    }
    log_bench_check(large.log, large.n, large.name);
    log_bench_check(small.log, small.n, small.name);
    report(r, &large, &small, len, n);
    store_close(large.log);
    store_close(small.log);
    log_bench_remove(b, large.name);
    log_bench_remove(b, small.name);
}
