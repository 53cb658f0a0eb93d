/* The log's read API (C2SP tlog-tiles, blob/<sha256> and proof/<index>). */
#include "common/text.h"
#include "logservice/service_state.h"

static const char immutable[] = "public, max-age=31536000, immutable";

static void let_go(void *shelved)
{
    shelved_let_go(shelved);
}

static void reply_shelved(struct http_exchange *x, struct shelved *takes)
{
    http_header(x, "Cache-Control", immutable);
    http_reply_shared(x, 200, "application/octet-stream", buf_bytes(&takes->bytes), let_go, takes);
}

/* What was read and checked, to be kept under `key`; takes `body`. */
static void reply_read(struct service *s, struct http_exchange *x, const char *key, struct err e,
                       struct buf *body)
{
    if (e.code == ERR_NOT_FOUND)
        http_reply_error(x, 404, NULL, "not_found", "The log does not hold this.");
    else if (is_err(e))
        http_reply_error(x, 500, NULL, NULL, "The log cannot be read: %s", err_message());
    else
        reply_shelved(x, shelf_put(s->shelf, key, body));
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
    struct shelved *kept = shelf_find(s->shelf, buf_str(&path));
    if (kept != NULL) {
        reply_shelved(x, kept);
        return;
    }
    struct tile tile;
    if (is_err(tile_parse(&tile, buf_bytes(&path)))) {
        http_reply_error(x, 404, NULL, "not_found", "This is not the path of a tile.");
        return;
    }
    struct err e = store_tile(s->log, &tile, &body);
    reply_read(s, x, buf_str(&path), e, &body);
}

void service_blob(struct http_exchange *x, void *context)
{
    struct service *s = context;
    const char *name = http_rest(x);
    struct shelved *kept = shelf_find(s->shelf, name);
    if (kept != NULL) {
        reply_shelved(x, kept);
        return;
    }
    uint8_t hash[SHA256_LEN];
    if (is_err(hex_decode(hash, sizeof hash, bytes_of_str(name)))) {
        http_reply_error(x, 404, NULL, "not_found",
                         "A blob's name is the 64 lower-case hex digits of its SHA-256.");
        return;
    }
    BUF_AUTO body = BUF_INIT;
    struct err e = store_blob_read(s->log, hash, &body);
    reply_read(s, x, name, e, &body);
}

void service_proof(struct http_exchange *x, void *context)
{
    struct service *s = context;
    uint64_t index = 0;
    if (is_err(decimal_decode(&index, bytes_of_str(http_rest(x)), MERKLE_SIZE_MAX))) {
        http_reply_error(x, 404, NULL, "not_found", "A proof's name is an entry's index.");
        return;
    }
    BUF_AUTO proof = BUF_INIT;
    struct err e = published_prove(&proof, &s->published, s->log, index);
    if (e.code == ERR_NOT_FOUND)
        http_reply_error(x, 404, NULL, "not_found",
                         "No checkpoint that is shown covers this entry.");
    else if (is_err(e))
        http_reply_error(x, 500, NULL, NULL, "The log cannot be read: %s", err_message());
    else
        http_reply(x, 200, "text/plain; charset=utf-8", buf_bytes(&proof));
}
