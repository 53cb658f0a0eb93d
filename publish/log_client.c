#include "publish/log_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/text.h"
#include "http/connection.h"
#include "transparency/tlog_proof.h"

enum {
    CONNECT_S = 5,
    ANSWER_S = 45, /* the service waits 30 s for its witnesses */
    SMALL_ANSWER_MAX = 64 * 1024,
    SHOWN_MAX = 160,               /* bytes of an error's message */
    REQUEST_MAX = 4 * 1024 * 1024, /* of a body that a service takes */
    ANSWER_VALUES_MAX = 64,
};

struct log_client {
    struct url url;
    char prefix[URL_PREFIX_MAX + 1];
    const struct tls_trust *trust;
    struct connection *connection; /* NULL: to be made */
    char session[65];              /* "": there is none */
    char
        without[SHOWN_MAX + 1]; /* why it does not take what its log has of the host; "": it does */
};

struct err log_client_open(struct log_client **out, const char *url, const struct tls_trust *trust)
{
    struct log_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(ERR_MEMORY, "out of memory for a log's client");
    struct err e = url_parse_prefix(&c->url, c->prefix, url);
    if (is_err(e)) {
        free(c);
        return e;
    }
    c->trust = trust;
    *out = c;
    return err_ok();
}

void log_client_close(struct log_client *c)
{
    if (c == NULL)
        return;
    connection_close(c->connection);
    explicit_bzero(c->session, sizeof c->session);
    free(c);
}

static void drop(struct log_client *c)
{
    connection_close(c->connection);
    c->connection = NULL;
}

static struct err ask_once(struct log_client *c, struct answer *out, const struct request *r)
{
    const struct connection_limits limits = {CONNECT_S, ANSWER_S, ANSWER_S};
    if (c->connection == NULL) {
        TRY(connection_open(&c->connection, &c->url, &limits));
        connection_trust(c->connection, c->trust);
    }
    return connection_request(c->connection, out, r);
}

/* An idle connection may have been closed meanwhile: then once more on a new one. Every request
 * here may be sent twice: the service answers a statement that it has with its proof. */
static struct err ask(struct log_client *c, struct answer *out, struct request *r, const char *path)
{
    BUF_AUTO whole = BUF_INIT;
    buf_printf(&whole, "%s%s", c->prefix, path);
    r->path = buf_str(&whole);
    bool reused = c->connection != NULL;
    struct err e = ask_once(c, out, r);
    if (reused && e.code == ERR_IO) {
        drop(c);
        e = ask_once(c, out, r);
    }
    if (is_err(e))
        drop(c);
    return e;
}

/* The service's own words, if the body holds any: printable, on one line. */
static void error_message(char shown[SHOWN_MAX + 1], struct bytes body)
{
    json_t *root = NULL;
    if (json_values_bound(body) <= ANSWER_VALUES_MAX)
        root = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    const char *message =
        json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    snprintf(shown, SHOWN_MAX + 1, "%s", message != NULL ? message : "no reason given");
    for (char *c = shown; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    json_decref(root);
}

static bool is_refusal(int status)
{
    return status == 400 || status == 413 || status == 422;
}

static struct err check_status(const struct answer *a, const char *what)
{
    char shown[SHOWN_MAX + 1];
    if (a->status == 200)
        return err_ok();
    error_message(shown, buf_bytes(&a->body));
    switch (a->status) {
    case 400:
    case 403:
    case 413:
    case 422:
        return err_set(ERR_UNTRUE, "the log service refuses %s (%d): %s", what, a->status, shown);
    case 429:
    case 503:
        return err_set(ERR_BUSY, "the log service asks to wait with %s (%d): %s", what, a->status,
                       shown);
    default:
        return err_set(ERR_IO, "the log service answers %d to %s: %s", a->status, what, shown);
    }
}

static struct err get(struct log_client *c, const char *path, size_t max, const char *what,
                      struct buf *out)
{
    ANSWER_AUTO answer = ANSWER_INIT;
    struct request r = {.max = max};
    TRY(ask(c, &answer, &r, path));
    TRY(check_status(&answer, what));
    buf_append_bytes(out, buf_bytes(&answer.body));
    return err_ok();
}

struct err log_client_checkpoint(struct log_client *c, struct buf *note)
{
    return get(c, "/checkpoint", NOTE_MAX, "the checkpoint", note);
}

struct err log_client_tile(void *client, const struct tile *tile, struct buf *out)
{
    BUF_AUTO path = BUF_INIT;
    buf_append_str(&path, "/");
    tile_format(&path, tile);
    return get(client, buf_str(&path), TILE_WIDTH * SHA256_LEN, "a tile", out);
}

static json_t *base64_json(struct bytes data)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_base64(&text, data);
    return json_stringn((const char *)text.data, text.len);
}

static json_t *blobs_json(const struct bytes *blobs, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, base64_json(blobs[i]));
    return list;
}

/* As the service would answer it, which may hang up before it has read all of it. */
static struct err too_large(struct answer *out)
{
    out->status = 413;
    buf_append_str(&out->body,
                   "{\"error\":{\"message\":\"it has more than the 4 MiB that a service takes\"}}");
    return err_ok();
}

/* Takes `body`. */
static struct err post(struct log_client *c, struct answer *out, const char *path, size_t max,
                       json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text == NULL)
        return err_set(ERR_MEMORY, "out of memory for a request");
    struct request r = {.content_type = "application/json", .body = bytes_of_str(text), .max = max};
    struct err e = r.body.len > REQUEST_MAX ? too_large(out) : ask(c, out, &r, path);
    free(text);
    return e;
}

