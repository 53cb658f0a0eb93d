/*
 * The log on disk: one SQLite file, append-only by schema (DESIGN.md section 8).
 *
 * A writer holds the file alone, by a lock on "<path>.lock" (one connection that writes and
 * checkpoints; a second writer is refused with ERR_BUSY). When store_append returns, the entries,
 * their tiles, their blobs and a signed checkpoint over them are durable (WAL, synchronous=FULL),
 * and the signature has been verified: only then may anybody be told. A failed COMMIT is final:
 * store_append returns ERR_IO and every later call on the store fails; the process must end and
 * start again from the disk.
 *
 * The entry bytes are read back from the database and hashed again before the head is signed.
 * Entries are bytes here; what they mean is for `attest`. A store is used by one thread at a time,
 * and not across fork (a child would share the writer's lock, and lack its thread). A process that
 * has a store open must not open its file by other means: closing that would drop SQLite's locks
 * (POSIX).
 */
#ifndef TRANSPARENCY_STORE_H
#define TRANSPARENCY_STORE_H

#include "transparency/checkpoint.h"
#include "transparency/merkle.h"
#include "transparency/tiles.h"
#include "transparency/tlog_policy.h"

enum {
    STORE_ENTRY_MAX = 65535, /* tlog-tiles: u16 length */
    STORE_BLOB_MAX = 16 * 1024 * 1024,
    STORE_APPEND_MAX = 65536, /* entries under one COMMIT */
};

struct store;

/* Makes a new log of `signer`'s name as origin; ERR_USAGE if the file exists. The empty checkpoint
 * (size 0) is signed and stored. */
struct err store_create(const char *path, const struct note_signer *signer) MUST_USE;

/* Opens for writing and checks: origin and key are the signer's (ERR_UNTRUE: "the log is of origin
 * X"), pragmas as set, newest checkpoint's signature, the tree against it, the last entries against
 * the tree. ERR_UNSUPPORTED for a file of another format. */
struct err store_open(struct store **out, const char *path,
                      const struct note_signer *signer) MUST_USE;
/* Opens read-only; never writes to the log nor checkpoints. Works beside a writer in another
 * process, and on a file alone (a copy; also in a folder that cannot be written). The schema must
 * be exactly a log's, and the newest checkpoint be signed by the key that the file names:
 * ERR_MALFORMED, ERR_UNSUPPORTED, ERR_UNTRUE. Whose key that is, is for the caller; what else the
 * file holds is for store_fsck. A file with "<path>.lock" beside it is a log in its own place:
 * SQLite's -wal and -shm are used there. */
struct err store_open_readonly(struct store **out, const char *path) MUST_USE;
/* After a clean close by the last one who had it open, the one file is the log. */
void store_close(struct store *s);

const char *store_origin(const struct store *s); /* borrowed */
const char *store_vkey(const struct store *s);   /* the log's verifier key */

struct store_entry {
    struct bytes bytes;        /* 1 to STORE_ENTRY_MAX */
    const struct bytes *blobs; /* stored with the entry, found by SHA-256 */
    size_t n_blobs;
};

/* Appends all entries (1 to STORE_APPEND_MAX) under one COMMIT with one signed checkpoint.
 * `first_index` gets the index of the first; the rest follow. Blobs that are already stored are not
 * stored again. ERR_USAGE, ERR_LIMIT and ERR_BUSY leave the store as it was; ERR_IO is final. */
struct err store_append(struct store *s, uint64_t *first_index, const struct store_entry *entries,
                        size_t n_entries) MUST_USE;

/* ERR_UNTRUE if this is not a continuation of the tree that `known`, an earlier verified checkpoint
 * of this log, told of: a fork, or an older copy of the file put back in place. */
struct err store_check_extends(struct store *s, const struct checkpoint *known) MUST_USE;

/* The newest checkpoint, as signed note bytes and parsed; either may be NULL. */
struct err store_checkpoint(struct store *s, struct buf *note, struct checkpoint *out) MUST_USE;
/* The checkpoint note of exactly that size; ERR_NOT_FOUND. */
struct err store_checkpoint_at(struct store *s, uint64_t size, struct buf *note) MUST_USE;

/* Keeps a witness's line over the checkpoint of that size, which is verified first. Of one witness
 * and size the first is kept, and another is no error. For the writer; a failure to write is final.
 * ERR_UNTRUE, ERR_MALFORMED, ERR_NOT_FOUND for a size without checkpoint. */
struct err store_add_cosignature(struct store *s, uint64_t size, const struct note_key *witness,
                                 struct bytes line) MUST_USE;
/* store_checkpoint_at with the lines of all witnesses behind it. ERR_LIMIT over NOTE_MAX. */
struct err store_cosigned(struct store *s, uint64_t size, struct buf *note) MUST_USE;
/* The newest checkpoint that meets the policy's quorum, with all its lines; with `quorum none` the
 * newest. ERR_NOT_FOUND while none does. The policy's logs are not looked at. */
struct err store_witnessed(struct store *s, const struct tlog_policy *p, struct buf *note,
                           struct checkpoint *out) MUST_USE;
/* The same for the checkpoint of one size: ok with *met false while it has no quorum. */
struct err store_witnessed_at(struct store *s, const struct tlog_policy *p, uint64_t size,
                              struct buf *note, struct checkpoint *out, bool *met) MUST_USE;

struct err store_entry_read(struct store *s, uint64_t index,
                            struct buf *out) MUST_USE; /* appends */
struct err store_blob_read(struct store *s, const uint8_t sha256[SHA256_LEN],
                           struct buf *out) MUST_USE; /* appends; checked against its hash */
struct err store_prove_inclusion(struct store *s, struct merkle_proof *out, uint64_t index,
                                 uint64_t size) MUST_USE;
struct err store_prove_consistency(struct store *s, struct merkle_proof *out, uint64_t old_size,
                                   uint64_t new_size) MUST_USE;
/* The bytes of a tile or entry bundle as tlog-tiles serves them; ERR_NOT_FOUND if the newest
 * checkpoint does not cover that width. */
struct err store_tile(struct store *s, const struct tile *t, struct buf *out) MUST_USE;

/* Calls `visit` for every blob, in the order of their hashes; its bytes are checked against it. */
typedef struct err store_blob_visit(void *context, const uint8_t sha256[SHA256_LEN],
                                    struct bytes blob);
struct err store_each_blob(struct store *s, store_blob_visit *visit, void *context) MUST_USE;

/* For auditors: everything is recomputed from the raw bytes. Checks the file's structure; calls
 * `visit` for each entry in order (its bytes, its leaf hash; where a checkpoint ends with it, the
 * SHA-256 of that one's verified note, else NULL; it may read the store); checks the
 * stored tiles, every stored checkpoint (signature and root at its size), every cosignature and
 * every blob against its name; nothing may be missing or left over. The first failure is ERR_UNTRUE
 * (damage of the file's structure: ERR_MALFORMED), or the error of `visit`, and names the entry,
 * checkpoint or blob. What `visit` was shown counts only once store_fsck has succeeded. `visit` may
 * be NULL. */
typedef struct err store_visit(void *context, uint64_t index, struct bytes entry,
                               const struct merkle_hash *leaf, const uint8_t *head);
struct err store_fsck(struct store *s, const struct note_key *key, store_visit *visit,
                      void *context) MUST_USE;

/* A consistent copy of the whole file (VACUUM INTO). ERR_USAGE if `path` exists. */
struct err store_snapshot(struct store *s, const char *path) MUST_USE;

#endif
