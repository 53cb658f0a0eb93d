/*
 * Checkpoints (C2SP tlog-checkpoint): a log's origin, size and root, in a signed note.
 */
#ifndef TRANSPARENCY_CHECKPOINT_H
#define TRANSPARENCY_CHECKPOINT_H

#include "transparency/merkle.h"
#include "transparency/note.h"

struct checkpoint {
    char origin[NOTE_NAME_MAX + 1];
    uint64_t size;
    struct merkle_hash root;
};

/* Parses a checkpoint's text (a note's text). Extension lines are read over. The origin is any line
 * of 1 to NOTE_NAME_MAX bytes, not only a key's name. ERR_MALFORMED; ERR_LIMIT for a size over
 * MERKLE_SIZE_MAX. */
struct err checkpoint_parse(struct checkpoint *out, struct bytes text) MUST_USE;
void checkpoint_format(struct buf *out, const struct checkpoint *c);

/* Note form, `key`'s signature, origin equal to `origin`: all must hold. ERR_MALFORMED, ERR_LIMIT,
 * ERR_UNTRUE. */
struct err checkpoint_verify(struct checkpoint *out, struct bytes signed_note, const char *origin,
                             const struct note_key *key) MUST_USE;
/* What a note says, whoever signed it: for a note that was verified before. */
struct err checkpoint_read(struct checkpoint *out, struct bytes signed_note) MUST_USE;
/* Appends the signed note. ERR_USAGE and the like if `c` could not be read back. */
struct err checkpoint_sign(struct buf *out, const struct checkpoint *c,
                           const struct note_signer *signer) MUST_USE;
/* The same for who signs often; `secret` is that of `key`. */
struct err checkpoint_sign_with(struct buf *out, const struct checkpoint *c,
                                const struct note_key *key, struct ed25519_key *secret) MUST_USE;

#endif
