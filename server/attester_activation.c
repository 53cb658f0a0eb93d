/*
 * Activation (docs/FORMATS.md sections 5 and 6): live answers, at a bounded rate, and the notes of
 * activators that this host was started with.
 */
#include "server/attester_internal.h"

#include <stdlib.h>
#include <string.h>

#include "attest/credential.h"

enum {
    ACTIVATIONS_PER_SECOND = 10,
    ACTIVATION_NOTE_MAX = 8192,
    CREDENTIAL_MAX = 1024, /* bytes of either TPM2B */
    WAITING_FEW = 4,       /* the queue is for what a start must say */
};

/* A bucket that holds one second's worth. The TPM is slow, and periodic quotes come first. */
static bool take_token(struct activation_bucket *b)
{
    uint64_t now = boottime_ms();
    uint64_t earned = (now - b->since_ms) * ACTIVATIONS_PER_SECOND / 1000;
    if (earned > 0) {
        b->tokens += earned;
        b->since_ms = now;
    }
    if (b->tokens > ACTIVATIONS_PER_SECOND)
        b->tokens = ACTIVATIONS_PER_SECOND;
    if (b->tokens == 0)
        return false;
    b->tokens--;
    return true;
}

/* Clients and the log service have a bucket each: with all of theirs, clients keep no session from
 * this host. */
static struct err check_ready(struct attester *a, int channel)
{
    if (!a->measured)
        return err_set(ERR_BUSY, "this host is not measured yet");
    if (a->tpm == NULL || tpm_has_failed(a->tpm))
        return err_set(ERR_BUSY, "the TPM of this host has failed, and is tried again");
    if (!take_token(&a->activations_by[channel == a->publisher]))
        return err_set(ERR_BUSY, "too many activations: try again in a second");
    return err_ok();
}

/* The next TPM2B, with its length in front. */
static struct bytes read_tpm2b(struct reader *r)
{
    const uint8_t *start = r->at;
    struct bytes body = read_prefixed_u16be(r);
    return bytes_of(start, r->failed ? 0 : body.len + sizeof(uint16_t));
}

/* TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET */
static struct err parse_request(struct bytes *credential, struct bytes *secret,
                                struct bytes payload)
{
    struct reader r = reader_of(payload);
    *credential = read_tpm2b(&r);
    *secret = read_tpm2b(&r);
    if (!reader_done(&r) || credential->len > CREDENTIAL_MAX || secret->len > CREDENTIAL_MAX)
        return err_set(ERR_MALFORMED, "an activation request is a credential and a secret");
    return err_ok();
}

static struct err check_activatable(const struct attester *a)
{
    if (!a->options->ak_certified)
        return err_ok();
    return err_set(ERR_UNSUPPORTED, "this host's attestation key has a certificate of its own: "
                                    "there is nothing to activate");
}

static struct err send_error(int channel, uint64_t id, struct err e)
{
    BUF_AUTO payload = BUF_INIT;
    channel_error_payload(&payload, e);
    return channel_send(channel, CHANNEL_ERROR, id, buf_bytes(&payload));
}

struct err attester_activate(struct attester *a, int channel, uint64_t id, struct bytes payload)
{
    struct bytes credential, secret;
    struct err e = parse_request(&credential, &secret, payload);
    if (!is_err(e))
        e = check_activatable(a);
    if (!is_err(e))
        e = check_ready(a, channel);
    if (is_err(e))
        return send_error(channel, id, e);
    __attribute__((cleanup(buf_cleanup_secret))) struct buf value = BUF_INIT;
    e = tpm_activate(a->tpm, &value, credential, secret);
    if (e.code == ERR_UNTRUE || e.code == ERR_MALFORMED)
        return send_error(channel, id, e);
    TRY(e);
    uint8_t answer[SHA256_LEN];
    activation_answer(answer, buf_bytes(&value), &a->ak_name, a->options->origin,
                      a->lanes.spki_sha256);
    return channel_send(channel, CHANNEL_ACTIVATED, id, bytes_of(answer, sizeof answer));
}

/* No other quote has such extraData, and this one no other's. */
static struct err quote_possession(struct attester *a, struct buf *answer, struct bytes nonce)
{
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    struct pcr_values pcrs;
    uint8_t extra[SHA256_LEN];
    possession_extra(extra, nonce, &a->ak_name, a->options->origin, a->lanes.spki_sha256);
    TRY(tpm_quote(a->tpm, &attest, &signature, &pcrs, extra));
    buf_append_u16be(answer, (uint16_t)attest.len);
    buf_append_bytes(answer, buf_bytes(&attest));
    buf_append_u16be(answer, (uint16_t)signature.len);
    buf_append_bytes(answer, buf_bytes(&signature));
    return err_ok();
}

