#include "transparency/note.h"

#include <string.h>

#include "common/text.h"

static const char dash[] = "\xe2\x80\x94 "; /* U+2014 and a space begin a signature line */
#define COSIGNATURE_TIME_MAX ((uint64_t)INT64_MAX)
enum { COSIGNATURE_LEN = 8 + ED25519_SIGNATURE_LEN };

static struct err check_characters(struct bytes data)
{
    if (!utf8_valid(data))
        return err_set(ERR_MALFORMED, "the note is not UTF-8");
    for (size_t i = 0; i < data.len; i++)
        if (data.data[i] < 0x20 && data.data[i] != '\n')
            return err_set(ERR_MALFORMED, "the note holds the control character 0x%02x at byte %zu",
                           data.data[i], i);
    return err_ok();
}

/* Splits at the last empty line. The text keeps its newline; the empty line belongs to neither. */
static struct err split(struct bytes *text, struct bytes *lines, struct bytes data)
{
    for (size_t i = data.len; i >= 2; i--) {
        if (data.data[i - 2] != '\n' || data.data[i - 1] != '\n')
            continue;
        *text = bytes_of(data.data, i - 1);
        *lines = bytes_of(data.data + i, data.len - i);
        return err_ok();
    }
    return err_set(ERR_MALFORMED, "the note has no empty line before its signatures");
}

/* "— <name> <base64(key id || signature)>", without its newline. */
static struct err parse_signature(struct note_signature *out, struct bytes line)
{
    struct reader r = reader_of(line);
    if (!read_literal(&r, dash))
        return err_set(ERR_MALFORMED, "a line after the note's text is not a signature line");
    const uint8_t *space = reader_left(&r) > 0 ? memchr(r.at, ' ', reader_left(&r)) : NULL;
    if (space == NULL)
        return err_set(ERR_MALFORMED, "a signature line has no signature");
    struct bytes name = read_bytes(&r, (size_t)(space - r.at));
    read_u8(&r);
    if (!note_name_valid(name))
        return err_set(ERR_MALFORMED, "a signature line's name is empty or holds a space or '+'");
    BUF_AUTO raw = BUF_INIT;
    struct err e = base64_decode(&raw, read_bytes(&r, reader_left(&r)), NOTE_MAX);
    if (is_err(e))
        return err_context(e, "a signature line");
    struct reader signature = reader_of(buf_bytes(&raw));
    uint32_t id = read_u32be(&signature);
    size_t len = reader_left(&signature);
    if (len == 0)
        return err_set(ERR_MALFORMED, "a signature line's signature is too short");
    out->name = name;
    out->id = id;
    out->signature_len = len < sizeof out->signature ? len : sizeof out->signature;
    memcpy(out->signature, read_bytes(&signature, out->signature_len).data, out->signature_len);
    return err_ok();
}

struct err note_parse(struct note *out, struct bytes data)
{
    if (data.len > NOTE_MAX)
        return err_set(ERR_LIMIT, "the note is larger than %d bytes", NOTE_MAX);
    TRY(check_characters(data));
    struct bytes text, lines;
    TRY(split(&text, &lines, data));
    struct reader r = reader_of(lines);
    size_t n = 0;
    do {
        struct bytes line = read_line(&r);
        if (r.failed)
            return err_set(ERR_MALFORMED,
                           "the note does not end in a signature line and a newline");
        if (n == NOTE_SIGNATURES_MAX)
            return err_set(ERR_MALFORMED, "the note has more than %d signatures",
                           NOTE_SIGNATURES_MAX);
        TRY(parse_signature(&out->signatures[n++], line));
    } while (reader_left(&r) > 0);
    out->text = text;
    out->n_signatures = n;
    return err_ok();
}

static bool is_by(const struct note_signature *s, const struct note_key *key)
{
    return s->id == key->id && bytes_equal(s->name, bytes_of_str(key->name));
}

struct err note_verify(const struct note *note, const struct note_key *key)
{
    if (key->type != NOTE_ED25519)
        return err_set(ERR_USAGE, "the key of %s is a cosigner's, not a note's", key->name);
    bool found = false;
    for (size_t i = 0; i < note->n_signatures; i++) {
        const struct note_signature *s = &note->signatures[i];
        if (!is_by(s, key))
            continue;
        if (s->signature_len != ED25519_SIGNATURE_LEN ||
            is_err(ed25519_verify(key->public_key, s->signature, note->text)))
            return err_set(ERR_UNTRUE, "the note's signature by %s does not verify", key->name);
        found = true;
    }
    if (!found)
        return err_set(ERR_UNTRUE, "the note is not signed by %s (key id %08x)", key->name,
                       (unsigned)key->id);
    return err_ok();
}

static void append_signature_line(struct buf *out, const struct note_key *key,
                                  struct bytes signature)
{
    BUF_AUTO raw = BUF_INIT;
    buf_append_u32be(&raw, key->id);
    buf_append_bytes(&raw, signature);
    buf_printf(out, "%s%s ", dash, key->name);
    buf_append_base64(out, buf_bytes(&raw));
    buf_append_str(out, "\n");
}

