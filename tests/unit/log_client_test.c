/*
 * A host's side of a log service against a scripted one: what each status means, when a session is
 * begun anew, what of a challenge is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "http/http.h"
#include "http/http_listen.h"
#include "http/tls.h"
#include "publish/log_client.h"

#define ID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* The statement says what /submit is to answer: "200", or "401 first", "401 always", "422". */
static int n_submitted, n_sessions, n_challenges;

static void on_challenge(struct http_exchange *x, void *context)
{
    (void)context;
    BUF_AUTO body = BUF_INIT;
    http_body(x, &body);
    n_challenges++;
    bool no = strstr(buf_str(&body), "\"boot\":666") != NULL ||
              strstr(buf_str(&body), "\"host\":\"stranger\"") != NULL;
    if (no) {
        http_reply_error(x, 422, NULL, NULL, "no such model in the policy");
        return;
    }
    n_sessions++;
    if (strstr(buf_str(&body), "\"host\":\"certified\"") != NULL) {
        http_reply_json(x, 200, json_pack("{s:s, s:s}", "session", ID, "nonce", ID));
        return;
    }
    http_reply_json(
        x, 200,
        json_pack("{s:s, s:s, s:s}", "session", ID, "credential", "AAEx", "secret", "AAEy"));
}

static void on_answer(struct http_exchange *x, void *context)
{
    (void)context;
    BUF_AUTO body = BUF_INIT;
    http_body(x, &body);
    bool right =
        strstr(buf_str(&body), "\"answer\":\"0707") != NULL ||
        strstr(buf_str(&body), "\"attest\":\"cXVvdGU=\",\"signature\":\"c2lnbmVk\"") != NULL;
    if (right)
        http_reply_json(x, 200, json_object());
    else
        http_reply_error(x, 422, NULL, NULL, "the answer is wrong");
}

static void on_submit(struct http_exchange *x, void *context)
{
    (void)context;
    BUF_AUTO body = BUF_INIT;
    BUF_AUTO counts = BUF_INIT;
    http_body(x, &body);
    const char *text = buf_str(&body);
    const char *wanted = strstr(text, "\"statement\":\"");
    int status = wanted != NULL ? atoi(wanted + strlen("\"statement\":\"")) : 500;
    n_submitted++;
    if (strstr(text, "401 first") != NULL && n_submitted > 1)
        status = 200;
    buf_printf(&counts, "%d %d", n_sessions, n_submitted);
    if (status == 200)
        http_reply(x, 200, "text/plain", buf_bytes(&counts));
    else
        http_reply_error(x, status, NULL, NULL, "because \x01 of that");
}

static void on_checkpoint(struct http_exchange *x, void *context)
{
    (void)context;
    http_reply(x, 200, "text/plain", bytes_of_str("a checkpoint"));
}

static const struct http_route routes[] = {
    {"/log/submit/challenge", HTTP_POST, "", on_challenge},
    {"/log/submit/answer", HTTP_POST, "", on_answer},
    {"/log/submit", HTTP_POST, "", on_submit},
    {"/log/checkpoint", HTTP_GET, "", on_checkpoint},
    {0},
};

struct service {
    pid_t pid;
    char url[128];
};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void serve(int fd)
{
    struct tls_identity tls;
    struct http_server *http;
    struct event_base *base = event_base_new();
    if (is_err(tls_identity_init(&tls)) ||
        is_err(http_server_new(&http, base, tls.context, routes, NULL, HTTP_DEADLINES_DEFAULT)) ||
        is_err(http_server_accept(http, fd)))
        _exit(1);
    event_base_dispatch(base);
    _exit(0);
}

static void start(struct service *s)
{
    int fd = -1;
    BUF_AUTO url = BUF_INIT;
    must(http_bind(&fd, ":0"));
    must(http_listen(fd));
    http_url(&url, fd);
    snprintf(s->url, sizeof s->url, "%s/log/", buf_str(&url));
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        serve(fd);
    close(fd);
}

