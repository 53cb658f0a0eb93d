/* The log's read API (C2SP tlog-tiles, and blob/<sha256>), from the file that the attester writes.
 */
#include "common/text.h"
#include "server/front_state.h"

static const char immutable[] = "public, max-age=31536000, immutable";

static bool is_closed(const struct front *f, struct http_exchange *x)
{
    if (f->options->log_url != NULL)
        http_reply_error(x, 404, NULL, "not_found", "The log of this host is kept by %s.",
                         f->options->log_url);
    else if (f->log == NULL)
        http_reply_error(x, 503, NULL, "stopping", "This server is about to stop.");
    return f->log == NULL;
}

static void reply_file(struct http_exchange *x, struct err e, const char *content_type,
                       const char *cache, const struct buf *body)
{
    if (e.code == ERR_NOT_FOUND) {
        http_reply_error(x, 404, NULL, "not_found", "The log does not hold this.");
        return;
    }
    if (is_err(e)) {
        http_reply_error(x, 500, NULL, NULL, "The log cannot be read: %s", err_message());
        return;
    }
    http_header(x, "Cache-Control", cache);
    http_reply(x, 200, content_type, buf_bytes(body));
}

void api_log_checkpoint(struct http_exchange *x, void *context)
{
    struct front *f = context;
    BUF_AUTO note = BUF_INIT;
    if (is_closed(f, x))
        return;
    struct err e = store_checkpoint(f->log, &note, NULL);
    reply_file(x, e, "text/plain; charset=utf-8", "no-store", &note);
}

void api_log_tile(struct http_exchange *x, void *context)
{
    struct front *f = context;
    BUF_AUTO path = BUF_INIT, body = BUF_INIT;
    buf_append_str(&path, "tile/");
    buf_append_str(&path, http_rest(x));
    struct tile tile;
    if (is_err(tile_parse(&tile, buf_bytes(&path)))) {
        http_reply_error(x, 404, NULL, "not_found", "This is not the path of a tile.");
        return;
    }
    if (is_closed(f, x))
        return;
    struct err e = store_tile(f->log, &tile, &body);
    reply_file(x, e, "application/octet-stream", immutable, &body);
}

void api_log_blob(struct http_exchange *x, void *context)
{
    struct front *f = context;
    uint8_t hash[SHA256_LEN];
    if (is_err(hex_decode(hash, sizeof hash, bytes_of_str(http_rest(x))))) {
        http_reply_error(x, 404, NULL, "not_found",
                         "A blob's name is the 64 lower-case hex digits of its SHA-256.");
        return;
    }
    BUF_AUTO body = BUF_INIT;
    if (is_closed(f, x))
        return;
    struct err e = store_blob_read(f->log, hash, &body);
    reply_file(x, e, "application/octet-stream", immutable, &body);
}