bool note_signature_line(struct buf *out, const struct note *note, const struct note_key *key)
{
    for (size_t i = 0; i < note->n_signatures; i++) {
        const struct note_signature *s = &note->signatures[i];
        if (!is_by(s, key))
            continue;
        append_signature_line(out, key, bytes_of(s->signature, s->signature_len));
        return true;
    }
    return false;
}

static struct err check_text(struct bytes text)
{
    if (text.len == 0 || text.data[text.len - 1] != '\n')
        return err_set(ERR_USAGE, "a note's text must end in a newline");
    if (text.len > NOTE_MAX / 2)
        return err_set(ERR_USAGE, "a note's text of %zu bytes is too large", text.len);
    struct err e = check_characters(text);
    return is_err(e) ? err_set(ERR_USAGE, "the text cannot be signed: %s", err_message()) : e;
}

struct err note_sign_with(struct buf *out, struct bytes text, const struct note_key *key,
                          struct ed25519_key *secret)
{
    if (key->type != NOTE_ED25519)
        return err_set(ERR_USAGE, "the key of %s is a cosigner's, not a note's", key->name);
    TRY(check_text(text));
    uint8_t signature[ED25519_SIGNATURE_LEN];
    ed25519_key_sign(signature, secret, text);
    buf_append_bytes(out, text);
    buf_append_str(out, "\n");
    append_signature_line(out, key, bytes_of(signature, sizeof signature));
    return err_ok();
}

struct err note_sign(struct buf *out, struct bytes text, const struct note_signer *signer)
{
    struct ed25519_key *secret = ed25519_key_new(signer->seed);
    struct err e = note_sign_with(out, text, &signer->key, secret);
    ed25519_key_free(secret);
    return e;
}

/* What a cosigner signs (C2SP tlog-cosignature, "cosignature/v1"). */
static void cosigned_message(struct buf *out, struct bytes text, uint64_t time_s)
{
    buf_printf(out, "cosignature/v1\ntime %llu\n", (unsigned long long)time_s);
    buf_append_bytes(out, text);
}

static struct err verify_cosignature(const struct note_signature *s, const struct note_key *key,
                                     struct bytes text, uint64_t *time_s)
{
    struct reader r = reader_of(bytes_of(s->signature, s->signature_len));
    uint64_t told = read_u64be(&r);
    struct bytes signature = read_bytes(&r, ED25519_SIGNATURE_LEN);
    if (!reader_done(&r))
        return err_set(ERR_UNTRUE, "the cosignature by %s has %zu bytes, not %d", key->name,
                       s->signature_len, COSIGNATURE_LEN);
    if (told == 0 || told > COSIGNATURE_TIME_MAX)
        return err_set(ERR_UNTRUE, "the cosignature by %s states no time", key->name);
    BUF_AUTO message = BUF_INIT;
    cosigned_message(&message, text, told);
    if (is_err(ed25519_verify(key->public_key, signature.data, buf_bytes(&message))))
        return err_set(ERR_UNTRUE, "the cosignature by %s does not verify", key->name);
    *time_s = told;
    return err_ok();
}

struct err note_verify_cosignature(const struct note *note, const struct note_key *key,
                                   uint64_t *time_s)
{
    if (key->type != NOTE_COSIGNATURE)
        return err_set(ERR_USAGE, "the key of %s is not a cosigner's", key->name);
    uint64_t earliest = UINT64_MAX;
    for (size_t i = 0; i < note->n_signatures; i++) {
        if (!is_by(&note->signatures[i], key))
            continue;
        uint64_t told = 0;
        TRY(verify_cosignature(&note->signatures[i], key, note->text, &told));
        earliest = told < earliest ? told : earliest;
    }
    if (earliest == UINT64_MAX)
        return err_set(ERR_NOT_FOUND, "the note is not cosigned by %s (key id %08x)", key->name,
                       (unsigned)key->id);
    *time_s = earliest;
    return err_ok();
}

struct err note_cosign(struct buf *out, struct bytes text, const struct note_signer *signer,
                       uint64_t time_s)
{
    if (signer->key.type != NOTE_COSIGNATURE)
        return err_set(ERR_USAGE, "the key of %s is not a cosigner's", signer->key.name);
    if (time_s == 0 || time_s > COSIGNATURE_TIME_MAX)
        return err_set(ERR_USAGE, "a cosignature needs a time between 1 and 2^63 - 1");
    TRY(check_text(text));
    BUF_AUTO message = BUF_INIT;
    cosigned_message(&message, text, time_s);
    uint8_t signature[ED25519_SIGNATURE_LEN];
    ed25519_sign(signature, signer->seed, buf_bytes(&message));
    BUF_AUTO timed = BUF_INIT;
    buf_append_u64be(&timed, time_s);
    buf_append(&timed, signature, sizeof signature);
    append_signature_line(out, &signer->key, buf_bytes(&timed));
    return err_ok();
}