static void end(struct service *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

static struct err activate(void *context, uint8_t answer[SHA256_LEN], struct bytes credential,
                           struct bytes secret)
{
    assert_true(bytes_equal(credential, bytes_of("\0\0011", 3)));
    assert_true(bytes_equal(secret, bytes_of("\0\0012", 3)));
    memset(answer, *(int *)context, SHA256_LEN);
    return err_ok();
}

static const char *who = "host";
static uint64_t boot_index;
static enum log_refused refused; /* what the last submission met */

static struct err submit(struct log_client *c, const char *statement, int answer, struct buf *out)
{
    const struct bytes blob = bytes_of_str("blob");
    const struct log_submission s = {.host = bytes_of_str(who),
                                     .host_blobs = &blob,
                                     .n_host_blobs = 1,
                                     .has_boot = true,
                                     .boot = boot_index,
                                     .statement = bytes_of_str(statement)};
    const struct log_client_tpm tpm = {&answer, activate, NULL};
    return log_client_submit(c, out, &refused, &s, &tpm);
}

static void tells_each_status_apart(void **state)
{
    (void)state;
    static const struct {
        const char *statement;
        enum err_code code;
        enum log_refused refused;
        const char *reason;
    } cases[] = {
        {"200", ERR_NONE, LOG_REFUSED_NOTHING, ""},
        {"400", ERR_UNTRUE, LOG_REFUSED_STATEMENT,
         "refuses the statement (400): because ? of that"},
        {"403", ERR_UNTRUE, LOG_REFUSED_NOTHING, "403"},
        {"404", ERR_IO, LOG_REFUSED_NOTHING, "404"},
        {"413", ERR_UNTRUE, LOG_REFUSED_STATEMENT, "413"},
        {"422", ERR_UNTRUE, LOG_REFUSED_STATEMENT, "422"},
        {"429", ERR_BUSY, LOG_REFUSED_NOTHING, "429"},
        {"503", ERR_BUSY, LOG_REFUSED_NOTHING, "503"},
        {"500", ERR_IO, LOG_REFUSED_NOTHING, "500"},
        {"301", ERR_IO, LOG_REFUSED_NOTHING, "301"},
        {"401", ERR_IO, LOG_REFUSED_NOTHING, "401"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct service s;
        struct log_client *c;
        BUF_AUTO proof = BUF_INIT;
        start(&s);
        must(log_client_open(&c, s.url, NULL));
        struct err e = submit(c, cases[i].statement, 7, &proof);
        if (e.code != cases[i].code || refused != cases[i].refused ||
            (is_err(e) && strstr(err_message(), cases[i].reason) == NULL))
            fail_msg("%s: %s, %s", cases[i].statement, err_code_name(e.code), err_message());
        assert_true(is_err(e) == (proof.len == 0));
        log_client_close(c);
        end(&s);
    }
}

static void begins_a_session_anew_where_the_service_has_forgotten_it(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO proof = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    assert_int_equal(submit(c, "401 first", 7, &proof).code, ERR_IO); /* a session of just now */
    must(submit(c, "200", 7, &proof));
    assert_string_equal(buf_str(&proof), "2 2"); /* sessions, submissions */
    buf_clear(&proof);
    must(submit(c, "200", 7, &proof));
    assert_string_equal(buf_str(&proof), "2 3"); /* the same one */
    assert_int_equal(submit(c, "401 always", 7, &proof).code, ERR_IO);
    buf_clear(&proof);
    must(submit(c, "200", 7, &proof));
    assert_string_equal(buf_str(&proof), "4 6");
    log_client_close(c);
    end(&s);
}

static void a_wrong_answer_begins_no_session(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO proof = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    assert_int_equal(submit(c, "200", 8, &proof).code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "refuses the TPM's answer (422)"));
    assert_int_equal(refused, LOG_REFUSED_HOST);
    log_client_close(c);
    end(&s);
}

/* The service's policy has changed: it takes no more what its log has of this host. What comes now
 * may need none of that. */
static void a_session_does_without_what_the_service_takes_no_more(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO proof = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    boot_index = 666;
    must(submit(c, "200", 7, &proof));
    assert_string_equal(buf_str(&proof), "1 1");
    assert_int_equal(submit(c, "422", 7, &proof).code, ERR_UNTRUE); /* it did need it */
    assert_non_null(strstr(err_message(), "'no such model in the policy'"));
    assert_int_equal(refused, LOG_REFUSED_STATEMENT);
    boot_index = 0;
    buf_clear(&proof);
    must(submit(c, "200", 7, &proof));
    assert_string_equal(buf_str(&proof), "2 3"); /* a session with all of it */
    log_client_close(c);
    end(&s);
}

static void a_host_that_is_refused_is_told_apart_from_a_statement(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO proof = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    who = "stranger";
    assert_int_equal(submit(c, "200", 7, &proof).code, ERR_UNTRUE);
    who = "host";
    assert_int_equal(refused, LOG_REFUSED_HOST);
    assert_non_null(strstr(err_message(), "refuses a challenge (422): no such model"));
    log_client_close(c);
    end(&s);
}

static void what_is_too_large_for_any_service_is_refused_here(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO proof = BUF_INIT;
    BUF_AUTO large = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    must(submit(c, "200", 7, &proof));
    buf_append_str(&large, "200 ");
    while (large.len < 4 * 1024 * 1024)
        buf_append_str(&large, "................................................................");
    assert_int_equal(submit(c, buf_str(&large), 7, &proof).code, ERR_UNTRUE);
    assert_int_equal(refused, LOG_REFUSED_STATEMENT);
    assert_non_null(strstr(err_message(), "(413)"));
    log_client_close(c);
    end(&s);
}

static void goes_on_with_a_service_that_was_started_anew(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO note = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    must(log_client_checkpoint(c, &note));
    assert_string_equal(buf_str(&note), "a checkpoint");
    end(&s);
    assert_int_equal(log_client_checkpoint(c, &note).code, ERR_IO);
    assert_int_equal(note.len, strlen("a checkpoint"));
    log_client_close(c);
    assert_int_equal(log_client_open(&c, "http://127.0.0.1", NULL).code, ERR_USAGE);
}

static void refuses_a_challenge_that_is_none(void **state)
{
    (void)state;
    static const char *const flaws[] = {
        "",
        "[]",
        "{}",
        "{\"session\":\"" ID "\",\"credential\":\"AAEx\"}",
        "{\"session\":\"" ID "\",\"nonce\":\"" ID "0\"}",
        "{\"session\":\"" ID "\",\"nonce\":1}",
        "{\"session\":\"" ID "\",\"nonce\":\"" ID "\",\"secret\":\"AAEy\"}",
        "{\"session\":\"" ID "\",\"credential\":\"AAEx\",\"secret\":1}",
        "{\"session\":\"" ID "\",\"credential\":\"AAEx\",\"secret\":\"?\"}",
        "{\"session\":\"" ID "\",\"credential\":\"AAEx\",\"secret\":\"AAEy\",\"more\":1}",
        "{\"session\":\"" ID "\",\"credential\":\"AAEx\",\"secret\":\"AAEy\"} x",
        "{\"session\":\"" ID "0\",\"credential\":\"AAEx\",\"secret\":\"AAEy\"}",
        "{\"session\":\"\",\"credential\":\"AAEx\",\"secret\":\"AAEy\"}",
        "{\"session\":\"" ID "\",\"session\":\"" ID
        "\",\"credential\":\"AAEx\",\"secret\":\"AAEy\"}",
    };
    struct log_challenge c = {0};
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        struct err e = log_challenge_parse(&c, bytes_of_str(flaws[i]));
        if (e.code != ERR_MALFORMED)
            fail_msg("%s: %s", flaws[i], err_code_name(e.code));
        assert_int_equal(c.credential.len + c.secret.len, 0);
    }
    BUF_AUTO large = BUF_INIT;
    buf_append_str(&large, "{\"session\":\"" ID "\",\"secret\":\"AAEy\",\"credential\":\"");
    for (int i = 0; i < 1400; i++)
        buf_append_str(&large, "A");
    buf_append_str(&large, "\"}");
    assert_true(is_err(log_challenge_parse(&c, buf_bytes(&large))));
}

