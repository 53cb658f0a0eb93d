/*
 * What goes back to a challenger, and what an activator signs (docs/FORMATS.md sections 5, 6 and
 * 10).
 */
#include <string.h>

#include "attest/credential.h"
#include "attest/key_lines.h"

static void append_prefixed(struct buf *out, struct bytes v)
{
    buf_append_u32be(out, (uint32_t)v.len);
    buf_append_bytes(out, v);
}

static void bind(uint8_t out[SHA256_LEN], const char *label, struct bytes value,
                 const struct tpm_name *ak_name, const char *origin,
                 const uint8_t spki_sha256[SHA256_LEN])
{
    struct buf text = BUF_INIT;
    buf_append_str(&text, label);
    append_prefixed(&text, value);
    append_prefixed(&text, bytes_of(ak_name->bytes, ak_name->len));
    append_prefixed(&text, bytes_of_str(origin));
    buf_append(&text, spki_sha256, SHA256_LEN);
    sha256(out, buf_bytes(&text));
    buf_cleanup_secret(&text);
}

void activation_answer(uint8_t out[SHA256_LEN], struct bytes value, const struct tpm_name *ak_name,
                       const char *origin, const uint8_t spki_sha256[SHA256_LEN])
{
    bind(out, "blindllama-activation-answer/v1\n", value, ak_name, origin, spki_sha256);
}

void possession_extra(uint8_t out[SHA256_LEN], struct bytes nonce, const struct tpm_name *ak_name,
                      const char *origin, const uint8_t spki_sha256[SHA256_LEN])
{
    bind(out, "blindllama-possession/v1\n", nonce, ak_name, origin, spki_sha256);
}

void activation_format(struct buf *out, const struct activation *a)
{
    buf_append_str(out, "blindllama-activation/v1\nek-certificate ");
    buf_append_hex(out, bytes_of(a->ek_certificate, SHA256_LEN));
    buf_append_str(out, "\nak-name ");
    buf_append_hex(out, bytes_of(a->ak_name.bytes, a->ak_name.len));
    buf_printf(out, "\norigin %s\ntime %llu\n", a->origin, (unsigned long long)a->time_s);
}

static struct err read_lines(struct key_lines *l, struct activation *a)
{
    TRY(line_literal(l, "blindllama-activation/v1", ERR_MALFORMED));
    TRY(line_hex(l, a->ek_certificate, SHA256_LEN, "ek-certificate"));
    TRY(line_tpm_name(l, &a->ak_name, "ak-name"));
    TRY(line_note_name(l, a->origin, "origin"));
    TRY(line_decimal(l, &a->time_s, UINT64_MAX, "time"));
    return lines_done(l);
}

struct err activation_parse(struct activation *out, struct bytes text)
{
    if (text.len > ACTIVATION_MAX)
        return err_set(ERR_MALFORMED, "an activation statement of %zu bytes, over %d", text.len,
                       ACTIVATION_MAX);
    struct key_lines l = key_lines_of(text);
    struct activation a;
    memset(&a, 0, sizeof a);
    TRY(err_context(read_lines(&l, &a), "activation statement"));
    *out = a;
    return err_ok();
}
