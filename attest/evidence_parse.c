/*
 * Evidence from JSON: a foreign host's bytes. The size is bounded before the JSON library sees
 * them, and so is the number of values, since a few MiB of "[[],[]," would take a hundred times
 * that in memory. Every object has exactly the keys of the format.
 */
#include "attest/evidence.h"

#include <stdlib.h>

#include <jansson.h>

#include "common/text.h"

/* A full bundle has about 5,000 values; commas in texts count too. */
enum { STRUCTURE_MAX = 32768 };

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}
#define JSON_AUTO __attribute__((cleanup(json_cleanup))) json_t

static struct err check_size(struct bytes json)
{
    if (json.len > EVIDENCE_MAX)
        return err_set(ERR_LIMIT, "the evidence has %zu bytes; at most %d are allowed", json.len,
                       EVIDENCE_MAX);
    if (json_values_bound(json) > STRUCTURE_MAX)
        return err_set(ERR_LIMIT, "the evidence has more than %d values", STRUCTURE_MAX);
    return err_ok();
}

/* An object with exactly the `n` keys, each given out in `values`. */
static struct err object_fields(json_t **values, const json_t *object, const char *const *keys,
                                size_t n, const char *what)
{
    if (!json_is_object(object))
        return err_set(ERR_MALFORMED, "'%s' is not an object", what);
    for (size_t i = 0; i < n; i++) {
        values[i] = json_object_get(object, keys[i]);
        if (values[i] == NULL)
            return err_set(ERR_MALFORMED, "'%s' has no key '%s'", what, keys[i]);
    }
    if (json_object_size(object) != n)
        return err_set(ERR_MALFORMED, "'%s' has keys that the format does not know", what);
    return err_ok();
}

static struct err string_field(struct bytes *out, const json_t *value, const char *what)
{
    if (!json_is_string(value))
        return err_set(ERR_MALFORMED, "'%s' is not a string", what);
    *out = bytes_of(json_string_value(value), json_string_length(value));
    return err_ok();
}

static struct err text_field(struct buf *out, const json_t *value, size_t max, const char *what)
{
    struct bytes text;
    TRY(string_field(&text, value, what));
    if (text.len == 0)
        return err_set(ERR_MALFORMED, "'%s' is empty", what);
    if (text.len > max)
        return err_set(ERR_LIMIT, "'%s' has %zu bytes; at most %zu are allowed", what, text.len,
                       max);
    buf_append_bytes(out, text);
    return err_ok();
}

static struct err index_field(uint64_t *out, const json_t *value, const char *what)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(ERR_MALFORMED, "'%s' is not a whole number", what);
    if ((uint64_t)json_integer_value(value) >= MERKLE_SIZE_MAX)
        return err_set(ERR_LIMIT, "'%s' is larger than any log", what);
    *out = (uint64_t)json_integer_value(value);
    return err_ok();
}

static struct err list_field(size_t *n, const json_t *value, size_t max, const char *what)
{
    if (!json_is_array(value))
        return err_set(ERR_MALFORMED, "'%s' is not a list", what);
    if (json_array_size(value) > max)
        return err_set(ERR_LIMIT, "'%s' has %zu items; at most %zu are allowed", what,
                       json_array_size(value), max);
    *n = json_array_size(value);
    return err_ok();
}

static struct err proof_field(struct merkle_proof *out, const json_t *value)
{
    size_t n;
    TRY(list_field(&n, value, MERKLE_PROOF_MAX, "proof"));
    for (size_t i = 0; i < n; i++) {
        struct bytes text;
        TRY(string_field(&text, json_array_get(value, i), "proof"));
        TRY(err_context(base64_decode_exact(out->hashes[i].bytes, SHA256_LEN, text), "proof"));
    }
    out->n_hashes = n;
    return err_ok();
}

static struct err parse_statement(struct evidence_statement *out, const json_t *value)
{
    static const char *const keys[] = {"index", "text", "proof"};
    json_t *v[3];
    TRY(object_fields(v, value, keys, 3, "statements"));
    TRY(index_field(&out->index, v[0], "index"));
    TRY(text_field(&out->text, v[1], STATEMENT_MAX, "text"));
    return proof_field(&out->proof, v[2]);
}

