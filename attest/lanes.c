/*
 * The lanes of a runtime log (docs/FORMATS.md section 1): PCR 13 the model, 14 the code, 15 the
 * identity. Each lane is a fixed sequence of kinds, checked by one small automaton over a table; a
 * record that the table does not foresee is untrue.
 */
#include <string.h>

#include "attest/key_lines.h"
#include "attest/runtime_log.h"
#include "common/text.h"
#include "transparency/note.h"

/* What a walk over the log keeps beside its result. */
struct walk {
    struct lanes *lanes;
    struct bytes last_file; /* name of the model-file before, for the order */
};

struct step {
    const char *kind;
    bool repeats;
    struct err (*check)(struct walk *w, struct bytes data);
};

/* The word up to the first space; `rest` is what is behind it. */
static struct err take_word(struct bytes *word, struct bytes *rest)
{
    const uint8_t *space = rest->len > 0 ? memchr(rest->data, ' ', rest->len) : NULL;
    if (space == NULL)
        return err_set(ERR_UNTRUE, "a word is missing");
    size_t at = (size_t)(space - rest->data);
    *word = bytes_of(rest->data, at);
    *rest = bytes_of(space + 1, rest->len - at - 1);
    return err_ok();
}

static struct err untrue(struct err e)
{
    return is_err(e) ? (struct err){ERR_UNTRUE} : e;
}

static struct err check_model_id(struct walk *w, struct bytes data)
{
    if (!plain_name_valid(data))
        return err_set(ERR_UNTRUE, "not a model id");
    w->lanes->model_id = data;
    return err_ok();
}

