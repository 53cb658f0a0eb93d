#include "logservice/witness_server.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/text.h"
#include "logservice/challenge.h"
#include "logservice/serving.h"

struct server {
    const struct witness_server_config *config;
    struct serving serving;
    struct sessions *sessions; /* NULL: no activator */
};

/* After a failed COMMIT only a new start knows what is on the disk. */
static void fail(struct server *s, struct http_exchange *x)
{
    http_reply_error(x, 500, NULL, NULL, "This witness cannot keep what it cosigns: it stops.");
    serving_fail(&s->serving);
}

static void add_checkpoint(struct http_exchange *x, void *context)
{
    struct server *s = context;
    BUF_AUTO body = BUF_INIT;
    http_body(x, &body);
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    struct err e =
        witness_db_add_checkpoint(s->config->db, &reply, buf_bytes(&body), (uint64_t)time(NULL));
    if (is_err(e))
        fail(s, x);
    else
        http_reply(x, (int)reply.status,
                   reply.status == WITNESS_CONFLICT ? "text/x.tlog.size"
                                                    : "text/plain; charset=utf-8",
                   buf_bytes(&reply.body));
}

/* "<64 hex digits>/checkpoint" */
static void monitor(struct http_exchange *x, void *context)
{
    struct server *s = context;
    const char *rest = http_rest(x);
    uint8_t digest[SHA256_LEN];
    BUF_AUTO note = BUF_INIT;
    struct err e = err_set(ERR_NOT_FOUND, "no such path");
    if (strlen(rest) == 2 * SHA256_LEN + strlen("/checkpoint") &&
        strcmp(rest + 2 * SHA256_LEN, "/checkpoint") == 0 &&
        !is_err(hex_decode(digest, sizeof digest, bytes_of(rest, 2 * SHA256_LEN))))
        e = witness_db_latest(s->config->db, &note, digest);
    if (e.code == ERR_NOT_FOUND)
        http_reply_error(x, 404, NULL, "not_found",
                         "Nothing was cosigned here for a log whose origin has that SHA-256.");
    else if (is_err(e))
        http_reply_error(x, 500, NULL, NULL, "%s", err_message());
    else
        http_reply(x, 200, "text/plain; charset=utf-8", buf_bytes(&note));
}

static bool activates(const struct server *s, struct http_exchange *x)
{
    if (s->sessions == NULL)
        http_reply_error(x, 403, NULL, "no-activator", "This witness is no activator.");
    return s->sessions != NULL;
}

static void activation_challenge(struct http_exchange *x, void *context)
{
    struct server *s = context;
    if (!activates(s, x))
        return;
    const struct challenge_context c = {s->sessions, s->config->policy, NULL};
    challenge_begin(x, &c, serving_now_ms());
}

static struct err sign_activation(struct buf *out, const struct server *s,
                                  const struct activation_target *target)
{
    struct activation a = {.ak_name = target->ak_name, .time_s = (uint64_t)time(NULL)};
    memcpy(a.ek_certificate, target->ek_certificate, SHA256_LEN);
    snprintf(a.origin, sizeof a.origin, "%s", s->config->policy->log.name);
    BUF_AUTO text = BUF_INIT;
    activation_format(&text, &a);
    return note_sign(out, buf_bytes(&text), s->config->activator);
}

static void activation_answer_taken(struct http_exchange *x, void *context)
{
    struct server *s = context;
    if (!activates(s, x))
        return;
    struct session *session = challenge_answer(x, s->sessions, serving_now_ms());
    if (session == NULL)
        return;
    BUF_AUTO note = BUF_INIT;
    struct err e = sign_activation(&note, s, &session->target);
    sessions_end(session); /* its one statement is made */
    if (is_err(e))
        request_refuse(x, e);
    else
        http_reply(x, 200, "text/plain; charset=utf-8", buf_bytes(&note));
}

static const struct http_route routes[] = {
    {"/add-checkpoint", HTTP_POST, "/add-checkpoint", add_checkpoint},
    {"/monitor/", HTTP_GET, "/monitor", monitor},
    {"/activation/challenge", HTTP_POST, "/activation/challenge", activation_challenge},
    {"/activation/answer", HTTP_POST, "/activation/answer", activation_answer_taken},
    {0},
};

static struct err serve(struct server *s)
{
    if (s->config->activator != NULL)
        TRY(sessions_new(&s->sessions, s->config->policy->log.name));
    TRY(serving_open(&s->serving, routes, s, " This is a witness: POST /add-checkpoint."));
    return serving_run(&s->serving, s->config->listen);
}

struct err witness_server_run(const struct witness_server_config *config)
{
    struct server s = {.config = config};
    struct err e = serve(&s);
    serving_cleanup(&s.serving);
    sessions_free(s.sessions);
    return e;
}
