/* A log service's answer to a host that asks for a challenge. */
#include <string.h>

#include <jansson.h>

#include "common/text.h"
#include "publish/log_client.h"

enum { TPM2B_MAX = 1024, CHALLENGE_VALUES_MAX = 64 };

void log_challenge_cleanup(struct log_challenge *c)
{
    buf_cleanup(&c->credential);
    buf_cleanup(&c->secret);
    *c = (struct log_challenge){0};
}
#define LOG_CHALLENGE_AUTO __attribute__((cleanup(log_challenge_cleanup))) struct log_challenge

static struct err take_text(struct bytes *out, const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    if (!json_is_string(value))
        return err_set(ERR_MALFORMED, "the challenge has no %s", key);
    *out = bytes_of(json_string_value(value), json_string_length(value));
    return err_ok();
}

static struct err take_base64(struct buf *out, const json_t *root, const char *key)
{
    struct bytes text;
    TRY(take_text(&text, root, key));
    return err_context(base64_decode(out, text, TPM2B_MAX), "the challenge's %s", key);
}

static struct err take_hex(uint8_t *out, size_t len, const json_t *root, const char *key)
{
    struct bytes text;
    TRY(take_text(&text, root, key));
    return err_context(hex_decode(out, len, text), "the challenge's %s", key);
}

static struct err take(struct log_challenge *out, const json_t *root)
{
    uint8_t session[32];
    TRY(take_hex(session, sizeof session, root, "session"));
    memcpy(out->session, json_string_value(json_object_get(root, "session")), sizeof out->session);
    out->certified = json_object_size(root) == 2;
    if (out->certified)
        return take_hex(out->nonce, sizeof out->nonce, root, "nonce");
    if (json_object_size(root) != 3)
        return err_set(ERR_MALFORMED, "the challenge is no object of two or three values");
    TRY(take_base64(&out->credential, root, "credential"));
    return take_base64(&out->secret, root, "secret");
}

struct err log_challenge_parse(struct log_challenge *out, struct bytes body)
{
    LOG_CHALLENGE_AUTO c = {0};
    if (json_values_bound(body) > CHALLENGE_VALUES_MAX)
        return err_set(ERR_MALFORMED, "the challenge has more values than it may");
    json_t *root = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    struct err e = take(&c, root);
    json_decref(root);
    TRY(e);
    *out = c;
    c = (struct log_challenge){0};
    return err_ok();
}
