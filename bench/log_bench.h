/*
 * What the parts of the log's benchmark share: its folder, its key, its entries. Each part measures
 * one thing and looks at what it got: a wrong answer ends the program before a number is said.
 */
#ifndef BENCH_LOG_BENCH_H
#define BENCH_LOG_BENCH_H

#include "bench/bench.h"
#include "transparency/store.h"

enum { ENTRY_LEN = 1700 }; /* about a quote statement, which most entries are */

struct log_bench {
    const struct bench_options *o;
    char folder[200];
    struct note_signer signer;
};

/* The i-th entry of every log here; another for every i. */
void log_bench_entry(uint8_t out[ENTRY_LEN], uint64_t i);
/* Makes and opens a log of that name in the folder. */
void log_bench_make(struct store **out, const struct log_bench *b, const char *name);
/* Appends the entries that follow `first`, `batch` (at most LOG_BATCH_MAX) of them under one
 * COMMIT, in `n_commits` of these. */
enum { LOG_BATCH_MAX = 256 };
void log_bench_append(struct store *s, uint64_t first, unsigned batch, unsigned n_commits);
/* The root over the first n entries, computed apart from any log. */
struct merkle_hash log_bench_root(uint64_t n);
/* Ends the program, naming `what`, unless the log holds exactly the first n entries. */
void log_bench_check(struct store *s, uint64_t n, const char *what);
/* Removes the log or database of that name and what lies beside it. */
void log_bench_remove(const struct log_bench *b, const char *name);
/* The first 8 bytes of a root, as `output` of a result. */
void log_bench_root_text(char out[17], const struct merkle_hash *root);

/* P-256 signatures that OpenSSL alone verifies in a second of CPU time: made ready once, a digest,
 * a signature in DER, a key. */
double log_bench_ecdsa_rate(unsigned n);

/* The parts. */
void log_bench_appends(struct results *r, const struct log_bench *b);
void log_bench_large(struct results *r, const struct log_bench *b);
void log_bench_serve(struct results *r, const struct log_bench *b);
void log_bench_quotes(struct results *r, const struct log_bench *b);
void log_bench_replay(struct results *r, const struct log_bench *b);

#endif
