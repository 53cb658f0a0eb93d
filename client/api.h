/*
 * The host's JSON, as the client needs it: error objects and single fields, strictly parsed.
 */
#ifndef CLIENT_API_H
#define CLIENT_API_H

#include <jansson.h>

#include "http/connection.h"

void json_free(json_t **value);
#define JSON_AUTO __attribute__((cleanup(json_free))) json_t

/* One JSON object, nothing behind it. ERR_MALFORMED. */
struct err api_parse(json_t **out, struct bytes text) MUST_USE;

/* ok for status 200; else an error with the status and the host's own message, made printable:
 * ERR_UNTRUE for 400, ERR_BUSY for 429 and 503, ERR_IO for the rest (redirects are not followed).
 */
struct err api_status(const struct answer *a, const char *what) MUST_USE;

/* The message of an {"error": {"message": ...}} object, made printable; NULL if it is none. */
const char *api_error_message(struct buf *out, const json_t *root);

#endif
