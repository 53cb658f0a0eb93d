#include "transparency/witness.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "transparency/tlog_proof.h"

struct err witness_request_parse(struct witness_request *out, struct bytes body)
{
    if (body.len > WITNESS_REQUEST_MAX)
        return err_set(ERR_LIMIT, "the request is larger than %d bytes", WITNESS_REQUEST_MAX);
    struct reader r = reader_of(body);
    struct witness_request q;
    struct bytes line = read_line(&r);
    struct reader first = reader_of(line);
    if (r.failed || !read_literal(&first, "old "))
        return err_set(ERR_MALFORMED, "the first line must be 'old <size>'");
    TRY(err_context(
        decimal_decode(&q.old_size, read_bytes(&first, reader_left(&first)), MERKLE_SIZE_MAX),
        "the old size"));
    TRY(tlog_proof_hashes_parse(&q.proof, &r));
    q.note = read_bytes(&r, reader_left(&r));
    if (q.note.len == 0)
        return err_set(ERR_MALFORMED, "there is no checkpoint");
    *out = q;
    return err_ok();
}

void witness_request_format(struct buf *out, const struct witness_request *r)
{
    buf_printf(out, "old %llu\n", (unsigned long long)r->old_size);
    for (size_t i = 0; i < r->proof.n_hashes; i++) {
        buf_append_base64(out, bytes_of(r->proof.hashes[i].bytes, SHA256_LEN));
        buf_append_str(out, "\n");
    }
    buf_append_str(out, "\n");
    buf_append_bytes(out, r->note);
}

static const struct witness_log *find_log(const struct witness_log *logs, size_t n_logs,
                                          const char *origin)
{
    for (size_t i = 0; i < n_logs; i++)
        if (strcmp(logs[i].origin, origin) == 0)
            return &logs[i];
    return NULL;
}

/* The message is for whoever asked; err_set gives it a place to stand. */
static enum witness_status refuse(enum witness_status status, struct err e)
{
    (void)e;
    return status;
}

static enum witness_status take(struct checkpoint *out, const struct witness_log **log,
                                const struct witness_request *q, struct note *note,
                                const struct witness_log *logs, size_t n_logs)
{
    if (is_err(note_parse(note, q->note)) || is_err(checkpoint_parse(out, note->text)))
        return WITNESS_MALFORMED;
    *log = find_log(logs, n_logs, out->origin);
    if (*log == NULL)
        return refuse(WITNESS_UNKNOWN_LOG,
                      err_set(ERR_NOT_FOUND, "unknown log: this witness does not know the origin"));
    if (is_err(note_verify(note, &(*log)->key)))
        return WITNESS_UNSIGNED;
    if (q->old_size > out->size)
        return refuse(WITNESS_MALFORMED,
                      err_set(ERR_MALFORMED,
                              "the old size %llu is larger than the checkpoint's %llu",
                              (unsigned long long)q->old_size, (unsigned long long)out->size));
    return WITNESS_OK;
}

enum witness_status witness_take(struct witness_request *request, struct checkpoint *checkpoint,
                                 const struct witness_log **log, const struct witness_log *logs,
                                 size_t n_logs, struct bytes body)
{
    struct note *note = malloc(sizeof *note);
    if (note == NULL)
        abort();
    enum witness_status status = WITNESS_MALFORMED;
    if (!is_err(witness_request_parse(request, body)))
        status = take(checkpoint, log, request, note, logs, n_logs);
    free(note);
    return status;
}

enum witness_status witness_judge(const struct witness_request *request,
                                  const struct checkpoint *checkpoint,
                                  const struct witness_seen *seen)
{
    if (request->old_size != seen->size)
        return refuse(WITNESS_CONFLICT, err_set(ERR_UNTRUE, "the size cosigned last is %llu",
                                                (unsigned long long)seen->size));
    struct merkle_hash empty = merkle_empty();
    if (checkpoint->size == 0 && !merkle_equal(&checkpoint->root, &empty))
        return refuse(WITNESS_INCONSISTENT,
                      err_set(ERR_UNTRUE, "the root of size 0 is not the empty tree's"));
    struct err e = merkle_verify_consistency(seen->size, &seen->root, checkpoint->size,
                                             &checkpoint->root, &request->proof);
    if (is_err(e))
        return refuse(WITNESS_INCONSISTENT, err_context(e, "consistency proof"));
    return WITNESS_OK;
}
