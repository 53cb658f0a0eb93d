/*
 * One TLS 1.3 connection to a host, and HTTP requests on it, one after the other.
 *
 * Certificates are not believed, but where connection_trust asks for that: whoever verifies the
 * host compares connection_spki with the attested key. So exactly one handshake ever succeeds on a
 * connection. When it drops, every later request fails before a byte is sent; nothing is resumed,
 * retried or redirected.
 */
#ifndef HTTP_CONNECTION_H
#define HTTP_CONNECTION_H

#include "http/url.h"
#include "common/buf.h"
#include "common/hash.h"

struct connection;
struct tls_trust;

/* How long each step may take. */
struct connection_limits {
    unsigned connect_s; /* TCP and TLS */
    unsigned answer_s;  /* a whole answer that is not streamed */
    unsigned idle_s;    /* between two pieces of a stream */
};

struct answer {
    int status;
    struct buf body;
};
#define ANSWER_INIT ((struct answer){0})
void answer_cleanup(struct answer *a);
#define ANSWER_AUTO __attribute__((cleanup(answer_cleanup))) struct answer

/* Resolves the name; connects with the first request. ERR_NOT_FOUND when the name does not resolve.
 */
struct err connection_open(struct connection **out, const struct url *url,
                           const struct connection_limits *limits) MUST_USE;
/* What the other side's key must be, beside; borrowed. Before the first request; NULL: any. */
void connection_trust(struct connection *c, const struct tls_trust *trust);
void connection_close(struct connection *c);
#define CONNECTION_AUTO __attribute__((cleanup(connection_cleanup))) struct connection
void connection_cleanup(struct connection **c);

struct request {
    const char *path;
    const char *content_type; /* NULL: a GET; else a POST of `body` */
    struct bytes body;
    size_t max; /* bytes of an answer that is accepted */
};

/* ERR_IO with what happened (refused, TLS, timeout, closed), ERR_LIMIT for too long an answer.
 * `out` is appended to. Any status is an answer. */
struct err connection_request(struct connection *c, struct answer *out,
                              const struct request *request) MUST_USE;

/* Takes the next bytes of a streamed body; an error ends the request and the connection. */
typedef struct err connection_sink(void *context, struct bytes data);
/* As connection_request; the body of an answer with status 200 goes to `sink` as it comes. */
struct err connection_stream(struct connection *c, struct answer *out,
                             const struct request *request, connection_sink *sink,
                             void *context) MUST_USE;

/* SHA-256 of the peer's SubjectPublicKeyInfo; NULL before the handshake. */
const uint8_t *connection_spki(const struct connection *c);

#endif
