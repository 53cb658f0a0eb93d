/*
 * What a witness remembers, in one SQLite file (docs/FORMATS.md section 8.4): for each log the
 * checkpoint that it cosigned last. A cosignature is given out only after its checkpoint is
 * durable, and comparing with the last one and keeping the new one is one transaction.
 *
 * One process holds the file, by a lock beside it. A failed COMMIT is final: the process must end
 * and start again from the disk. Used by one thread at a time.
 */
#ifndef TRANSPARENCY_WITNESS_DB_H
#define TRANSPARENCY_WITNESS_DB_H

#include "transparency/witness.h"

struct witness_db;

/* ERR_USAGE if the file exists. */
struct err witness_db_create(const char *path) MUST_USE;
/* `logs` are copied. ERR_NOT_FOUND: it is never made by opening. ERR_BUSY, ERR_MALFORMED. */
struct err witness_db_open(struct witness_db **out, const char *path,
                           const struct note_signer *cosigner, const struct witness_log *logs,
                           size_t n_logs) MUST_USE;
void witness_db_close(struct witness_db *w);

struct witness_reply {
    enum witness_status status;
    uint64_t size;   /* cosigned last: WITNESS_OK and WITNESS_CONFLICT */
    struct buf body; /* what tlog-witness answers: a cosignature line, a size or the reason */
};
#define WITNESS_REPLY_INIT ((struct witness_reply){0})
void witness_reply_cleanup(struct witness_reply *r);
#define WITNESS_REPLY_AUTO __attribute__((cleanup(witness_reply_cleanup))) struct witness_reply

/* add-checkpoint, whole. An error means that nothing was cosigned and that this witness can go on
 * only after a new start. */
struct err witness_db_add_checkpoint(struct witness_db *w, struct witness_reply *out,
                                     struct bytes body, uint64_t now_s) MUST_USE;
/* The note cosigned last for the log whose origin has this SHA-256; ERR_NOT_FOUND. */
struct err witness_db_latest(struct witness_db *w, struct buf *note,
                             const uint8_t origin_sha256[SHA256_LEN]) MUST_USE;

#endif
