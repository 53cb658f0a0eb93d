/*
 * Durable appends against SQLite inserting the same bytes, as many under one COMMIT, in the same
 * modes (the entries alone, and all rows that a log keeps), and against the disk's own flushes; and
 * an auditor's replay of what was appended against the least that any replay must compute.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bare_sqlite.h"
#include "bench/log_bench.h"
#include "common/file.h"

enum { N_FLUSHES = 200, N_RACES = 3 };

/* A log and two bare databases that are filled side by side. */
enum contestant { LOG, BARE_ENTRIES, BARE_ROWS, N_CONTESTANTS };
struct race {
    unsigned batch, n_commits; /* in a round */
    char names[N_CONTESTANTS][32];
    struct store *log;
    struct bare *bare[N_CONTESTANTS]; /* none for LOG */
    uint64_t n;                       /* entries in each */
    uint64_t n_all_commits;
    /* entries a second */
    struct series rates[N_CONTESTANTS], flushes, replays, hashing, both;
};

/* Flushes a second, each after a write of one page at the end of a growing file. */
static double flush_rate(const struct log_bench *b, unsigned n)
{
    BUF_AUTO path = BUF_INIT;
    FD_AUTO fd =
        open(path_join(&path, b->folder, "flush"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t page[4096] = {1};
    double start = seconds_now();
    for (unsigned i = 0; i < n; i++) {
        must(fd_write_all(fd, bytes_of(page, sizeof page)));
        if (fdatasync(fd) != 0)
            must(err_errno("fdatasync"));
    }
    double rate = n / (seconds_now() - start);
    unlink(buf_str(&path));
    return rate;
}

/* Seconds for the least that any replay must hash: each entry and each inner node once. */
static double hash_time(uint64_t n)
{
    double start = seconds_cpu();
    (void)log_bench_root(n);
    return seconds_cpu() - start;
}

/* Seconds for verifying one checkpoint's signature `n` times. */
static double signature_time(const struct note_signer *signer, uint64_t n)
{
    uint8_t text[128] = {1}, signature[ED25519_SIGNATURE_LEN];
    ed25519_sign(signature, signer->seed, bytes_of(text, sizeof text));
    double start = seconds_cpu();
    for (uint64_t i = 0; i < n; i++)
        must(ed25519_verify(signer->key.public_key, signature, bytes_of(text, sizeof text)));
    return seconds_cpu() - start;
}

static double replay_time(struct store *s, const struct note_key *key)
{
    double start = seconds_cpu();
    must(store_fsck(s, key, NULL, NULL));
    return seconds_cpu() - start;
}

static double append_rate(struct race *c, enum contestant who)
{
    double start = seconds_now();
    if (who == LOG)
        log_bench_append(c->log, c->n, c->batch, c->n_commits);
    else
        bare_append(c->bare[who], c->n, c->batch, c->n_commits);
    return (double)c->batch * c->n_commits / (seconds_now() - start);
}

/* They take turns at being first. */
static void measure_round(struct race *c, const struct log_bench *b, unsigned round)
{
    series_add(&c->flushes, flush_rate(b, b->o->tiny ? 5 : N_FLUSHES) * c->batch);
    for (unsigned i = 0; i < N_CONTESTANTS; i++) {
        enum contestant who = (enum contestant)((round + i) % N_CONTESTANTS);
        series_add(&c->rates[who], append_rate(c, who));
    }
    c->n += (uint64_t)c->batch * c->n_commits;
    c->n_all_commits += c->n_commits;
    double hashing = hash_time(c->n);
    double signatures = signature_time(&b->signer, c->n_all_commits);
    series_add(&c->replays, (double)c->n / replay_time(c->log, &b->signer.key));
    series_add(&c->hashing, (double)c->n / hashing);
    series_add(&c->both, (double)c->n / (hashing + signatures));
}

static void report(struct results *r, const struct race *c)
{
    char root[17];
    struct merkle_hash hash = log_bench_root(c->n);
    const struct series *append = &c->rates[LOG];
    log_bench_root_text(root, &hash);
    results_group(r, "log, %u entr%s of %d bytes a commit", c->batch, c->batch > 1 ? "ies" : "y",
                  ENTRY_LEN);
    results_add_series(r, "bare SQLite, all rows", &c->rates[BARE_ROWS], 1, "entries/s", NULL, NULL,
                       NULL);
    results_add_series(r, "append", append, 1, "entries/s",
                       "bare SQLite inserting the same rows of entries, tiles and notes",
                       &c->rates[BARE_ROWS], root);
    results_add_series(r, "append, against entries", append, 1, "entries/s",
                       "bare SQLite inserting the entries alone", &c->rates[BARE_ENTRIES], root);
    results_add_series(r, "append, against the disk", append, 1, "entries/s",
                       "a flush of the disk a commit", &c->flushes, root);
    results_add_series(r, "replay", &c->replays, 1, "entries/s",
                       "SHA-256 and a signature a checkpoint", &c->both, root);
    results_add_series(r, "replay, against hashing alone", &c->replays, 1, "entries/s",
                       "bare SHA-256", &c->hashing, root);
}

static void open_race(struct race *c, const struct log_bench *b, unsigned batch, unsigned n_commits)
{
    static const char *const kinds[N_CONTESTANTS] = {"log", "entries", "rows"};
    *c = (struct race){.batch = batch, .n_commits = b->o->tiny ? 2 : n_commits};
    for (size_t i = 0; i < N_CONTESTANTS; i++) {
        BUF_AUTO path = BUF_INIT;
        snprintf(c->names[i], sizeof c->names[i], "%s-%u.db", kinds[i], batch);
        path_join(&path, b->folder, c->names[i]);
        if (i == LOG)
            log_bench_make(&c->log, b, c->names[i]);
        else
            c->bare[i] = bare_new(buf_str(&path), i == BARE_ROWS);
    }
}

/* Nothing is reported of a log or a database that does not hold what was appended. */
static void close_race(struct race *c, const struct log_bench *b)
{
    log_bench_check(c->log, c->n, c->names[LOG]);
    store_close(c->log);
    for (size_t i = 0; i < N_CONTESTANTS; i++) {
        if (i != LOG) {
            bare_check(c->bare[i], c->n);
            bare_free(c->bare[i]);
        }
        log_bench_remove(b, c->names[i]);
    }
}

void log_bench_appends(struct results *r, const struct log_bench *b)
{
    static struct race races[N_RACES];
    struct series flushes = {0};
    open_race(&races[0], b, 1, 300);
    open_race(&races[1], b, 16, 200);
    open_race(&races[2], b, LOG_BATCH_MAX, 40);
    for (unsigned round = 0; round < b->o->n_rounds; round++) {
        for (struct race *c = races; c < races + N_RACES; c++)
            measure_round(c, b, round);
        series_add(&flushes, races[0].flushes.at[round]);
    }
    results_group(r, "log, the disk");
    results_add_series(r, "flushes", &flushes, 1, "1/s", NULL, NULL, NULL);
    for (struct race *c = races; c < races + N_RACES; c++) {
        close_race(c, b);
        report(r, c);
    }
}