static json_t *text_json(struct bytes text)
{
    return json_stringn((const char *)text.data, text.len);
}

static json_t *challenge_json(const struct log_submission *s, bool with_logged)
{
    BUF_AUTO spki = BUF_INIT;
    buf_append_hex(&spki, bytes_of(s->spki_sha256, SHA256_LEN));
    json_t *body = json_pack("{s:o, s:o, s:s}", "host", text_json(s->host), "blobs",
                             blobs_json(s->host_blobs, s->n_host_blobs), "spki", buf_str(&spki));
    if (s->has_boot && with_logged)
        json_object_set_new(body, "boot", json_integer((json_int_t)s->boot));
    if (s->has_identity && with_logged)
        json_object_set_new(body, "identity", json_integer((json_int_t)s->identity));
    return body;
}

static struct err ask_challenge(struct log_client *c, struct answer *out,
                                const struct log_submission *s)
{
    const char *path = "/submit/challenge";
    c->without[0] = '\0';
    TRY(post(c, out, path, SMALL_ANSWER_MAX, challenge_json(s, true)));
    if (!is_refusal(out->status) || !(s->has_boot || s->has_identity))
        return err_ok();
    error_message(c->without, buf_bytes(&out->body));
    answer_cleanup(out);
    *out = ANSWER_INIT;
    return post(c, out, path, SMALL_ANSWER_MAX, challenge_json(s, false));
}

/* The TPM's answer, as the body of a request. */
static struct err answer_of(json_t **body, const struct log_challenge *q,
                            const struct log_client_tpm *tpm)
{
    uint8_t answer[SHA256_LEN];
    BUF_AUTO hex = BUF_INIT;
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    if (q->certified) {
        TRY(tpm->possess(tpm->context, &attest, &signature, q->nonce));
        *body = json_pack("{s:s, s:o, s:o}", "session", q->session, "attest",
                          base64_json(buf_bytes(&attest)), "signature",
                          base64_json(buf_bytes(&signature)));
        return err_ok();
    }
    TRY(tpm->activate(tpm->context, answer, buf_bytes(&q->credential), buf_bytes(&q->secret)));
    buf_append_hex(&hex, bytes_of(answer, sizeof answer));
    *body = json_pack("{s:s, s:s}", "session", q->session, "answer", buf_str(&hex));
    return err_ok();
}

#define LOG_CHALLENGE_AUTO __attribute__((cleanup(log_challenge_cleanup))) struct log_challenge

static struct err begin_session(struct log_client *c, enum log_refused *refused,
                                const struct log_submission *s, const struct log_client_tpm *tpm)
{
    ANSWER_AUTO challenge = ANSWER_INIT;
    ANSWER_AUTO accepted = ANSWER_INIT;
    LOG_CHALLENGE_AUTO q = {0};
    json_t *body = NULL;
    TRY(ask_challenge(c, &challenge, s));
    *refused = is_refusal(challenge.status) ? LOG_REFUSED_HOST : LOG_REFUSED_NOTHING;
    TRY(check_status(&challenge, "a challenge"));
    TRY(log_challenge_parse(&q, buf_bytes(&challenge.body)));
    TRY(answer_of(&body, &q, tpm));
    TRY(post(c, &accepted, "/submit/answer", SMALL_ANSWER_MAX, body));
    if (accepted.status == 401)
        return err_set(ERR_BUSY, "the log service has forgotten its challenge");
    *refused = is_refusal(accepted.status) ? LOG_REFUSED_HOST : LOG_REFUSED_NOTHING;
    TRY(check_status(&accepted, "the TPM's answer"));
    memcpy(c->session, q.session, sizeof q.session);
    return err_ok();
}

static struct err submit(struct log_client *c, struct answer *out, const struct log_submission *s)
{
    return post(c, out, "/submit", TLOG_PROOF_MAX,
                json_pack("{s:s, s:o, s:o}", "session", c->session, "statement",
                          text_json(s->statement), "blobs", blobs_json(s->blobs, s->n_blobs)));
}

/* A session without what the log has of the host ends: the next one may do better. */
static struct err refuse_statement(struct log_client *c, const struct answer *answer)
{
    struct err e = check_status(answer, "the statement");
    if (c->without[0] == '\0')
        return e;
    c->session[0] = '\0';
    return err_context(e, "not taken of this host's earlier statements: '%s'", c->without);
}

struct err log_client_submit(struct log_client *c, struct buf *proof, enum log_refused *refused,
                             const struct log_submission *s, const struct log_client_tpm *tpm)
{
    ANSWER_AUTO answer = ANSWER_INIT;
    bool fresh = c->session[0] == '\0';
    *refused = LOG_REFUSED_NOTHING;
    if (fresh)
        TRY(begin_session(c, refused, s, tpm));
    TRY(submit(c, &answer, s));
    if (answer.status == 401 && !fresh) { /* it was started anew, or a day has passed */
        answer_cleanup(&answer);
        answer = ANSWER_INIT;
        c->session[0] = '\0';
        TRY(begin_session(c, refused, s, tpm));
        TRY(submit(c, &answer, s));
    }
    if (answer.status == 401)
        c->session[0] = '\0';
    if (is_refusal(answer.status)) {
        *refused = LOG_REFUSED_STATEMENT;
        return refuse_statement(c, &answer);
    }
    TRY(check_status(&answer, "the statement"));
    buf_append_bytes(proof, buf_bytes(&answer.body));
    return err_ok();
}