static struct err possess(void *context, struct buf *attest, struct buf *signature,
                          const uint8_t nonce[LOG_CLIENT_NONCE_LEN])
{
    (void)context;
    assert_int_equal(nonce[31], 0xff);
    buf_append_str(attest, "quote");
    buf_append_str(signature, "signed");
    return err_ok();
}

/* A key with a certificate of its own has no EK to be activated with: its TPM quotes. */
static void a_nonce_is_answered_with_a_quote(void **state)
{
    (void)state;
    struct service s;
    struct log_client *c;
    BUF_AUTO proof = BUF_INIT;
    start(&s);
    must(log_client_open(&c, s.url, NULL));
    const struct log_submission submission = {.host = bytes_of_str("certified"),
                                              .statement = bytes_of_str("200")};
    const struct log_client_tpm tpm = {.possess = possess};
    must(log_client_submit(c, &proof, &refused, &submission, &tpm));
    assert_string_equal(buf_str(&proof), "1 1");
    log_client_close(c);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_each_status_apart),
        cmocka_unit_test(begins_a_session_anew_where_the_service_has_forgotten_it),
        cmocka_unit_test(a_wrong_answer_begins_no_session),
        cmocka_unit_test(a_session_does_without_what_the_service_takes_no_more),
        cmocka_unit_test(a_host_that_is_refused_is_told_apart_from_a_statement),
        cmocka_unit_test(what_is_too_large_for_any_service_is_refused_here),
        cmocka_unit_test(goes_on_with_a_service_that_was_started_anew),
        cmocka_unit_test(refuses_a_challenge_that_is_none),
        cmocka_unit_test(a_nonce_is_answered_with_a_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
