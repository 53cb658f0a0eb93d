/*
 * A completion's stream from a host that may be hostile, over a real TLS connection to a scripted
 * server in this process: what is printed is harmless, and an answer that is not whole is an error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <jansson.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/chat.h"

enum { HOLD_OPEN = 1, ENDLESS = 2 };

static SSL_CTX *server_ctx;

/* One connection, one request, one reply. */
struct host {
    int listener;
    uint16_t port;
    const char *reply;
    int manner; /* 0, HOLD_OPEN until the client leaves, or ENDLESS repetition of the last 64 KiB */
    pthread_t thread;
    struct buf request;
};

static int make_server(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    EVP_PKEY *key = EVP_EC_gen("prime256v1");
    X509 *certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    X509_set_pubkey(certificate, key);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_sign(certificate, key, EVP_sha256());
    server_ctx = SSL_CTX_new(TLS_server_method());
    int good = SSL_CTX_use_certificate(server_ctx, certificate) == 1 &&
               SSL_CTX_use_PrivateKey(server_ctx, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return good ? 0 : -1;
}

static int free_server(void **state)
{
    (void)state;
    SSL_CTX_free(server_ctx);
    return 0;
}

/* All of a request whose body is one JSON object, which ends in "}". */
static void read_request(struct host *h, SSL *ssl)
{
    uint8_t piece[4096];
    int n;
    while ((n = SSL_read(ssl, piece, sizeof piece)) > 0) {
        buf_append(&h->request, piece, (size_t)n);
        if (piece[n - 1] == '}')
            return;
    }
}

static void reply(const struct host *h, SSL *ssl)
{
    static uint8_t filler[65536];
    memset(filler, 'x', sizeof filler);
    SSL_write(ssl, h->reply, (int)strlen(h->reply));
    while (h->manner == ENDLESS && SSL_write(ssl, filler, sizeof filler) > 0)
        continue;
    if (h->manner == HOLD_OPEN)
        SSL_read(ssl, filler, 1);
}

static void *serve(void *context)
{
    struct host *h = context;
    int fd = accept(h->listener, NULL, NULL);
    SSL *ssl = SSL_new(server_ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        read_request(h, ssl);
        reply(h, ssl);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void start(struct host *h)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    h->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(h->listener, 1), 0);
    getsockname(h->listener, (struct sockaddr *)&a, &len);
    h->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&h->thread, NULL, serve, h), 0);
}

/* Asks the scripted host; `printed` gets what went to the terminal, `sent` the request. */
static struct err ask(struct buf *printed, struct buf *sent, struct chat_outcome *outcome,
                      const char *reply_text, int manner)
{
    struct host h = {.reply = reply_text, .manner = manner};
    start(&h);
    struct url url = {.host = "127.0.0.1", .port = h.port, .authority = "127.0.0.1:1"};
    const struct connection_limits limits = {10, 10, 1};
    const struct chat_question question = {.system = "be \"brief\"",
                                           .prompt = bytes_of_str("a\nb"),
                                           .max_tokens = 5,
                                           .temperature = 0.5,
                                           .has_seed = true,
                                           .seed = 7};
    struct connection *c = NULL;
    assert_false(is_err(connection_open(&c, &url, &limits)));
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct err e = chat_ask(outcome, c, out, &question);
    fclose(out);
    connection_close(c);
    pthread_join(h.thread, NULL);
    close(h.listener);
    buf_append(printed, text, len);
    buf_append_bytes(sent, buf_bytes(&h.request));
    buf_cleanup(&h.request);
    free(text);
    return e;
}

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define PIECE(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define STOP "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE "data: [DONE]\n\n"

static void prints_an_answer_made_harmless(void **state)
{
    (void)state;
    BUF_AUTO printed = BUF_INIT, sent = BUF_INIT;
    struct chat_outcome outcome;
    struct err e =
        ask(&printed, &sent, &outcome,
            STREAM PIECE("Hel") PIECE("lo \\u001b[2J") PIECE("\\u00e9") PIECE("") STOP DONE, 0);
    if (is_err(e))
        fail_msg("%s", err_message());
    assert_string_equal(buf_str(&printed), "Hello \xef\xbf\xbd[2J\xc3\xa9\n");
    assert_string_equal(outcome.finish_reason, "stop");
    const char *body = strstr(buf_str(&sent), "\r\n\r\n");
    assert_non_null(body);
    json_t *question = json_loads(body + 4, 0, NULL);
    char *again = json_dumps(question, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(again, "{\"max_tokens\":5,\"messages\":[{\"content\":\"be \\\"brief\\\"\","
                               "\"role\":\"system\"},{\"content\":\"a\\nb\",\"role\":\"user\"}],"
                               "\"seed\":7,\"stream\":true,\"temperature\":0.5}");
    free(again);
    json_decref(question);
}

static void an_answer_that_is_not_whole_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *reply, *printed, *reason;
        int manner;
    } cases[] = {
        {STREAM PIECE("Hel"), "Hel\n", "broke off", 0},
        {STREAM PIECE("Hel") STOP, "Hel\n", "broke off", 0},
        {STREAM PIECE("Hel"), "Hel\n", "no news within 1 s", HOLD_OPEN},
        {STREAM PIECE("Hel") "data: {\"error\":{\"message\":\"tired\\u001b\"}}\n\n" DONE, "Hel\n",
         "broke off: tired\xef\xbf\xbd", 0},
        {STREAM PIECE("Hel") "data: no JSON\n\n" DONE, "Hel\n", "not a JSON object", 0},
        {STREAM "data: ", "", "longer than", ENDLESS},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 29\r\n\r\n{\"error\":{\"message\":\"full\"}} \n", "",
         "503: full", 0},
        {"HTTP/1.1 500 Broken\r\nConnection: close\r\n\r\n", "", "accepted", ENDLESS},
        {"HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n", "",
         "not followed", 0},
        {"", "", "127.0.0.1:1", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BUF_AUTO printed = BUF_INIT, sent = BUF_INIT;
        struct chat_outcome outcome;
        struct err e = ask(&printed, &sent, &outcome, cases[i].reply, cases[i].manner);
        if (!is_err(e) || e.code == ERR_UNTRUE || strstr(err_message(), cases[i].reason) == NULL)
            fail_msg("case %zu: %s '%s'", i, err_code_name(e.code), is_err(e) ? err_message() : "");
        assert_string_equal(buf_str(&printed), cases[i].printed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_an_answer_made_harmless),
        cmocka_unit_test(an_answer_that_is_not_whole_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_server, free_server);
}
