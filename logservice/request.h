/*
 * Requests to a log service: JSON objects with exactly the keys of docs/FORMATS.md section 10, and
 * the blobs that come with a statement.
 */
#ifndef LOGSERVICE_REQUEST_H
#define LOGSERVICE_REQUEST_H

#include <jansson.h>

#include "attest/statement.h"
#include "http/http.h"
#include "transparency/store.h"

enum {
    REQUEST_BLOBS_MAX = 64,
    REQUEST_VALUES_MAX = 4096, /* in JSON */
};

void request_json_free(json_t **value);
#define REQUEST_JSON_AUTO __attribute__((cleanup(request_json_free))) json_t

/* The body as an object that has only keys of `keys` (NULL at the end). ERR_MALFORMED. */
struct err request_parse(json_t **out, struct bytes body, const char *const *keys) MUST_USE;
/* A text that must be there; borrowed from `request`. */
struct err request_text(struct bytes *out, const json_t *request, const char *key) MUST_USE;
struct err request_hex(uint8_t *out, size_t len, const json_t *request, const char *key) MUST_USE;
/* Base64 of at most `max` bytes, appended. */
struct err request_base64(struct buf *out, const json_t *request, const char *key,
                          size_t max) MUST_USE;
/* A number that may be missing: *there tells. */
struct err request_index(uint64_t *out, bool *there, const json_t *request,
                         const char *key) MUST_USE;

/* The blobs of one request, and behind them those that the log has. */
struct request_blobs {
    struct buf blobs[REQUEST_BLOBS_MAX];
    uint8_t hashes[REQUEST_BLOBS_MAX][SHA256_LEN];
    bool named[REQUEST_BLOBS_MAX]; /* by the statement */
    size_t n;
    struct store *log; /* NULL: none */
};
void request_blobs_free(struct request_blobs *b);
/* "blobs" of the request. ERR_MALFORMED, ERR_LIMIT. */
struct err request_blobs_take(struct request_blobs **out, const json_t *request,
                              struct store *log) MUST_USE;
/* Bytes of those of the request. */
size_t request_blobs_len(const struct request_blobs *b);
/* An admission_blobs. */
struct err request_blobs_get(void *blobs, const struct blob_ref *ref, struct buf *out);
/* ERR_UNTRUE if a blob was brought that nothing names. */
struct err request_blobs_check(const struct request_blobs *b) MUST_USE;

/* Answers with the status that the error stands for: 400 malformed, 422 refused, 429 busy, 500. */
void request_refuse(struct http_exchange *x, struct err e);

#endif
