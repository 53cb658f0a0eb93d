/* The log's read API (C2SP tlog-tiles, and blob/<sha256>). */
#include "common/text.h"
#include "logservice/service_state.h"

static const char immutable[] = "public, max-age=31536000, immutable";

static void reply_bytes(struct http_exchange *x, struct err e, const struct buf *body)
{
    if (e.code == ERR_NOT_FOUND) {
        http_reply_error(x, 404, NULL, "not_found", "The log does not hold this.");
        return;
    }
    if (is_err(e)) {
        http_reply_error(x, 500, NULL, NULL, "The log cannot be read: %s", err_message());
        return;
    }
    http_header(x, "Cache-Control", immutable);
    http_reply(x, 200, "application/octet-stream", buf_bytes(body));
}

void service_checkpoint(struct http_exchange *x, void *context)
{
    const struct service *s = context;
    if (!s->published.there)
        http_reply_error(x, 404, NULL, "no-quorum",
                         "No checkpoint of this log has the quorum of its witnesses yet.");
    else
        http_reply(x, 200, "text/plain; charset=utf-8", buf_bytes(&s->published.note));
}

void service_tile(struct http_exchange *x, void *context)
{
    struct service *s = context;
    BUF_AUTO path = BUF_INIT, body = BUF_INIT;
    buf_append_str(&path, "tile/");
    buf_append_str(&path, http_rest(x));
    struct tile tile;
    if (is_err(tile_parse(&tile, buf_bytes(&path)))) {
        http_reply_error(x, 404, NULL, "not_found", "This is not the path of a tile.");
        return;
    }
    struct err e = store_tile(s->log, &tile, &body);
    reply_bytes(x, e, &body);
}

void service_blob(struct http_exchange *x, void *context)
{
    struct service *s = context;
    uint8_t hash[SHA256_LEN];
    if (is_err(hex_decode(hash, sizeof hash, bytes_of_str(http_rest(x))))) {
        http_reply_error(x, 404, NULL, "not_found",
                         "A blob's name is the 64 lower-case hex digits of its SHA-256.");
        return;
    }
    BUF_AUTO body = BUF_INIT;
    struct err e = store_blob_read(s->log, hash, &body);
    reply_bytes(x, e, &body);
}
