/*
 * How near the log comes to what bounds it: durable appends against the disk's own flush rate, and
 * an auditor's replay against bare SHA-256 over the same tree. Each ratio is of two numbers
 * measured in turn in one run, the median of several rounds; the absolute numbers are this
 * machine's alone.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/bench_model.h"
#include "common/file.h"
#include "transparency/store.h"

enum { ENTRY_LEN = 1024, N_COMMITS = 200, N_COMMITS_TINY = 5 };

struct options {
    char folder[200];
    unsigned n_commits, n_rounds; /* commits a round */
};

/* Flushes a second, each after a write of one page at the end of a growing file. */
static double flush_rate(const struct options *o)
{
    BUF_AUTO path = BUF_INIT;
    FD_AUTO fd =
        open(path_join(&path, o->folder, "flush"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t page[4096] = {1};
    double start = seconds_now();
    for (unsigned i = 0; i < o->n_commits; i++) {
        must(fd_write_all(fd, bytes_of(page, sizeof page)));
        if (fdatasync(fd) != 0)
            must(err_errno("fdatasync"));
    }
    double rate = o->n_commits / (seconds_now() - start);
    unlink(buf_str(&path));
    return rate;
}

static void make_entry(uint8_t out[ENTRY_LEN], uint64_t i)
{
    memset(out, 'e', ENTRY_LEN);
    memcpy(out, &i, sizeof i);
}

/* Entries a second, `batch` of them under one commit. */
static double append_rate(const struct options *o, struct store *s, unsigned batch)
{
    static uint8_t data[16][ENTRY_LEN];
    struct store_entry entries[16];
    uint64_t index;
    double start = seconds_now();
    for (unsigned i = 0; i < o->n_commits; i++) {
        for (unsigned k = 0; k < batch; k++) {
            make_entry(data[k], (uint64_t)i * batch + k);
            entries[k] = (struct store_entry){.bytes = bytes_of(data[k], ENTRY_LEN)};
        }
        must(store_append(s, &index, entries, batch));
    }
    return (double)o->n_commits * batch / (seconds_now() - start);
}

/* Seconds for the least that any replay must hash: each entry and each inner node once. */
static double hash_time(uint64_t n)
{
    static uint8_t data[ENTRY_LEN];
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    double start = seconds_cpu();
    for (uint64_t i = 0; i < n; i++) {
        make_entry(data, i);
        struct merkle_hash leaf = merkle_leaf(bytes_of(data, ENTRY_LEN));
        merkle_edge_append(&edge, &leaf);
    }
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

struct log {
    struct store *store;
    char name[32];
    unsigned batch;
    struct series appends, possible, replays, hashing, both; /* entries a second */
    char root[17];
};

static void open_log(struct log *l, const struct options *o, const struct note_signer *signer,
                     unsigned batch)
{
    l->batch = batch;
    snprintf(l->name, sizeof l->name, "batch-%u.db", batch);
    BUF_AUTO path = BUF_INIT;
    path_join(&path, o->folder, l->name);
    must(store_create(buf_str(&path), signer));
    must(store_open(&l->store, buf_str(&path), signer));
}

static void remove_log(struct log *l, const struct options *o)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    store_close(l->store);
    for (size_t i = 0; i < 4; i++) {
        BUF_AUTO path = BUF_INIT;
        buf_printf(&path, "%s/%s%s", o->folder, l->name, suffixes[i]);
        unlink(buf_str(&path));
    }
}

static void report(struct results *r, const struct log *l)
{
    results_group(r, "log, %u entr%s of %d bytes a commit", l->batch, l->batch > 1 ? "ies" : "y",
                  ENTRY_LEN);
    results_add_series(r, "append", &l->appends, 1, "entries/s", "a flush of the disk a commit",
                       &l->possible, l->root);
    results_add_series(r, "replay", &l->replays, 1, "entries/s",
                       "SHA-256 and a signature a checkpoint", &l->both, l->root);
    results_add_series(r, "replay, against hashing alone", &l->replays, 1, "entries/s",
                       "bare SHA-256", &l->hashing, l->root);
}

/* The log's root, which another run with as many rounds must find again. */
static void keep_root(struct log *l)
{
    BUF_AUTO note = BUF_INIT, hex = BUF_INIT;
    struct checkpoint checkpoint;
    must(store_checkpoint(l->store, &note, &checkpoint));
    buf_append_hex(&hex, bytes_of(&checkpoint.root, 8));
    memcpy(l->root, buf_str(&hex), sizeof l->root);
}

static void measure_log(struct log *l, const struct options *o, const struct note_signer *signer,
                        unsigned round, double flushes)
{
    uint64_t n_commits = (uint64_t)o->n_commits * (round + 1), n = n_commits * l->batch;
    series_add(&l->appends, append_rate(o, l->store, l->batch));
    series_add(&l->possible, flushes * l->batch);
    double hashing = hash_time(n), signatures = signature_time(signer, n_commits);
    series_add(&l->replays, (double)n / replay_time(l->store, &signer->key));
    series_add(&l->hashing, (double)n / hashing);
    series_add(&l->both, (double)n / (hashing + signatures));
}

void bench_log(struct results *r, const struct bench_options *bench)
{
    static struct log logs[2];
    struct options o = {.n_commits = bench->tiny ? N_COMMITS_TINY : N_COMMITS,
                        .n_rounds = bench->n_rounds};
    struct note_signer signer;
    uint8_t seed[ED25519_SEED_LEN] = {1};
    must(bench_folder_make(o.folder, bench->folder));
    must(note_signer_init(&signer, "bench.example/log", NOTE_ED25519, seed));
    open_log(&logs[0], &o, &signer, 1);
    open_log(&logs[1], &o, &signer, 16);
    struct series flushes = {0};
    for (unsigned round = 0; round < o.n_rounds; round++) {
        series_add(&flushes, flush_rate(&o));
        for (struct log *l = logs; l < logs + 2; l++)
            measure_log(l, &o, &signer, round, flushes.at[round]);
    }
    results_group(r, "log, the disk");
    results_add_series(r, "flushes", &flushes, 1, "1/s", NULL, NULL, NULL);
    for (struct log *l = logs; l < logs + 2; l++) {
        keep_root(l);
        report(r, l);
        remove_log(l, &o);
    }
    bench_folder_remove(o.folder);
}
