/*
 * Many clients of one host, each with a TLS connection of its own: all are joined first, then all
 * ask for evidence at the same moment, each with a nonce of its own. Who has been joined for 12
 * seconds asks before the others.
 *
 * many_clients PORT N: prints "joined J asked A answered B with S bytes, under Q quotes" (a quote
 * is told by the "quote" of its bundle), "seconds: T to join, U to answer", and, for those who got
 * no evidence, why. Source addresses are 127.0.1.1 and on, 200 clients each. Exit code 0 when all
 * are answered.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

enum {
    ADDRESS_MAX = 200,
    HEAD_MAX = 1024,
    JOINING_MAX = 200,
    PATIENCE_S = 120,
    EARLY_S = 12,
    QUOTES_MAX = 4096
};

enum step { UNUSED, JOINING, JOINED, READING, DONE, FAILED };

struct client {
    int fd;
    SSL *ssl;
    enum step step;
    size_t got, whole; /* bytes of the answer, with its head */
    char head[HEAD_MAX + 1];
    uint64_t hash, at; /* of the quote's text; where it is in it */
    unsigned matched;
    double joined_s;
    const char *why;
};

static struct client *clients;
static size_t n_clients;
static int poller;
static SSL_CTX *tls;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(struct client *c, const char *why)
{
    c->step = FAILED;
    c->why = why;
    close(c->fd);
}

static bool begin(struct client *c, uint16_t port)
{
    size_t i = (size_t)(c - clients);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000101 + (uint32_t)(i / ADDRESS_MAX));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
        return false;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        return false;
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    c->step = JOINING;
    return epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e) == 0;
}

/* The text behind `"quote":"` up to its end, hashed as it comes (FNV-1a). */
static void look_for_quote(struct client *c, const char *data, size_t n)
{
    static const char key[] = "\"quote\":\"";
    for (size_t i = 0; i < n; i++) {
        if (c->matched == sizeof key)
            return;
        if (c->matched < sizeof key - 1) {
            c->matched = data[i] == key[c->matched] ? c->matched + 1 : data[i] == key[0];
            c->hash = UINT64_C(14695981039346656037);
        } else if (data[i] == '"') {
            c->matched = sizeof key;
        } else {
            c->hash = (c->hash ^ (uint8_t)data[i]) * UINT64_C(1099511628211);
        }
    }
}

static void take(struct client *c, const char *data, size_t n)
{
    if (c->whole == 0) {
        size_t room = HEAD_MAX - c->got;
        memcpy(c->head + c->got, data, n < room ? n : room);
    }
    c->got += n;
    look_for_quote(c, data, n);
    const char *end = strstr(c->head, "\r\n\r\n"), *length = strstr(c->head, "Content-Length: ");
    if (c->whole == 0 && end != NULL && length != NULL)
        c->whole = (size_t)(end + 4 - c->head) + strtoull(length + 16, NULL, 10);
    if (c->whole == 0 && c->got > HEAD_MAX)
        fail(c, "an answer without a length");
    if (c->whole == 0 || c->got < c->whole)
        return;
    if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0)
        fail(c, strncmp(c->head, "HTTP/1.1 429", 12) == 0 ? "429" : "another status");
    else
        c->step = DONE;
}

static void read_on(struct client *c)
{
    char data[16384];
    int n = 0;
    ERR_clear_error();
    while (c->step == READING && (n = SSL_read(c->ssl, data, sizeof data)) > 0)
        take(c, data, (size_t)n);
    if (c->step == READING && SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
        fail(c, "it broke off before the answer");
}

static void go_on(struct client *c)
{
    if (c->step == READING)
        read_on(c);
    if (c->step != JOINING)
        return;
    ERR_clear_error(); /* of another client's */
    int n = SSL_do_handshake(c->ssl);
    int why = n == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);
    if (n == 1)
        c->step = JOINED, c->joined_s = now();
    else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        fail(c, "it broke off before TLS");
}

static void ask(struct client *c)
{
    char request[200];
    size_t i = (size_t)(c - clients);
    int len = snprintf(request, sizeof request,
                       "GET /attestation?nonce=%064zx HTTP/1.1\r\nHost: x\r\n\r\n", i);
    c->step = READING;
    if (SSL_write(c->ssl, request, len) != len)
        fail(c, "it broke off before the request");
    else
        read_on(c);
}

static size_t count(enum step step)
{
    size_t n = 0;
    for (size_t i = 0; i < n_clients; i++)
        n += clients[i].step == step;
    return n;
}

static void wait_once(void)
{
    static struct epoll_event events[1024];
    int n = epoll_wait(poller, events, 1024, 100);
    for (int i = 0; i < n; i++)
        go_on(events[i].data.ptr);
}

/* A host waits 30 seconds for a request: who has been joined for long asks before the others. */
static void ask_early(void)
{
    for (size_t i = 0; i < n_clients; i++)
        if (clients[i].step == JOINED && now() - clients[i].joined_s > EARLY_S)
            ask(&clients[i]);
}

static void join_all(uint16_t port)
{
    double end = now() + PATIENCE_S;
    size_t next = 0, joining;
    while (((joining = count(JOINING)) > 0 || next < n_clients) && now() < end) {
        for (; next < n_clients && joining < JOINING_MAX; next++, joining++)
            if (!begin(&clients[next], port))
                fail(&clients[next], strerror(errno));
        wait_once();
        ask_early();
    }
}

static void ask_all(void)
{
    double end = now() + PATIENCE_S;
    for (size_t i = 0; i < n_clients; i++)
        if (clients[i].step == JOINED)
            ask(&clients[i]);
    while (count(READING) > 0 && now() < end)
        wait_once();
}

static size_t count_quotes(void)
{
    static uint64_t seen[QUOTES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_clients; i++) {
        size_t at = 0;
        while (at < n && seen[at] != clients[i].hash)
            at++;
        if (clients[i].step == DONE && at == n && n < QUOTES_MAX)
            seen[n++] = clients[i].hash;
    }
    return n;
}

/* One line a reason. */
static void explain(void)
{
    for (size_t i = 0; i < n_clients; i++) {
        size_t n = 0;
        if (clients[i].why == NULL)
            continue;
        const char *why = clients[i].why;
        for (size_t j = i; j < n_clients; j++)
            if (clients[j].why != NULL && strcmp(clients[j].why, why) == 0) {
                clients[j].why = NULL;
                n++;
            }
        printf("%zu: %s\n", n, why);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (argc != 3 || (n_clients = strtoull(argv[2], NULL, 10)) == 0) {
        fprintf(stderr, "usage: many_clients PORT N\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    clients = calloc(n_clients, sizeof *clients);
    poller = epoll_create1(EPOLL_CLOEXEC);
    tls = SSL_CTX_new(TLS_client_method());
    if (clients == NULL || poller < 0 || tls == NULL)
        return 2;
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    double start = now();
    join_all((uint16_t)atoi(argv[1]));
    double joined_at = now();
    size_t joined = n_clients - count(FAILED);
    ask_all();
    size_t bytes = 0;
    for (size_t i = 0; i < n_clients; i++)
        bytes += clients[i].step == DONE ? clients[i].got : 0;
    printf("joined %zu of %zu, answered %zu with %zu bytes, under %zu quotes\n", joined, n_clients,
           count(DONE), bytes, count_quotes());
    printf("seconds: %.1f to join, %.1f to answer\n", joined_at - start, now() - joined_at);
    bool all = count(DONE) == n_clients;
    explain();
    return all ? 0 : 1;
}
