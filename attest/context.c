#include "attest/context.h"

#include "attest/key_lines.h"
#include "common/text.h"

static const char *const kind_names[] = {"periodic", "demand", "stop"};
enum { N_KINDS = sizeof kind_names / sizeof *kind_names };

static void append_hex_line(struct buf *out, const char *key, const uint8_t *data, size_t len)
{
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(data, len));
    buf_append_str(out, "\n");
}

/* "<number> <hex>", the form of `head`, `previous` and `nonces`. */
static void append_pair_line(struct buf *out, const char *key, uint64_t number,
                             const struct merkle_hash *hash)
{
    buf_printf(out, "%s %llu ", key, (unsigned long long)number);
    buf_append_hex(out, bytes_of(hash->bytes, SHA256_LEN));
    buf_append_str(out, "\n");
}

void context_format(struct buf *out, const struct quote_context *c)
{
    buf_append_str(out, "blindllama-quote-context/v1\n");
    buf_printf(out, "kind %s\n", kind_names[c->kind]);
    append_hex_line(out, "ak-name", c->ak_name.bytes, c->ak_name.len);
    append_hex_line(out, "boot-id", c->boot_id, BOOT_ID_LEN);
    buf_printf(out, "origin %s\n", c->origin);
    append_pair_line(out, "head", c->head_size, &c->head_root);
    append_hex_line(out, "head-note", c->head_note, SHA256_LEN);
    if (c->has_previous)
        append_pair_line(out, "previous", c->previous_index, &c->previous_leaf);
    else
        buf_append_str(out, "previous none\n");
    append_hex_line(out, "spki-sha256", c->spki_sha256, SHA256_LEN);
    if (c->n_nonces > 0)
        append_pair_line(out, "nonces", c->n_nonces, &c->nonce_root);
    else
        buf_append_str(out, "nonces none\n");
    buf_printf(out, "period %llu\n", (unsigned long long)c->period);
    buf_printf(out, "time %llu\n", (unsigned long long)c->time_s);
}

static struct err read_kind(struct key_lines *l, enum quote_kind *kind)
{
    struct bytes value;
    TRY(line_value(l, &value, "kind"));
    for (size_t i = 0; i < N_KINDS; i++)
        if (bytes_equal(value, bytes_of_str(kind_names[i]))) {
            *kind = (enum quote_kind)i;
            return err_ok();
        }
    char shown[84];
    return err_set(ERR_MALFORMED, "line %zu: kind '%s', not periodic, demand or stop", l->line,
                   printable(shown, value));
}

/* "<number> <hex>" */
static struct err read_pair(struct key_lines *l, uint64_t *number, uint64_t max,
                            struct merkle_hash *hash, const char *key)
{
    struct bytes first, rest;
    TRY(line_pair(l, &first, &rest, key));
    TRY(line_context(l, decimal_decode(number, first, max)));
    return line_context(l, hex_decode(hash->bytes, SHA256_LEN, rest));
}

/* "<key> none" leaves `present` false. */
static struct err read_optional_pair(struct key_lines *l, bool *present, uint64_t *number,
                                     uint64_t max, struct merkle_hash *hash, const char *key)
{
    struct key_lines peek = *l;
    struct bytes value;
    TRY(line_value(&peek, &value, key));
    *present = !bytes_equal(value, bytes_of_str("none"));
    if (*present)
        return read_pair(l, number, max, hash, key);
    *l = peek;
    return err_ok();
}

static struct err read_nonces(struct key_lines *l, struct quote_context *c)
{
    bool present = false;
    TRY(read_optional_pair(l, &present, &c->n_nonces, NONCES_MAX, &c->nonce_root, "nonces"));
    if (present && c->n_nonces == 0)
        return err_set(ERR_MALFORMED, "line %zu: a tree of no nonces is written 'none'", l->line);
    if (present != (c->kind == QUOTE_DEMAND))
        return err_set(ERR_MALFORMED, "line %zu: a %s quote %s nonces", l->line,
                       kind_names[c->kind], present ? "carries no" : "needs");
    return err_ok();
}

static struct err read_lines(struct key_lines *l, struct quote_context *c)
{
    TRY(line_literal(l, "blindllama-quote-context/v1", ERR_MALFORMED));
    TRY(read_kind(l, &c->kind));
    TRY(line_tpm_name(l, &c->ak_name, "ak-name"));
    TRY(line_hex(l, c->boot_id, BOOT_ID_LEN, "boot-id"));
    TRY(line_note_name(l, c->origin, "origin"));
    TRY(read_pair(l, &c->head_size, MERKLE_SIZE_MAX, &c->head_root, "head"));
    TRY(line_hex(l, c->head_note, SHA256_LEN, "head-note"));
    TRY(read_optional_pair(l, &c->has_previous, &c->previous_index, MERKLE_SIZE_MAX,
                           &c->previous_leaf, "previous"));
    TRY(line_hex(l, c->spki_sha256, SHA256_LEN, "spki-sha256"));
    TRY(read_nonces(l, c));
    TRY(line_decimal(l, &c->period, UINT64_MAX, "period"));
    TRY(line_decimal(l, &c->time_s, UINT64_MAX, "time"));
    return lines_done(l);
}

struct err context_parse(struct quote_context *out, struct bytes text)
{
    if (text.len > CONTEXT_MAX)
        return err_set(ERR_MALFORMED, "a quote context of %zu bytes, over %d", text.len,
                       CONTEXT_MAX);
    struct key_lines l = key_lines_of(text);
    struct quote_context c = {0};
    TRY(err_context(read_lines(&l, &c), "quote context"));
    *out = c;
    return err_ok();
}

void context_hash(uint8_t out[SHA256_LEN], struct bytes text)
{
    sha256(out, text);
}