/* Bytewise, a prefix before what it begins. */
static int name_order(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static struct err check_model_file(struct walk *w, struct bytes data)
{
    struct bytes hash, size, name = data;
    uint8_t sha256_bytes[SHA256_LEN];
    uint64_t size_bytes;
    TRY(take_word(&hash, &name));
    TRY(take_word(&size, &name));
    TRY(hex_decode(sha256_bytes, SHA256_LEN, hash));
    TRY(decimal_decode(&size_bytes, size, UINT64_MAX));
    if (!plain_name_valid(name))
        return err_set(ERR_UNTRUE, "not a file name");
    if (w->last_file.data != NULL && name_order(w->last_file, name) >= 0)
        return err_set(ERR_UNTRUE, "files are not in bytewise order, or one is there twice");
    w->last_file = name;
    return err_ok();
}

static struct err check_empty(struct bytes data)
{
    return data.len == 0 ? err_ok() : err_set(ERR_UNTRUE, "a cap carries no data");
}

static struct err check_model_cap(struct walk *w, struct bytes data)
{
    TRY(check_empty(data));
    w->lanes->model_capped = true;
    return err_ok();
}

static struct err check_server_binary(struct walk *w, struct bytes data)
{
    return hex_decode(w->lanes->server_binary, SHA256_LEN, data);
}

static bool word_valid(struct bytes word)
{
    return plain_name_valid(word) && memchr(word.data, ' ', word.len) == NULL;
}

static struct err check_kernels(struct walk *w, struct bytes data)
{
    struct bytes numerics, rest = data;
    uint8_t fatbin[SHA256_LEN];
    TRY(take_word(&numerics, &rest));
    if (!word_valid(numerics))
        return err_set(ERR_UNTRUE, "not a numerics name");
    w->lanes->numerics = numerics;
    if (bytes_equal(rest, bytes_of_str("none")))
        return err_ok();
    return hex_decode(fatbin, SHA256_LEN, rest);
}

static struct err check_hash(struct walk *w, struct bytes data)
{
    (void)w;
    uint8_t hash[SHA256_LEN];
    return hex_decode(hash, SHA256_LEN, data);
}

static struct err check_profile(struct walk *w, struct bytes data)
{
    if (!word_valid(data))
        return err_set(ERR_UNTRUE, "not a profile's name");
    w->lanes->profile = data;
    return err_ok();
}

static struct err check_code_cap(struct walk *w, struct bytes data)
{
    TRY(check_empty(data));
    w->lanes->code_capped = true;
    return err_ok();
}

static struct err check_boot_id(struct walk *w, struct bytes data)
{
    return hex_decode(w->lanes->boot_id, sizeof w->lanes->boot_id, data);
}

static struct err check_log(struct walk *w, struct bytes data)
{
    struct note_key key;
    TRY(note_vkey_parse(&key, data));
    if (key.type != NOTE_ED25519)
        return err_set(ERR_UNTRUE, "the log's key is of type 0x%02x, not 0x01", key.type);
    w->lanes->log_vkey = data;
    return err_ok();
}

/* Section 1.1. */
static struct err check_config(struct walk *w, struct bytes data)
{
    struct key_lines l = key_lines_of(data);
    struct lanes *lanes = w->lanes;
    TRY(line_decimal(&l, &lanes->quote_interval_s, 86400, "quote-interval"));
    TRY(line_decimal(&l, &lanes->max_context, UINT64_MAX, "max-context"));
    TRY(line_decimal(&l, &lanes->max_requests, UINT64_MAX, "max-requests"));
    TRY(lines_done(&l));
    if (lanes->quote_interval_s == 0)
        return err_set(ERR_UNTRUE, "a quote interval of 0 seconds");
    return err_ok();
}

static struct err check_identity(struct walk *w, struct bytes data)
{
    TRY(hex_decode(w->lanes->spki_sha256, SHA256_LEN, data));
    w->lanes->n_identities++;
    return err_ok();
}

static const struct step model_steps[] = {
    {"model-id", false, check_model_id},
    {"model-file", true, check_model_file},
    {"cap", false, check_model_cap},
    {0},
};
static const struct step code_steps[] = {
    {"server-binary", false, check_server_binary},
    {"kernels", false, check_kernels},
    {"sandbox", false, check_hash},
    {"profile", false, check_profile},
    {"cap", false, check_code_cap},
    {0},
};
static const struct step identity_steps[] = {
    {"boot-id", false, check_boot_id},
    {"log", false, check_log},
    {"config", false, check_config},
    {"identity", true, check_identity},
    {0},
};

/* The step that `kind` is at or behind `*at`, which moves to the one expected next; a repeating
 * step may be skipped, no other. NULL if the record is out of place. */
static const struct step *advance(const struct step **at, const char *kind)
{
    const struct step *step = *at;
    while (step->kind != NULL && step->repeats && strcmp(step->kind, kind) != 0)
        step++;
    if (step->kind == NULL || strcmp(step->kind, kind) != 0)
        return NULL;
    *at = step->repeats ? step : step + 1;
    return step;
}

static struct err check_record(struct walk *w, const struct step **at,
                               const struct runtime_record *record)
{
    const struct step *step = advance(at, record->kind);
    if (step == NULL)
        return err_set(ERR_UNTRUE, "out of place, %s%s is expected",
                       (*at)->kind != NULL ? (*at)->kind : "nothing",
                       (*at)->kind != NULL ? "" : " more");
    return untrue(step->check(w, record->data));
}

static struct err check_complete(const struct lanes *lanes)
{
    if (!lanes->model_capped)
        return err_set(ERR_UNTRUE, "runtime log: PCR 13 (model) is not capped");
    if (!lanes->code_capped)
        return err_set(ERR_UNTRUE, "runtime log: PCR 14 (code) is not capped");
    if (lanes->n_identities == 0)
        return err_set(ERR_UNTRUE, "runtime log: PCR 15 (identity) has no identity");
    return err_ok();
}

static void hash_manifest(uint8_t out[SHA256_LEN], const struct runtime_log *log, unsigned pcr)
{
    BUF_AUTO text = BUF_INIT;
    lane_manifest(&text, log, pcr);
    sha256(out, buf_bytes(&text));
}

struct err lanes_check(struct lanes *out, const struct runtime_log *log, bool complete)
{
    struct lanes lanes = {0};
    struct walk w = {.lanes = &lanes};
    const struct step *at[3] = {model_steps, code_steps, identity_steps};
    for (size_t i = 0; i < log->n_records; i++) {
        const struct runtime_record *record = &log->records[i];
        struct err e = check_record(&w, &at[record->pcr - PCR_MODEL], record);
        if (is_err(e))
            return err_context(e, "runtime log, record %zu (PCR %u %s)", i + 1, record->pcr,
                               record->kind);
    }
    if (complete)
        TRY(check_complete(&lanes));
    hash_manifest(lanes.model_manifest, log, PCR_MODEL);
    hash_manifest(lanes.code_manifest, log, PCR_CODE);
    *out = lanes;
    return err_ok();
}

void lane_manifest(struct buf *out, const struct runtime_log *log, unsigned pcr)
{
    buf_append_str(out, pcr == PCR_MODEL ? "blindllama-model/v1\n" : "blindllama-code/v1\n");
    for (size_t i = 0; i < log->n_records; i++) {
        const struct runtime_record *record = &log->records[i];
        if (record->pcr != pcr || strcmp(record->kind, "cap") == 0)
            continue;
        buf_printf(out, "%s ", record->kind);
        buf_append_bytes(out, record->data);
        buf_append_str(out, "\n");
    }
}
