#include "server/publisher_log.h"

#include <stdlib.h>
#include <string.h>

#include "server/publish_frames.h"
#include "transparency/tlog_proof.h"

struct carrier {
    struct log_client *client;
    int channel;
    uint64_t id; /* of the request at hand */
    enum log_refused refused;
    bool closed;
};

/* A challenge goes to the TPM and its answer comes back while a request is at hand. `answer`
 * borrows from `memory`. */
static struct err ask_tpm(struct carrier *c, struct bytes *answer, struct buf *memory,
                          uint32_t type, const struct buf *payload, uint32_t expected)
{
    struct channel_frame f;
    TRY(channel_send(c->channel, type, c->id, buf_bytes(payload)));
    struct err e = channel_receive(c->channel, &f, memory);
    c->closed = is_err(e) || f.type == CHANNEL_END;
    if (c->closed)
        return err_set(ERR_IO, "the attester has ended");
    if (f.type == CHANNEL_ERROR)
        return channel_error_decode(f.payload);
    if (f.type != expected)
        return err_set(ERR_MALFORMED, "channel: the attester answered with a frame of type %u",
                       f.type);
    *answer = f.payload;
    return err_ok();
}

static struct err activate(void *context, uint8_t answer[SHA256_LEN], struct bytes credential,
                           struct bytes secret)
{
    BUF_AUTO payload = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct bytes got;
    buf_append_bytes(&payload, credential);
    buf_append_bytes(&payload, secret);
    TRY(ask_tpm(context, &got, &memory, CHANNEL_ACTIVATE, &payload, CHANNEL_ACTIVATED));
    if (got.len != SHA256_LEN)
        return err_set(ERR_MALFORMED, "channel: an answer of %zu bytes", got.len);
    memcpy(answer, got.data, SHA256_LEN);
    return err_ok();
}

static struct err possess(void *context, struct buf *attest, struct buf *signature,
                          const uint8_t nonce[LOG_CLIENT_NONCE_LEN])
{
    BUF_AUTO payload = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct bytes got;
    buf_append(&payload, nonce, LOG_CLIENT_NONCE_LEN);
    TRY(ask_tpm(context, &got, &memory, CHANNEL_POSSESS, &payload, CHANNEL_POSSESSED));
    struct reader r = reader_of(got);
    struct bytes quoted = read_prefixed_u16be(&r), sealed = read_prefixed_u16be(&r);
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "channel: an answer that is no quote");
    buf_append_bytes(attest, quoted);
    buf_append_bytes(signature, sealed);
    return err_ok();
}

static struct err checkpoint_of(struct checkpoint *out, struct bytes signed_note)
{
    struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    struct err e = note_parse(note, signed_note);
    if (!is_err(e))
        e = checkpoint_parse(out, note->text);
    free(note);
    return err_context(e, "the log service's checkpoint");
}

/* A size or an index that is not under the checkpoint gets an empty proof: what that means is for
 * the attester, once it has looked at the signatures. */
static struct err make_proofs(struct tile_proofs *t, struct proven *p, const struct wanted *w,
                              uint64_t size)
{
    for (size_t i = 0; i < w->n_sizes; i++)
        if (w->sizes[i] <= size)
            TRY(tile_proofs_consistency(t, &p->consistency[i], w->sizes[i]));
    for (size_t i = 0; i < w->n_indices; i++)
        if (w->indices[i] < size)
            TRY(tile_proofs_inclusion(t, &p->inclusion[i], w->indices[i]));
    p->n_consistency = w->n_sizes;
    p->n_inclusion = w->n_indices;
    return err_ok();
}

/* The checkpoint in p->note with all that is wanted under it. */
static struct err prove(struct carrier *c, struct proven *p, const struct wanted *w)
{
    struct checkpoint head;
    struct tile_proofs *t;
    TRY(checkpoint_of(&head, p->note));
    TRY(tile_proofs_new(&t, head.size, log_client_tile, c->client));
    struct err e = make_proofs(t, p, w, head.size);
    tile_proofs_free(t);
    return e;
}

static struct err send_proven(struct carrier *c, const struct proven *p)
{
    BUF_AUTO payload = BUF_INIT;
    proven_encode(&payload, p);
    return channel_send(c->channel, CHANNEL_PROVEN, c->id, buf_bytes(&payload));
}