static struct err parse_statements(struct evidence *out, const json_t *list)
{
    size_t n;
    TRY(list_field(&n, list, EVIDENCE_STATEMENTS_MAX, "statements"));
    out->statements = calloc(n + 1, sizeof *out->statements);
    if (out->statements == NULL)
        return err_set(ERR_MEMORY, "out of memory for evidence");
    for (size_t i = 0; i < n; i++) {
        out->n_statements = i + 1;
        TRY(err_context(parse_statement(&out->statements[i], json_array_get(list, i)),
                        "statement %zu", i));
    }
    return err_ok();
}

static struct err parse_head(struct evidence_head *out, const json_t *value)
{
    static const char *const keys[] = {"note", "proof"};
    json_t *v[2];
    TRY(object_fields(v, value, keys, 2, "heads"));
    TRY(text_field(&out->note, v[0], NOTE_MAX, "note"));
    return proof_field(&out->proof, v[1]);
}

static struct err parse_heads(struct evidence *out, const json_t *list)
{
    size_t n;
    TRY(list_field(&n, list, EVIDENCE_HEADS_MAX, "heads"));
    out->heads = calloc(n + 1, sizeof *out->heads);
    if (out->heads == NULL)
        return err_set(ERR_MEMORY, "out of memory for evidence");
    for (size_t i = 0; i < n; i++) {
        out->n_heads = i + 1;
        TRY(err_context(parse_head(&out->heads[i], json_array_get(list, i)), "head %zu", i));
    }
    return err_ok();
}

static struct err parse_blobs(struct evidence *out, const json_t *list)
{
    size_t n;
    TRY(list_field(&n, list, EVIDENCE_BLOBS_MAX, "blobs"));
    for (size_t i = 0; i < n; i++) {
        struct bytes text;
        TRY(string_field(&text, json_array_get(list, i), "blobs"));
        BUF_AUTO blob = BUF_INIT;
        TRY(err_context(base64_decode(&blob, text, EVIDENCE_MAX), "blob %zu", i));
        evidence_add_blob(out, buf_bytes(&blob));
        if (out->n_blobs != i + 1)
            return err_set(ERR_MALFORMED, "blob %zu is there twice", i);
    }
    return err_ok();
}

static struct err parse_nonce(struct evidence *out, const json_t *value)
{
    static const char *const keys[] = {"index", "proof"};
    json_t *v[2];
    TRY(object_fields(v, value, keys, 2, "nonce"));
    TRY(index_field(&out->nonce_index, v[0], "nonce index"));
    return err_context(proof_field(&out->nonce_proof, v[1]), "nonce");
}

static struct err parse_root(struct evidence *out, const json_t *root)
{
    static const char *const keys[] = {"format", "checkpoint", "statements", "heads",
                                       "blobs",  "quote",      "nonce"};
    json_t *v[7];
    struct bytes format;
    TRY(object_fields(v, root, keys, 7, "evidence"));
    TRY(string_field(&format, v[0], "format"));
    if (!bytes_equal(format, bytes_of_str("blindllama-evidence/v1")))
        return err_set(ERR_MALFORMED, "'format' is not 'blindllama-evidence/v1'");
    TRY(text_field(&out->checkpoint, v[1], NOTE_MAX, "checkpoint"));
    TRY(parse_statements(out, v[2]));
    TRY(parse_heads(out, v[3]));
    TRY(parse_blobs(out, v[4]));
    TRY(text_field(&out->quote, v[5], STATEMENT_MAX, "quote"));
    return parse_nonce(out, v[6]);
}

struct err evidence_parse(struct evidence *out, struct bytes json)
{
    TRY(check_size(json));
    json_error_t why;
    JSON_AUTO *root = json_loadb(json.len > 0 ? (const char *)json.data : "", json.len,
                                 JSON_REJECT_DUPLICATES, &why);
    char shown[84];
    if (root == NULL)
        return err_set(ERR_MALFORMED, "the evidence is not JSON: %s at byte %d",
                       printable(shown, bytes_of_str(why.text)), why.position);
    __attribute__((cleanup(evidence_cleanup))) struct evidence e = EVIDENCE_INIT;
    TRY(err_context(parse_root(&e, root), "evidence"));
    *out = e;
    e = EVIDENCE_INIT;
    return err_ok();
}
