/*
 * SQLite with nothing of a log around it, in the same modes of durability: what a log's appends are
 * measured against. Either the entries alone, or the same rows as a log keeps: entries, a tile
 * of hashes for each 256 of them, a checkpoint's note for each COMMIT; no checks, no triggers, no
 * hashing, no signing.
 */
#ifndef BENCH_BARE_SQLITE_H
#define BENCH_BARE_SQLITE_H

#include <stdbool.h>
#include <stdint.h>

struct bare; /* opaque */

/* Errors end the program. */
/* A new file: WAL, synchronous=FULL. */
struct bare *bare_new(const char *path, bool all_rows);
void bare_free(struct bare *b);
/* As log_bench_append. */
void bare_append(struct bare *b, uint64_t first, unsigned batch, unsigned n_commits);
/* Ends the program unless it holds exactly the first n entries. */
void bare_check(struct bare *b, uint64_t n);

#endif
