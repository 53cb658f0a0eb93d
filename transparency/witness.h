/*
 * A witness of other logs (C2SP tlog-witness; docs/FORMATS.md section 8.4): the request, and the
 * judgement of it. Pure; what was cosigned last is brought by the caller, who must bring and keep
 * it in one transaction (witness_db.h does).
 */
#ifndef TRANSPARENCY_WITNESS_H
#define TRANSPARENCY_WITNESS_H

#include "transparency/checkpoint.h"

enum { WITNESS_REQUEST_MAX = 64 * 1024 }; /* bytes of a body */

struct witness_request {
    uint64_t old_size;
    struct merkle_proof proof;
    struct bytes note; /* the checkpoint, verbatim; borrowed */
};

/* The form alone. ERR_MALFORMED, ERR_LIMIT. */
struct err witness_request_parse(struct witness_request *out, struct bytes body) MUST_USE;
void witness_request_format(struct buf *out, const struct witness_request *r);

/* A log that a witness knows. Where its key has another name than the log has origin (Go's sumdb),
 * they differ. */
struct witness_log {
    char origin[NOTE_NAME_MAX + 1];
    struct note_key key;
};

/* What was cosigned last for a log; size 0 and the empty root if nothing was. */
struct witness_seen {
    uint64_t size;
    struct merkle_hash root;
};

enum witness_status {
    WITNESS_OK = 200,
    WITNESS_MALFORMED = 400,
    WITNESS_UNSIGNED = 403,
    WITNESS_UNKNOWN_LOG = 404,
    WITNESS_CONFLICT = 409,     /* old size is not what was cosigned last */
    WITNESS_INCONSISTENT = 422, /* the proof does not lead from there */
};

/* The first half, which looks at nothing that changes: form, origin, signature, old <= size.
 * WITNESS_OK with the log, the request and the checkpoint; else err_message() says why. `request`
 * borrows from `body`. ERR_MEMORY ends the process. */
enum witness_status witness_take(struct witness_request *request, struct checkpoint *checkpoint,
                                 const struct witness_log **log, const struct witness_log *logs,
                                 size_t n_logs, struct bytes body);
/* The second: whether the log has grown from `seen`. WITNESS_CONFLICT, WITNESS_INCONSISTENT or
 * WITNESS_OK. */
enum witness_status witness_judge(const struct witness_request *request,
                                  const struct checkpoint *checkpoint,
                                  const struct witness_seen *seen);

#endif
