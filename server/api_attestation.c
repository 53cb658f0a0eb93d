/* GET /attestation, POST /attestation/activate and /attestation/activation: over the channel to the
 * attester and back (docs/FORMATS.md sections 4 to 6). */
#include <stdlib.h>

#include "common/text.h"
#include "server/front_state.h"

enum {
    CREDENTIAL_MAX = 1024,
    ACTIVATION_NOTE_MAX = 64 * 1024,
    CHALLENGE_VALUES_MAX = 16, /* of JSON: more are parsed for nobody */
    NONCE_BYTES = 32,
    ANSWER_S = 15, /* for the TPM */
};

struct question {
    struct front *front;
    struct http_exchange *http;
    uint64_t id;
    struct event *deadline;
};

static void question_free(struct question *q)
{
    event_free(q->deadline);
    free(q);
}

static int status_of(struct err e)
{
    switch (e.code) {
    case ERR_BUSY:
        return 429;
    case ERR_UNTRUE:
    case ERR_MALFORMED:
    case ERR_USAGE:
    case ERR_LIMIT:
    case ERR_UNSUPPORTED:
    case ERR_NOT_FOUND:
        return 400;
    default:
        return 500;
    }
}

static void reply_failure(struct http_exchange *x, struct err e)
{
    http_reply_error(x, status_of(e), NULL, err_code_name(e.code), "%s", err_message());
}

static void reply_no_tpm(const struct front *f, struct http_exchange *x)
{
    http_reply_error(x, 503, NULL, "no_tpm",
                     "The TPM of this host has failed: it cannot prove what it is until %s.",
                     f->attester_gone ? "it is started again" : "the TPM answers again");
}

static void reply_hash(struct http_exchange *x, struct bytes hash)
{
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, hash);
    http_reply_json(x, 200, json_pack("{s:s}", "answer", buf_str(&hex)));
}

static void answered(void *context, const struct channel_frame *frame)
{
    struct question *q = context;
    struct reader r = reader_of(frame->payload);
    switch (frame->type) {
    case CHANNEL_EVIDENCE:
        http_reply(q->http, 200, "application/json", frame->payload);
        break;
    case CHANNEL_ACTIVATED:
        reply_hash(q->http, frame->payload);
        break;
    case CHANNEL_ACCEPTED:
        http_reply_json(q->http, 200, json_pack("{s:I}", "index", (json_int_t)read_u64be(&r)));
        break;
    default:
        if (front_attests(q->front))
            reply_failure(q->http, channel_error_decode(frame->payload));
        else
            reply_no_tpm(q->front, q->http);
    }
    question_free(q);
}

static void client_left(void *context)
{
    struct question *q = context;
    front_attester_forget(q->front->attester, q->id);
    question_free(q);
}

static void too_late(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    struct question *q = context;
    front_attester_forget(q->front->attester, q->id);
    http_reply_error(q->http, 503, NULL, "no_answer",
                     "The TPM has not answered in %d seconds: try again later; /health says since "
                     "when it is silent.",
                     ANSWER_S);
    question_free(q);
}

static void ask(struct front *f, struct http_exchange *x, uint32_t type, struct bytes payload)
{
    if (!front_attests(f)) {
        reply_no_tpm(f, x);
        return;
    }
    struct question *q = malloc(sizeof *q);
    if (q == NULL)
        abort();
    *q = (struct question){f, x, 0, evtimer_new(f->base, too_late, q)};
    const struct timeval wait = {ANSWER_S, 0};
    if (q->deadline == NULL || evtimer_add(q->deadline, &wait) != 0)
        abort();
    struct err e = front_attester_ask(f->attester, &q->id, type, payload, answered, q);
    if (is_err(e)) {
        question_free(q);
        reply_failure(x, e);
        return;
    }
    http_on_leave(x, client_left, q);
}

void api_attestation(struct http_exchange *x, void *context)
{
    BUF_AUTO text = BUF_INIT;
    uint8_t nonce[NONCE_BYTES];
    const char *hex = http_query(x, &text, "nonce");
    if (hex == NULL || is_err(hex_decode(nonce, sizeof nonce, bytes_of_str(hex)))) {
        http_reply_error(x, 400, "nonce", NULL,
                         "Give a fresh nonce of 32 bytes as 64 lower-case hex digits: "
                         "/attestation?nonce=...");
        return;
    }
    ask(context, x, CHANNEL_QUOTE, bytes_of(nonce, sizeof nonce));
}

/* A TPM2B: a big-endian length of two bytes, then exactly so many. */
static bool is_tpm2b(struct bytes v)
{
    struct reader r = reader_of(v);
    read_prefixed_u16be(&r);
    return reader_done(&r);
}

static void json_free(json_t **value)
{
    json_decref(*value);
}
#define JSON_AUTO __attribute__((cleanup(json_free))) json_t

static struct err take_tpm2b(struct buf *out, const json_t *body, const char *name)
{
    const json_t *value = json_object_get(body, name);
    BUF_AUTO bytes = BUF_INIT;
    struct bytes text =
        bytes_of(json_is_string(value) ? json_string_value(value) : "", json_string_length(value));
    if (!json_is_string(value) || is_err(base64_decode(&bytes, text, CREDENTIAL_MAX)) ||
        !is_tpm2b(buf_bytes(&bytes)))
        return err_set(ERR_MALFORMED, "'%s' must be the base64 of a TPM2B of at most %d bytes.",
                       name, CREDENTIAL_MAX);
    buf_append_bytes(out, buf_bytes(&bytes));
    return err_ok();
}

static struct err take_challenge(struct buf *out, struct bytes text)
{
    if (json_values_bound(text) > CHALLENGE_VALUES_MAX)
        return err_set(ERR_MALFORMED, "The body has more than %d values.", CHALLENGE_VALUES_MAX);
    JSON_AUTO *body = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(body))
        return err_set(ERR_MALFORMED, "The body must be a JSON object.");
    TRY(take_tpm2b(out, body, "credential"));
    return take_tpm2b(out, body, "secret");
}

/* The TPM is slow, and one for all: nobody keeps the others from it. */
static struct err count_activation(struct front *f, struct http_exchange *x)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const struct http_address from = http_from(x);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    switch (http_rates_count(f->activations, &from, now_ms)) {
    case HTTP_RATED_ADDRESS:
        return err_set(ERR_BUSY, "This address asks for too many activations: wait a second.");
    case HTTP_RATED_ALL:
        return err_set(ERR_BUSY, "Too many clients ask for activations: try again in a second.");
    case HTTP_RATED_WELL:
        break;
    }
    return err_ok();
}

void api_activate(struct http_exchange *x, void *context)
{
    BUF_AUTO text = BUF_INIT, payload = BUF_INIT;
    http_body(x, &text);
    struct err e = take_challenge(&payload, buf_bytes(&text));
    if (!is_err(e)) /* what is none never reaches the TPM */
        e = count_activation(context, x);
    if (is_err(e))
        reply_failure(x, e);
    else
        ask(context, x, CHANNEL_ACTIVATE, buf_bytes(&payload));
}

void api_activation(struct http_exchange *x, void *context)
{
    BUF_AUTO note = BUF_INIT;
    http_body(x, &note);
    if (note.len == 0 || note.len > ACTIVATION_NOTE_MAX)
        http_reply_error(x, 400, NULL, NULL,
                         "The body must be a signed activation note of at most %d bytes.",
                         ACTIVATION_NOTE_MAX);
    else
        ask(context, x, CHANNEL_ACTIVATION, buf_bytes(&note));
}