/* Whether an earlier submission, whose answer was lost, is under the newest checkpoint. */
static struct err search(struct carrier *c, struct proven *p, struct buf *note,
                         const struct submit_request *q)
{
    struct checkpoint head;
    struct tile_proofs *t;
    struct merkle_hash leaf = merkle_leaf(q->submission.statement);
    TRY(log_client_checkpoint(c->client, note));
    TRY(checkpoint_of(&head, buf_bytes(note)));
    TRY(tile_proofs_new(&t, head.size, log_client_tile, c->client));
    struct err e = tile_proofs_find(t, &p->index, &p->submitted, &leaf, q->search_from);
    if (!is_err(e) && p->submitted)
        e = tile_proofs_inclusion(t, &p->own, p->index);
    tile_proofs_free(t);
    p->note = buf_bytes(note);
    return e;
}

static struct err submit(struct carrier *c, struct proven *p, struct buf *text,
                         const struct submit_request *q)
{
    struct tlog_proof proof;
    const struct log_client_tpm tpm = {c, activate, possess};
    TRY(log_client_submit(c->client, text, &c->refused, &q->submission, &tpm));
    TRY(err_context(tlog_proof_parse(&proof, buf_bytes(text)), "the log service's answer"));
    p->submitted = true;
    p->index = proof.index;
    p->own = proof.proof;
    p->note = proof.checkpoint;
    return err_ok();
}

static struct err on_submit(struct carrier *c, struct bytes payload)
{
    struct submit_request *q = malloc(sizeof *q);
    struct proven *p = calloc(1, sizeof *p);
    BUF_AUTO note = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct err e = q != NULL && p != NULL ? submit_request_decode(q, payload)
                                          : err_set(ERR_MEMORY, "out of memory for a statement");
    if (!is_err(e) && q->search_from != SEARCH_NOT) {
        e = search(c, p, &note, q);
        if (e.code == ERR_BUSY || e.code == ERR_IO) /* such as a log without a quorum yet */
            e = err_context(e, "looking for a statement");
    }
    if (!is_err(e) && !p->submitted)
        e = submit(c, p, &text, q);
    if (!is_err(e))
        e = prove(c, p, &q->wanted);
    if (!is_err(e))
        e = send_proven(c, p);
    free(q);
    free(p);
    return e;
}

static struct err on_look(struct carrier *c, struct bytes payload)
{
    struct wanted w;
    BUF_AUTO note = BUF_INIT;
    struct proven *p = calloc(1, sizeof *p);
    struct err e = p != NULL ? wanted_decode(&w, payload) : err_set(ERR_MEMORY, "out of memory");
    if (!is_err(e))
        e = log_client_checkpoint(c->client, &note);
    if (!is_err(e)) {
        p->note = buf_bytes(&note);
        e = prove(c, p, &w);
    }
    if (!is_err(e))
        e = send_proven(c, p);
    free(p);
    return e;
}

static struct err send_failure(const struct carrier *c, struct err e)
{
    BUF_AUTO payload = BUF_INIT;
    if (c->refused == LOG_REFUSED_NOTHING) {
        channel_error_payload(&payload, e);
        return channel_send(c->channel, CHANNEL_ERROR, c->id, buf_bytes(&payload));
    }
    buf_append_u8(&payload, (uint8_t)c->refused);
    buf_append_str(&payload, err_message());
    return channel_send(c->channel, CHANNEL_REFUSED, c->id, buf_bytes(&payload));
}

static struct err take_frame(struct carrier *c)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame f;
    struct err e = channel_receive(c->channel, &f, &memory);
    if (is_err(e) || f.type == CHANNEL_END) { /* the attester says itself why it ended */
        c->closed = true;
        return err_ok();
    }
    c->id = f.id;
    c->refused = LOG_REFUSED_NOTHING;
    if (f.type == CHANNEL_SUBMIT)
        e = on_submit(c, f.payload);
    else if (f.type == CHANNEL_LOOK)
        e = on_look(c, f.payload);
    else
        return err_set(ERR_MALFORMED, "channel: the attester sent a frame of type %u", f.type);
    if (!is_err(e) || c->closed)
        return err_ok();
    c->closed = is_err(send_failure(c, e));
    return err_ok();
}

struct err publisher_log_run(struct log_client *client, int channel_fd)
{
    struct carrier c = {.client = client, .channel = channel_fd};
    while (!c.closed)
        TRY(take_frame(&c));
    return err_ok();
}
