/* Submission: whose statements are admitted, and what is asked of each before it is appended. */
#include "logservice/challenge.h"
#include "logservice/service_state.h"

static bool takes_statements(const struct service *s, struct http_exchange *x)
{
    if (s->config.admission == NULL)
        http_reply_error(x, 403, NULL, "read-only", "This log takes no statements.");
    else if (s->serving.failed)
        http_reply_error(x, 503, NULL, "failed", "This log is about to start anew.");
    return s->config.admission != NULL && !s->serving.failed;
}

void service_challenge(struct http_exchange *x, void *context)
{
    struct service *s = context;
    if (!takes_statements(s, x))
        return;
    const struct challenge_context c = {s->sessions, s->config.admission, s->log};
    challenge_begin(x, &c, serving_now_ms());
}

void service_answer(struct http_exchange *x, void *context)
{
    struct service *s = context;
    if (!takes_statements(s, x))
        return;
    const struct session *session = challenge_answer(x, s->sessions, serving_now_ms());
    if (session == NULL)
        return;
    const struct tpm_name *name = &session->target.ak_name;
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(name->bytes, name->len));
    http_reply_json(x, 200, json_pack("{s:s}", "ak-name", buf_str(&hex)));
}

/* A statement that is in the log already is answered with its proof, and not judged again: what it
 * was judged after has gone on. */
static struct err admit(struct service *s, struct session *session, struct bytes statement,
                        struct request_blobs **blobs, const json_t *request)
{
    TRY(session_count(session, serving_now_ms()));
    if (appender_knows(s->appender, statement))
        return err_ok();
    struct request_blobs *b = NULL;
    TRY(request_blobs_take(&b, request, s->log));
    struct err e =
        session_count_bytes(session, statement.len + request_blobs_len(b), serving_now_ms());
    if (!is_err(e))
        e = admission_check(session->admission, statement, request_blobs_get, b);
    if (!is_err(e))
        e = request_blobs_check(b);
    if (is_err(e)) {
        request_blobs_free(b);
        return e;
    }
    *blobs = b;
    return err_ok();
}

static struct err find_session(struct service *s, struct session **out, const json_t *request)
{
    uint8_t id[SESSION_ID_LEN];
    TRY(request_hex(id, sizeof id, request, "session"));
    struct err e = sessions_find(s->sessions, out, id, serving_now_ms());
    if (e.code == ERR_NOT_FOUND)
        *out = NULL;
    return e.code == ERR_NOT_FOUND ? err_ok() : e;
}

void service_submit(struct http_exchange *x, void *context)
{
    static const char *const keys[] = {"session", "statement", "blobs", NULL};
    struct service *s = context;
    if (!takes_statements(s, x))
        return;
    BUF_AUTO body = BUF_INIT;
    http_body(x, &body);
    REQUEST_JSON_AUTO *request = NULL;
    struct session *session = NULL;
    struct bytes statement = {0};
    struct request_blobs *blobs = NULL;
    struct err e = request_parse(&request, buf_bytes(&body), keys);
    if (!is_err(e))
        e = find_session(s, &session, request);
    if (!is_err(e) && session == NULL) {
        http_reply_error(x, 401, "session", "no-session", "%s", err_message());
        return;
    }
    if (!is_err(e))
        e = request_text(&statement, request, "statement");
    if (!is_err(e))
        e = admit(s, session, statement, &blobs, request);
    if (is_err(e))
        request_refuse(x, e);
    else
        appender_take(s->appender, x, statement, blobs);
}