struct err attester_possess(struct attester *a, uint64_t id, struct bytes nonce)
{
    BUF_AUTO answer = BUF_INIT;
    struct err e = err_ok();
    if (nonce.len != LOG_CLIENT_NONCE_LEN)
        e = err_set(ERR_MALFORMED, "a challenge's nonce is %d bytes", LOG_CLIENT_NONCE_LEN);
    else if (!a->options->ak_certified)
        e = err_set(ERR_UNSUPPORTED,
                    "this host's attestation key has no certificate of its own: it "
                    "is activated by its endorsement key");
    else
        e = check_ready(a, a->publisher);
    if (is_err(e))
        return send_error(a->publisher, id, e);
    TRY(quote_possession(a, &answer, nonce));
    return channel_send(a->publisher, CHANNEL_POSSESSED, id, buf_bytes(&answer));
}

/* Which of our activators signed the note, and what it says. ERR_UNTRUE if none did. */
static struct err read_note(struct activation *out, size_t *activator, const struct attester *a,
                            struct bytes note_bytes)
{
    if (note_bytes.len > ACTIVATION_NOTE_MAX)
        return err_set(ERR_LIMIT, "an activation note has at most %d bytes", ACTIVATION_NOTE_MAX);
    struct note *note = calloc(1, sizeof *note);
    if (!note)
        return err_set(ERR_MEMORY, "out of memory for a note");
    struct err e = note_parse(note, note_bytes);
    if (!is_err(e))
        e = activation_parse(out, note->text);
    if (!is_err(e))
        e = err_set(ERR_UNTRUE, "the note is signed by none of this host's activators");
    for (size_t i = 0; i < a->options->n_activators && e.code == ERR_UNTRUE; i++) {
        if (is_err(note_verify(note, &a->options->activators[i])))
            continue;
        *activator = i;
        e = err_ok();
    }
    free(note);
    return e;
}

static struct err check_activation(const struct attester *a, const struct activation *activation)
{
    uint8_t certificate[SHA256_LEN];
    sha256(certificate, buf_bytes(&a->ek_certificate));
    if (strcmp(activation->origin, a->options->origin) != 0)
        return err_set(ERR_UNTRUE, "the activation is for the log %s, this host's is %s",
                       activation->origin, a->options->origin);
    if (memcmp(activation->ek_certificate, certificate, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "the activation is for another EK certificate");
    if (activation->ak_name.len != a->ak_name.len ||
        memcmp(activation->ak_name.bytes, a->ak_name.bytes, a->ak_name.len) != 0)
        return err_set(ERR_UNTRUE, "the activation is for another attestation key");
    return err_ok();
}

/* A newer note of the same activator takes the older one's place; the log keeps both. */
static struct err place_note(struct attester *a, size_t activator, struct bytes note)
{
    size_t at = 0;
    for (; at < a->n_activations; at++) {
        struct activation other;
        size_t by;
        if (!is_err(read_note(&other, &by, a, buf_bytes(&a->activations[at]))) && by == activator)
            break;
    }
    if (at == STATEMENT_ACTIVATIONS_MAX)
        return err_set(ERR_LIMIT, "this host holds %d activations, and a statement no more",
                       (int)at);
    if (at == a->n_activations)
        a->n_activations++;
    buf_clear(&a->activations[at]);
    buf_append_bytes(&a->activations[at], note);
    return err_ok();
}

static bool holds(const struct attester *a, struct bytes note)
{
    for (size_t i = 0; i < a->n_activations; i++)
        if (bytes_equal(buf_bytes(&a->activations[i]), note))
            return true;
    return false;
}

struct err attester_send_accepted(struct attester *a, uint64_t id)
{
    BUF_AUTO index = BUF_INIT;
    buf_append_u64be(&index, a->history.host_index);
    return channel_send(a->channel, CHANNEL_ACCEPTED, id, buf_bytes(&index));
}

struct err attester_take_activation(struct attester *a, uint64_t id, struct bytes note)
{
    struct activation activation;
    size_t activator = 0;
    struct err e = check_activatable(a);
    if (!is_err(e) && !a->measured)
        e = err_set(ERR_BUSY, "this host is not measured yet");
    if (!is_err(e))
        e = read_note(&activation, &activator, a, note);
    if (!is_err(e))
        e = check_activation(a, &activation);
    if (!is_err(e) && (a->remote.accept_id != 0 || a->queue.n_waiting >= WAITING_FEW))
        e = err_set(ERR_BUSY, "statements of this host wait for its log: try again later");
    if (!is_err(e) && holds(a, note))
        return attester_send_accepted(a, id);
    if (!is_err(e))
        e = place_note(a, activator, note);
    if (is_err(e))
        return attester_send_error(a, id, e);
    TRY(attester_log_host(a));
    a->remote.accept_id = a->remote.on ? id : 0;
    return a->remote.on ? err_ok() : attester_send_accepted(a, id);
}

struct err attester_load_activations(struct attester *a)
{
    const struct history *h = &a->history;
    for (size_t i = 0; h->has_host && i < h->host.n_activations; i++) {
        TRY(attester_blob(a, h->host.activations[i].sha256, &a->activations[i]));
        a->n_activations = i + 1;
    }
    return err_ok();
}
