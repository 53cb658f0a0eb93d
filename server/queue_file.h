/*
 * The file log.queue (docs/FORMATS.md section 11): which of a host's statements the log service has
 * in its log, as far as this host knows, which it refused, and which wait for it. Statements and
 * blobs themselves lie beside it by their hashes.
 */
#ifndef SERVER_QUEUE_FILE_H
#define SERVER_QUEUE_FILE_H

#include "common/buf.h"
#include "common/hash.h"

enum {
    QUEUE_LOGGED_MAX = 4, /* the newest host, boot, identity, and quote or stop */
    QUEUE_WAITING_MAX = 64,
    QUEUE_REFUSED_MAX = 16,
    QUEUE_REASON_MAX = 200,
    QUEUE_VKEY_MAX = 512,
    QUEUE_FILE_MAX = 32 * 1024,
};

struct queue_file {
    char vkey[QUEUE_VKEY_MAX]; /* of the log */
    struct queue_logged {
        uint64_t index;
        uint8_t sha256[SHA256_LEN];
    } logged[QUEUE_LOGGED_MAX];
    size_t n_logged;
    struct queue_refused {
        uint64_t since_s; /* wall clock, for people */
        uint8_t sha256[SHA256_LEN];
        char reason[QUEUE_REASON_MAX + 1]; /* printable ASCII, 1 to QUEUE_REASON_MAX bytes */
    } refused[QUEUE_REFUSED_MAX];          /* in the order in which the log refused them for good */
    size_t n_refused;
    struct queue_waiting {
        uint64_t since_s; /* wall clock, for people */
        uint8_t sha256[SHA256_LEN];
    } waiting[QUEUE_WAITING_MAX]; /* in their order */
    size_t n_waiting;
};

void queue_file_format(struct buf *out, const struct queue_file *q);
/* ERR_MALFORMED with the line; ERR_LIMIT. */
struct err queue_file_parse(struct queue_file *out, struct bytes text) MUST_USE;

#endif
