/*
 * tlog-proof@v1 (C2SP): an index, an inclusion proof and the checkpoint it leads to, as one text.
 */
#ifndef TRANSPARENCY_TLOG_PROOF_H
#define TRANSPARENCY_TLOG_PROOF_H

#include "transparency/checkpoint.h"

enum { TLOG_PROOF_MAX = NOTE_MAX + 8192 }; /* bytes of the text */

struct tlog_proof {
    uint64_t index;
    struct merkle_proof proof;
    struct bytes checkpoint; /* the signed note, verbatim; borrowed */
};

/* Parses the form only; the checkpoint's is checked by tlog_proof_verify. An `extra` line is read
 * over: it is not authenticated. ERR_MALFORMED; ERR_LIMIT over TLOG_PROOF_MAX. */
struct err tlog_proof_parse(struct tlog_proof *out, struct bytes text) MUST_USE;
void tlog_proof_format(struct buf *out, const struct tlog_proof *p);
/* Origin, log signature, inclusion of `entry` at p->index. Gives the checkpoint. ERR_MALFORMED,
 * ERR_UNTRUE. Cosignatures are for the caller's policy (note_verify_cosignature). */
struct err tlog_proof_verify(struct checkpoint *out, const struct tlog_proof *p, struct bytes entry,
                             const char *origin, const struct note_key *key) MUST_USE;

/* Lines of base64 hashes up to an empty line, as proofs and a witness's requests have them.
 * ERR_MALFORMED. */
struct err tlog_proof_hashes_parse(struct merkle_proof *out, struct reader *r) MUST_USE;

#endif
