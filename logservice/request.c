#include "logservice/request.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"

void request_json_free(json_t **value)
{
    json_decref(*value);
}

static bool is_one_of(const char *key, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        if (strcmp(key, *keys) == 0)
            return true;
    return false;
}

struct err request_parse(json_t **out, struct bytes body, const char *const *keys)
{
    json_error_t error;
    if (json_values_bound(body) > REQUEST_VALUES_MAX)
        return err_set(ERR_MALFORMED, "The body has more than %d values.", REQUEST_VALUES_MAX);
    REQUEST_JSON_AUTO *root =
        json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root))
        return err_set(ERR_MALFORMED, "The body must be a JSON object.");
    const char *key;
    json_t *value;
    char shown[84];
    json_object_foreach(root, key, value)
    {
        if (!is_one_of(key, keys))
            return err_set(ERR_MALFORMED, "There is no key '%s' here.",
                           printable(shown, bytes_of_str(key)));
    }
    *out = root;
    root = NULL;
    return err_ok();
}

struct err request_text(struct bytes *out, const json_t *request, const char *key)
{
    const json_t *value = json_object_get(request, key);
    if (!json_is_string(value))
        return err_set(ERR_MALFORMED, "'%s' must be a text.", key);
    *out = bytes_of(json_string_value(value), json_string_length(value));
    return err_ok();
}

struct err request_hex(uint8_t *out, size_t len, const json_t *request, const char *key)
{
    struct bytes text;
    TRY(request_text(&text, request, key));
    if (is_err(hex_decode(out, len, text)))
        return err_set(ERR_MALFORMED, "'%s' must be %zu lower-case hex digits.", key, 2 * len);
    return err_ok();
}

struct err request_base64(struct buf *out, const json_t *request, const char *key, size_t max)
{
    struct bytes text;
    TRY(request_text(&text, request, key));
    if (is_err(base64_decode(out, text, max)))
        return err_set(ERR_MALFORMED, "'%s' must be the base64 of at most %zu bytes.", key, max);
    return err_ok();
}

struct err request_index(uint64_t *out, bool *there, const json_t *request, const char *key)
{
    const json_t *value = json_object_get(request, key);
    *there = value != NULL;
    if (value == NULL)
        return err_ok();
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(ERR_MALFORMED, "'%s' must be the index of an entry.", key);
    *out = (uint64_t)json_integer_value(value);
    return err_ok();
}

void request_blobs_free(struct request_blobs *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n; i++)
        buf_cleanup(&b->blobs[i]);
    free(b);
}

static struct err take_blob(struct request_blobs *b, const json_t *value)
{
    if (!json_is_string(value))
        return err_set(ERR_MALFORMED, "'blobs' must be base64 texts.");
    struct buf *blob = &b->blobs[b->n];
    *blob = BUF_INIT;
    struct err e = base64_decode(
        blob, bytes_of(json_string_value(value), json_string_length(value)), STORE_BLOB_MAX);
    b->n++;
    if (is_err(e))
        return err_set(ERR_MALFORMED, "Blob %zu: %s.", b->n, err_message());
    sha256(b->hashes[b->n - 1], buf_bytes(blob));
    for (size_t i = 0; i + 1 < b->n; i++)
        if (memcmp(b->hashes[i], b->hashes[b->n - 1], SHA256_LEN) == 0)
            return err_set(ERR_MALFORMED, "Blob %zu is there twice.", b->n);
    return err_ok();
}

struct err request_blobs_take(struct request_blobs **out, const json_t *request, struct store *log)
{
    const json_t *list = json_object_get(request, "blobs");
    if (!json_is_array(list))
        return err_set(ERR_MALFORMED, "'blobs' must be a list of base64 texts.");
    if (json_array_size(list) > REQUEST_BLOBS_MAX)
        return err_set(ERR_MALFORMED, "More than %d blobs.", REQUEST_BLOBS_MAX);
    struct request_blobs *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(ERR_MEMORY, "out of memory for blobs");
    b->log = log;
    struct err e = err_ok();
    for (size_t i = 0; i < json_array_size(list) && !is_err(e); i++)
        e = take_blob(b, json_array_get(list, i));
    if (is_err(e)) {
        request_blobs_free(b);
        return e;
    }
    *out = b;
    return err_ok();
}

size_t request_blobs_len(const struct request_blobs *b)
{
    size_t len = 0;
    for (size_t i = 0; i < b->n; i++)
        len += b->blobs[i].len;
    return len;
}

static struct err give(struct buf *out, const struct blob_ref *ref, struct bytes blob)
{
    if (ref->size != BLOB_SIZE_UNKNOWN)
        TRY(blob_ref_check(ref, blob));
    buf_append_bytes(out, blob);
    return err_ok();
}

struct err request_blobs_get(void *context, const struct blob_ref *ref, struct buf *out)
{
    struct request_blobs *b = context;
    for (size_t i = 0; i < b->n; i++) {
        if (memcmp(b->hashes[i], ref->sha256, SHA256_LEN) != 0)
            continue;
        TRY(give(out, ref, buf_bytes(&b->blobs[i])));
        b->named[i] = true;
        return err_ok();
    }
    BUF_AUTO stored = BUF_INIT;
    struct err e = b->log != NULL ? store_blob_read(b->log, ref->sha256, &stored)
                                  : err_set(ERR_NOT_FOUND, "no log");
    if (e.code != ERR_NOT_FOUND) {
        TRY(e);
        return give(out, ref, buf_bytes(&stored));
    }
    BUF_AUTO name = BUF_INIT;
    buf_append_hex(&name, bytes_of(ref->sha256, SHA256_LEN));
    return err_set(ERR_NOT_FOUND, "blob %s is missing: send it with the statement", buf_str(&name));
}

struct err request_blobs_check(const struct request_blobs *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (!b->named[i])
            return err_set(ERR_UNTRUE, "blob %zu is named by nothing in the statement", i + 1);
    return err_ok();
}

void request_refuse(struct http_exchange *x, struct err e)
{
    switch (e.code) {
    case ERR_MALFORMED:
    case ERR_USAGE:
        http_reply_error(x, 400, NULL, "malformed", "%s", err_message());
        return;
    case ERR_UNTRUE:
    case ERR_UNSUPPORTED:
    case ERR_NOT_FOUND:
    case ERR_LIMIT:
        http_reply_error(x, 422, NULL, "refused", "%s", err_message());
        return;
    case ERR_BUSY:
        http_reply_error(x, 429, NULL, "busy", "%s", err_message());
        return;
    default:
        http_reply_error(x, 500, NULL, NULL, "%s", err_message());
    }
}
