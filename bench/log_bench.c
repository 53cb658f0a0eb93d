/*
 * How near the log comes to what bounds it: durable appends against the disk's own flush rate, and
 * an auditor's replay against bare SHA-256 over the same tree. Each ratio is of two numbers
 * measured in turn in one run, the median of several rounds; the absolute numbers are this
 * machine's alone.
 */
#include <argp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/text.h"
#include "transparency/store.h"

enum { ENTRY_LEN = 1024, ROUNDS = 5 };

struct options {
    const char *folder;
    unsigned n_commits; /* a round */
};

static void must(struct err e)
{
    if (!is_err(e))
        return;
    fprintf(stderr, "tlog_bench: %s\n", err_message());
    exit(2);
}

static double clock_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double now_s(void)
{
    return clock_s(CLOCK_MONOTONIC);
}

static double cpu_s(void)
{
    return clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

/* Flushes a second, each after a write of one page at the end of a growing file. */
static double flush_rate(const struct options *o)
{
    BUF_AUTO path = BUF_INIT;
    FD_AUTO fd =
        open(path_join(&path, o->folder, "flush"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t page[4096] = {1};
    double start = now_s();
    for (unsigned i = 0; i < o->n_commits; i++) {
        must(fd_write_all(fd, bytes_of(page, sizeof page)));
        if (fdatasync(fd) != 0)
            must(err_errno("fdatasync"));
    }
    double rate = o->n_commits / (now_s() - start);
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
    double start = now_s();
    for (unsigned i = 0; i < o->n_commits; i++) {
        for (unsigned k = 0; k < batch; k++) {
            make_entry(data[k], (uint64_t)i * batch + k);
            entries[k] = (struct store_entry){.bytes = bytes_of(data[k], ENTRY_LEN)};
        }
        must(store_append(s, &index, entries, batch));
    }
    return (double)o->n_commits * batch / (now_s() - start);
}

/* Seconds for the least that any replay must hash: each entry and each inner node once. */
static double hash_time(uint64_t n)
{
    static uint8_t data[ENTRY_LEN];
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    double start = cpu_s();
    for (uint64_t i = 0; i < n; i++) {
        make_entry(data, i);
        struct merkle_hash leaf = merkle_leaf(bytes_of(data, ENTRY_LEN));
        merkle_edge_append(&edge, &leaf);
    }
    return cpu_s() - start;
}

/* Seconds for verifying one checkpoint's signature `n` times. */
static double signature_time(const struct note_signer *signer, uint64_t n)
{
    uint8_t text[128] = {1}, signature[ED25519_SIGNATURE_LEN];
    ed25519_sign(signature, signer->seed, bytes_of(text, sizeof text));
    double start = cpu_s();
    for (uint64_t i = 0; i < n; i++)
        must(ed25519_verify(signer->key.public_key, signature, bytes_of(text, sizeof text)));
    return cpu_s() - start;
}

static double replay_time(struct store *s, const struct note_key *key)
{
    double start = cpu_s();
    must(store_fsck(s, key, NULL, NULL));
    return cpu_s() - start;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof values[0], compare);
    return values[ROUNDS / 2];
}

struct log {
    struct store *store;
    char name[32];
    unsigned batch;
    double appends[ROUNDS], append_ratios[ROUNDS];
    double replays[ROUNDS], of_hashing[ROUNDS], of_both[ROUNDS];
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

static void report(struct log *l)
{
    double append = median(l->appends), replay = median(l->replays);
    printf("append, %2u a commit: %8.0f entries/s = %.2f commits for each flush the disk can do\n",
           l->batch, append, median(l->append_ratios));
    printf(
        "replay, %2u a checkpoint: %8.0f entries/s = %.2f of bare SHA-256, %.2f of SHA-256 and one "
        "signature a checkpoint\n",
        l->batch, replay, median(l->of_hashing), median(l->of_both));
}

static void measure_log(struct log *l, const struct options *o, const struct note_signer *signer,
                        unsigned round, double flushes)
{
    uint64_t n_commits = (uint64_t)o->n_commits * (round + 1), n = n_commits * l->batch;
    l->appends[round] = append_rate(o, l->store, l->batch);
    l->append_ratios[round] = l->appends[round] / l->batch / flushes;
    double hashing = hash_time(n), signatures = signature_time(signer, n_commits);
    double replay = replay_time(l->store, &signer->key);
    l->replays[round] = (double)n / replay;
    l->of_hashing[round] = hashing / replay;
    l->of_both[round] = (hashing + signatures) / replay;
}

static void measure(const struct options *o)
{
    static struct log logs[2];
    struct note_signer signer;
    uint8_t seed[ED25519_SEED_LEN] = {1};
    must(note_signer_init(&signer, "bench.example/log", NOTE_ED25519, seed));
    open_log(&logs[0], o, &signer, 1);
    open_log(&logs[1], o, &signer, 16);
    double flushes[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        flushes[round] = flush_rate(o);
        for (struct log *l = logs; l < logs + 2; l++)
            measure_log(l, o, &signer, round, flushes[round]);
    }
    printf("entries of %d bytes; disk: %.0f flushes/s\n", ENTRY_LEN, median(flushes));
    for (struct log *l = logs; l < logs + 2; l++) {
        report(l);
        remove_log(l, o);
    }
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    uint64_t n;
    if (key == 'n') {
        if (is_err(decimal_decode(&n, bytes_of_str(text), 100000)) || n == 0)
            argp_error(state, "--commits takes 1 to 100000");
        o->n_commits = (unsigned)n;
        return 0;
    }
    if (key == ARGP_KEY_ARG && o->folder == NULL) {
        o->folder = text;
        return 0;
    }
    if (key == ARGP_KEY_END && o->folder == NULL)
        argp_error(state, "name an empty folder on the disk to measure");
    return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv)
{
    static const struct argp_option known[] = {
        {"commits", 'n', "N", 0, "Commits a round (default 200)", 0},
        {0},
    };
    static const struct argp argp = {
        known, parse_option, "FOLDER", "Measures the log against the disk and against SHA-256.",
        NULL,  NULL,         NULL};
    struct options o = {.n_commits = 200};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    measure(&o);
    return 0;
}
