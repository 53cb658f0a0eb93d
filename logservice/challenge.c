#include "logservice/challenge.h"

#include <stdlib.h>

static struct err parse_body(json_t **out, struct http_exchange *x, const char *const *keys)
{
    BUF_AUTO body = BUF_INIT;
    http_body(x, &body);
    return request_parse(out, buf_bytes(&body), keys);
}

/* A statement that the log holds already is taken as if it had just come. */
static struct err take_logged(struct admission *a, const struct challenge_context *c,
                              const json_t *request, const char *key, struct request_blobs *blobs)
{
    uint64_t index;
    bool there;
    TRY(request_index(&index, &there, request, key));
    if (!there)
        return err_ok();
    if (c->log == NULL)
        return err_set(ERR_MALFORMED, "There is no key '%s' here.", key);
    BUF_AUTO statement = BUF_INIT;
    TRY(store_entry_read(c->log, index, &statement));
    return err_context(admission_check(a, buf_bytes(&statement), request_blobs_get, blobs),
                       "'%s', entry %llu", key, (unsigned long long)index);
}

/* An activator signs that an EK and an AK are in one TPM: without an EK there is nothing to say. */
static struct err check_activates(const struct admission *a)
{
    struct activation_target target = {0};
    TRY(admission_target(&target, a));
    bool has_ek = target.ek != NULL;
    EVP_PKEY_free(target.ek);
    if (!has_ek)
        return err_set(ERR_UNSUPPORTED, "An attestation key with a certificate of its own has no "
                                        "endorsement key to be activated with, and needs none.");
    return err_ok();
}

static struct err begin(struct admission **out, const struct challenge_context *c,
                        const json_t *request, struct request_blobs *blobs)
{
    struct bytes statement;
    struct admission *a = NULL;
    TRY(request_text(&statement, request, "host"));
    TRY(admission_new(&a, c->policy, statement, request_blobs_get, blobs));
    struct err e = request_blobs_check(blobs);
    if (!is_err(e) && c->log == NULL)
        e = check_activates(a);
    if (!is_err(e))
        e = take_logged(a, c, request, "boot", blobs);
    if (!is_err(e))
        e = take_logged(a, c, request, "identity", blobs);
    if (is_err(e)) {
        admission_free(a);
        return e;
    }
    *out = a;
    return err_ok();
}

static json_t *challenge_json(const struct session *session, const struct credential *credential)
{
    BUF_AUTO id = BUF_INIT, object = BUF_INIT, secret = BUF_INIT, nonce = BUF_INIT;
    buf_append_hex(&id, bytes_of(session->id, SESSION_ID_LEN));
    buf_append_hex(&nonce, bytes_of(session->nonce, SESSION_NONCE_LEN));
    if (session->certified)
        return json_pack("{s:s, s:s}", "session", buf_str(&id), "nonce", buf_str(&nonce));
    buf_append_base64(&object, buf_bytes(&credential->id_object));
    buf_append_base64(&secret, buf_bytes(&credential->secret));
    return json_pack("{s:s, s:s, s:s}", "session", buf_str(&id), "credential", buf_str(&object),
                     "secret", buf_str(&secret));
}

static struct err challenge(json_t **out, struct http_exchange *x,
                            const struct challenge_context *c, uint64_t now_ms)
{
    static const char *const keys[] = {"host", "blobs", "spki", "boot", "identity", NULL};
    REQUEST_JSON_AUTO *request = NULL;
    uint8_t spki[SHA256_LEN];
    struct request_blobs *blobs = NULL;
    const struct http_address from = http_from(x);
    TRY(sessions_count(c->sessions, &from, now_ms));
    TRY(parse_body(&request, x, keys));
    TRY(request_hex(spki, sizeof spki, request, "spki"));
    TRY(request_blobs_take(&blobs, request, c->log));
    struct admission *a = NULL;
    struct err e = begin(&a, c, request, blobs);
    request_blobs_free(blobs);
    TRY(e);
    struct session *session = NULL;
    struct credential credential = CREDENTIAL_INIT;
    e = sessions_challenge(c->sessions, &session, &credential, a, spki, now_ms);
    if (!is_err(e))
        *out = challenge_json(session, &credential);
    credential_cleanup(&credential);
    return e;
}

void challenge_begin(struct http_exchange *x, const struct challenge_context *c, uint64_t now_ms)
{
    json_t *answer = NULL;
    struct err e = challenge(&answer, x, c, now_ms);
    if (is_err(e))
        request_refuse(x, e);
    else
        http_reply_json(x, 200, answer);
}

static struct err take_hash(struct session **out, struct sessions *sessions, const json_t *request,
                            const uint8_t id[SESSION_ID_LEN], uint64_t now_ms)
{
    uint8_t answer[SHA256_LEN];
    TRY(request_hex(answer, sizeof answer, request, "answer"));
    return sessions_answer(sessions, out, id, answer, now_ms);
}

static struct err take_quote(struct session **out, struct sessions *sessions, const json_t *request,
                             const uint8_t id[SESSION_ID_LEN], uint64_t now_ms)
{
    BUF_AUTO attest = BUF_INIT, signature = BUF_INIT;
    TRY(request_base64(&attest, request, "attest", ATTESTED_MAX));
    TRY(request_base64(&signature, request, "signature", ATTESTED_MAX));
    return sessions_answer_quote(sessions, out, id, buf_bytes(&attest), buf_bytes(&signature),
                                 now_ms);
}

/* The form of the request says of which kind the answer is; the session, of which it must be. */
static struct err take_answer(struct session **out, struct http_exchange *x,
                              struct sessions *sessions, uint64_t now_ms)
{
    static const char *const hash[] = {"session", "answer", NULL};
    static const char *const quote[] = {"session", "attest", "signature", NULL};
    BUF_AUTO body = BUF_INIT;
    REQUEST_JSON_AUTO *request = NULL;
    uint8_t id[SESSION_ID_LEN];
    http_body(x, &body);
    bool is_quote = is_err(request_parse(&request, buf_bytes(&body), hash));
    if (is_quote)
        TRY(request_parse(&request, buf_bytes(&body), quote));
    TRY(request_hex(id, sizeof id, request, "session"));
    return (is_quote ? take_quote : take_hash)(out, sessions, request, id, now_ms);
}

struct session *challenge_answer(struct http_exchange *x, struct sessions *sessions,
                                 uint64_t now_ms)
{
    struct session *session = NULL;
    struct err e = take_answer(&session, x, sessions, now_ms);
    if (e.code == ERR_NOT_FOUND)
        http_reply_error(x, 401, "session", "no-session", "%s", err_message());
    else if (is_err(e))
        request_refuse(x, e);
    return session;
}
