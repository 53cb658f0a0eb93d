#include "publish/witness_client.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"

/* The checkpoint that is asked for, the same over both attempts. */
struct ask {
    struct witness_client *c;
    struct checkpoint checkpoint;
    struct buf note; /* signed by the log alone */
    int status;
    struct buf answer;
};

static void ask_cleanup(struct ask *a)
{
    buf_cleanup(&a->note);
    buf_cleanup(&a->answer);
}

static struct err send(struct ask *a, witness_post *post, void *context)
{
    struct witness_request q = {.old_size = a->c->known_size, .note = buf_bytes(&a->note)};
    TRY(store_prove_consistency(a->c->log, &q.proof, q.old_size, a->checkpoint.size));
    BUF_AUTO body = BUF_INIT;
    witness_request_format(&body, &q);
    buf_clear(&a->answer);
    return post(context, &a->status, &a->answer, buf_bytes(&body));
}

/* The size of a 409, once it is one that the log can start from. */
static struct err take_size(struct ask *a)
{
    struct reader r = reader_of(buf_bytes(&a->answer));
    uint64_t size;
    struct bytes line = read_line(&r);
    if (!reader_done(&r) || is_err(decimal_decode(&size, line, MERKLE_SIZE_MAX)))
        return err_set(ERR_UNTRUE, "it says 409 and no size: it knows another history of this log");
    if (size > a->checkpoint.size)
        return err_set(ERR_UNTRUE,
                       "it has cosigned this log at size %llu, which has only %llu entries: an "
                       "older copy was put in its place",
                       (unsigned long long)size, (unsigned long long)a->checkpoint.size);
    a->c->known_size = size;
    return err_ok();
}

/* The checkpoint with the answer's lines behind it. An answer with an empty line would make the
 * log's signature a part of the text, which is then no checkpoint that was asked for. */
static struct err parse_answer(struct note *out, struct buf *whole, const struct ask *a)
{
    TRY(note_parse(out, buf_bytes(&a->note)));
    size_t text_len = out->text.len;
    buf_append_bytes(whole, buf_bytes(&a->note));
    buf_append_bytes(whole, buf_bytes(&a->answer));
    TRY(note_parse(out, buf_bytes(whole)));
    if (out->text.len != text_len)
        return err_set(ERR_MALFORMED, "the answer holds an empty line");
    return err_ok();
}

/* The first line of the answer that is the witness's and verifies over the checkpoint. */
static struct err take_line(struct buf *out, const struct ask *a)
{
    BUF_AUTO whole = BUF_INIT;
    struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    uint64_t time_s = 0;
    struct err e = parse_answer(note, &whole, a);
    if (!is_err(e))
        e = note_verify_cosignature(note, &a->c->witness->key, &time_s);
    if (!is_err(e))
        note_signature_line(out, note, &a->c->witness->key);
    free(note);
    if (is_err(e) && e.code != ERR_MEMORY)
        return err_set(ERR_MALFORMED, "it says 200, but: %s", err_message());
    return e;
}

static struct err interpret(const struct ask *a)
{
    char shown[84];
    const char *why = printable(shown, buf_bytes(&a->answer));
    switch (a->status) {
    case WITNESS_OK:
        return err_ok();
    case WITNESS_CONFLICT:
        return err_set(ERR_BUSY, "it says 409 twice: somebody else asks for this log, too");
    case WITNESS_INCONSISTENT:
        return err_set(ERR_UNTRUE, "it knows another history of this log (422: %s)", why);
    case WITNESS_UNSIGNED:
    case WITNESS_UNKNOWN_LOG:
        return err_set(ERR_IO, "it does not know this log and its key (%d): ask its operator",
                       a->status);
    default:
        return err_set(ERR_IO, "it answers %d: %s", a->status, why);
    }
}

struct err witness_client_ask(struct witness_client *c, struct witness_line *out,
                              witness_post *post, void *context)
{
    __attribute__((cleanup(ask_cleanup))) struct ask a = {.c = c};
    TRY(store_checkpoint(c->log, NULL, &a.checkpoint));
    TRY(store_checkpoint_at(c->log, a.checkpoint.size, &a.note));
    if (c->known_size > a.checkpoint.size)
        return err_set(ERR_UNTRUE, "the log shrank under this program");
    TRY(send(&a, post, context));
    if (a.status == WITNESS_CONFLICT) {
        TRY(take_size(&a));
        TRY(send(&a, post, context));
    }
    TRY(interpret(&a));
    TRY(take_line(&out->line, &a));
    out->size = a.checkpoint.size;
    c->known_size = a.checkpoint.size;
    return err_ok();
}
