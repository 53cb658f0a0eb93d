/*
 * A hostile client that takes all the connections it can get, from one address, in each way that
 * keeps one: somebody else is answered all the same. 127.0.0.1 is the hostile one, 127.0.0.2 the
 * other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/http.h"
#include "http/http_listen.h"
#include "http/tls.h"

enum { HOSTILE = HTTP_CONNECTIONS_MAX + 44, TLS_HOSTILE = HTTP_ADDRESS_MAX + 12, PATIENCE_S = 5 };

struct scene {
    pid_t server;
    uint16_t port;
};

static void small(struct http_exchange *x, void *context)
{
    (void)context;
    http_reply(x, 200, "text/plain", bytes_of_str("small\n"));
}

static void big(struct http_exchange *x, void *context)
{
    (void)context;
    static const uint8_t much[8 * 1024 * 1024];
    http_reply(x, 200, "application/octet-stream", bytes_of(much, sizeof much));
}

/* A handler that is at work for as long as the client stays. */
static void hold(struct http_exchange *x, void *context)
{
    (void)x, (void)context;
}

static const struct http_route routes[] = {
    {"/small", HTTP_GET, "/small", small},
    {"/big", HTTP_GET, "/big", big},
    {"/hold", HTTP_GET, "/hold", hold},
    {0},
};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void run_server(int out)
{
    struct tls_identity tls;
    struct http_server *http;
    int fd;
    BUF_AUTO url = BUF_INIT;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *quiet = freopen("/dev/null", "w", stderr);
    struct event_base *base = event_base_new();
    must(tls_identity_init(&tls));
    must(http_server_new(&http, base, tls.context, routes, NULL, HTTP_DEADLINES_DEFAULT));
    must(http_bind(&fd, ":0"));
    must(http_listen(fd));
    http_url(&url, fd);
    must(http_server_accept(http, fd));
    dprintf(out, "%s\n", strrchr(buf_str(&url), ':') + 1);
    event_base_dispatch(base);
    (void)quiet;
    _exit(1);
}

static void begin(struct scene *s)
{
    int ends[2];
    char port[16] = "";
    assert_int_equal(pipe(ends), 0);
    s->server = fork();
    if (s->server == 0)
        run_server(ends[1]);
    assert_true(read(ends[0], port, sizeof port - 1) > 0);
    s->port = (uint16_t)atoi(port);
    close(ends[0]);
    close(ends[1]);
}

static void end(struct scene *s)
{
    int status;
    assert_int_equal(waitpid(s->server, &status, WNOHANG), 0); /* it serves still */
    kill(s->server, SIGKILL);
    waitpid(s->server, &status, 0);
}

/* Without waiting: at its limits a server may let it hang. */
static int connect_from(const struct scene *s, const char *from)
{
    struct sockaddr_in own = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int little = 4096;
    assert_true(fd >= 0);
    inet_pton(AF_INET, from, &own.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    to.sin_port = htons(s->port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

/* NULL where it got none in PATIENCE_S, or was dropped. */
static SSL *secure_from(const struct scene *s, SSL_CTX *ctx, const char *from)
{
    int fd = connect_from(s, from);
    const struct timeval patience = {PATIENCE_S, 0};
    fcntl(fd, F_SETFL, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    SSL *ssl = SSL_new(ctx);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    if (SSL_connect(ssl) == 1)
        return ssl;
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void leave(SSL *ssl)
{
    if (ssl == NULL)
        return;
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static bool send_text(SSL *ssl, const char *text)
{
    return ssl != NULL && SSL_write(ssl, text, (int)strlen(text)) == (int)strlen(text);
}

static bool is_answered(const struct scene *s, SSL_CTX *ctx, const char *from)
{
    char answer[16] = "";
    SSL *ssl = secure_from(s, ctx, from);
    bool good = send_text(ssl, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n") &&
                SSL_read(ssl, answer, 12) == 12 && strcmp(answer, "HTTP/1.1 200") == 0;
    leave(ssl);
    return good;
}

static void idle_sockets_of_one_address_keep_nobody_out(void **state)
{
    (void)state;
    struct scene s;
    int fds[HOSTILE];
    begin(&s);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (size_t i = 0; i < HOSTILE; i++)
        fds[i] = connect_from(&s, "127.0.0.1");
    for (int i = 0; i < 3; i++)
        assert_true(is_answered(&s, ctx, "127.0.0.2"));
    assert_true(is_answered(&s, ctx, "127.0.0.1")); /* its own oldest goes */
    for (size_t i = 0; i < HOSTILE; i++)
        close(fds[i]);
    SSL_CTX_free(ctx);
    end(&s);
}

/* So many hostile connections that each send `text`, then another client. */
static void they_send(const char *text)
{
    struct scene s;
    SSL *hostile[TLS_HOSTILE];
    begin(&s);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (size_t i = 0; i < TLS_HOSTILE; i++) {
        hostile[i] = secure_from(&s, ctx, "127.0.0.1");
        if (hostile[i] != NULL && !send_text(hostile[i], text)) {
            leave(hostile[i]);
            hostile[i] = NULL;
        }
    }
    int fds[HOSTILE];
    for (size_t i = 0; i < HOSTILE; i++)
        fds[i] = connect_from(&s, "127.0.0.1");
    for (int i = 0; i < 3; i++)
        assert_true(is_answered(&s, ctx, "127.0.0.2"));
    for (size_t i = 0; i < HOSTILE; i++)
        close(fds[i]);
    for (size_t i = 0; i < TLS_HOSTILE; i++)
        leave(hostile[i]);
    SSL_CTX_free(ctx);
    end(&s);
}

static void nor_half_a_request(void **state)
{
    (void)state;
    they_send("GET /small HTTP/1.1\r\nHost:");
}

static void nor_connections_kept_after_an_answer(void **state)
{
    (void)state;
    they_send("GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
}

static void nor_answers_that_are_not_read(void **state)
{
    (void)state;
    they_send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
}

static void nor_requests_that_are_worked_on(void **state)
{
    (void)state;
    they_send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_sockets_of_one_address_keep_nobody_out),
        cmocka_unit_test(nor_half_a_request),
        cmocka_unit_test(nor_connections_kept_after_an_answer),
        cmocka_unit_test(nor_answers_that_are_not_read),
        cmocka_unit_test(nor_requests_that_are_worked_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
