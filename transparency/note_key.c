/*
 * Names and keys of signed notes: what a name may hold, key ids, and the text forms of keys.
 * Private bytes are wiped from every copy made here.
 */
#include "transparency/note.h"

#include <string.h>

#include <openssl/crypto.h>

#include "common/hash.h"
#include "common/text.h"

enum { KEY_FILE_MAX = 1024 };
static const char skey_prefix[] = "PRIVATE+KEY+";

/* One code point of valid UTF-8; moves `at` behind it. */
static uint32_t next_code_point(const uint8_t **at)
{
    const uint8_t *p = *at;
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    static const uint8_t first_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = p[0] & first_mask[len];
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3f);
    *at = p + len;
    return c;
}

/* The code points with Unicode's property White_Space: a closed list, stable since Unicode 6.3. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool note_name_valid(struct bytes name)
{
    if (name.len == 0 || !utf8_valid(name))
        return false;
    for (const uint8_t *at = name.data; at < name.data + name.len;) {
        uint32_t c = next_code_point(&at);
        if (c < 0x20 || c == '+' || is_space(c))
            return false;
    }
    return true;
}

/* For keys of our own: also no DEL and no C1 control, which terminals act on. */
static bool key_name_valid(struct bytes name)
{
    if (name.len > NOTE_NAME_MAX || !note_name_valid(name))
        return false;
    for (const uint8_t *at = name.data; at < name.data + name.len;) {
        uint32_t c = next_code_point(&at);
        if (c >= 0x7f && c <= 0x9f)
            return false;
    }
    return true;
}

static bool type_known(uint8_t type)
{
    return type == NOTE_ED25519 || type == NOTE_COSIGNATURE;
}

/* SHA-256(name || 0x0a || type || public key), its first four bytes. */
static uint32_t key_id(struct bytes name, uint8_t type,
                       const uint8_t public_key[ED25519_PUBLIC_LEN])
{
    uint8_t between[2] = {'\n', type};
    uint8_t digest[SHA256_LEN];
    sha256_3(digest, name, bytes_of(between, 2), bytes_of(public_key, ED25519_PUBLIC_LEN));
    struct reader r = reader_of(bytes_of(digest, 4));
    return read_u32be(&r);
}

/* `name` and `type` are checked. */
static struct note_key make_key(struct bytes name, uint8_t type,
                                const uint8_t public_key[ED25519_PUBLIC_LEN])
{
    struct note_key key = {.type = type, .id = key_id(name, type, public_key)};
    memcpy(key.name, name.data, name.len);
    memcpy(key.public_key, public_key, ED25519_PUBLIC_LEN);
    return key;
}

struct err note_key_init(struct note_key *out, const char *name, uint8_t type,
                         const uint8_t public_key[ED25519_PUBLIC_LEN])
{
    char shown[84];
    struct bytes n = bytes_of_str(name);
    if (!key_name_valid(n))
        return err_set(
            ERR_USAGE,
            "'%s' cannot be a key's name: 1 to %d bytes of UTF-8 without spaces, control "
            "characters and '+'",
            printable(shown, n), NOTE_NAME_MAX);
    if (!type_known(type))
        return err_set(ERR_USAGE, "keys of type 0x%02x are not known here", type);
    *out = make_key(n, type, public_key);
    return err_ok();
}

struct err note_signer_init(struct note_signer *out, const char *name, uint8_t type,
                            const uint8_t seed[ED25519_SEED_LEN])
{
    uint8_t public_key[ED25519_PUBLIC_LEN];
    ed25519_public(public_key, seed);
    struct note_key key;
    TRY(note_key_init(&key, name, type, public_key));
    out->key = key;
    memcpy(out->seed, seed, ED25519_SEED_LEN);
    return err_ok();
}

void note_signer_cleanup(struct note_signer *signer)
{
    OPENSSL_cleanse(signer, sizeof *signer);
}

/* "<name>+<8 hex>+<base64(type || 32 bytes)>", the form that both kinds of key share. */
struct key_text {
    struct bytes name;
    uint32_t id;
    uint8_t type;
    uint8_t bytes[32];
};

/* Base64 may hold '+', so only the first two count. */
static struct err key_text_split(struct bytes *name, struct bytes *id, struct bytes *coded,
                                 struct bytes text)
{
    if (text.len == 0)
        return err_set(ERR_MALFORMED, "not a key: it is empty");
    const uint8_t *end = text.data + text.len;
    const uint8_t *plus = memchr(text.data, '+', text.len);
    const uint8_t *second = plus != NULL ? memchr(plus + 1, '+', (size_t)(end - plus - 1)) : NULL;
    if (second == NULL)
        return err_set(ERR_MALFORMED, "not a key: it must be <name>+<id>+<base64>");
    *name = bytes_of(text.data, (size_t)(plus - text.data));
    *id = bytes_of(plus + 1, (size_t)(second - plus - 1));
    *coded = bytes_of(second + 1, (size_t)(end - second - 1));
    return err_ok();
}

static struct err key_text_parse(struct key_text *out, struct bytes text)
{
    struct bytes id, coded;
    TRY(key_text_split(&out->name, &id, &coded, text));
    if (!key_name_valid(out->name))
        return err_set(ERR_MALFORMED,
                       "the key's name is empty, too long or holds spaces or controls");
    uint8_t id_bytes[4];
    if (is_err(hex_decode(id_bytes, 4, id)))
        return err_set(ERR_MALFORMED, "the key's id is not eight digits of lower-case hex");
    struct reader r = reader_of(bytes_of(id_bytes, 4));
    out->id = read_u32be(&r);
    __attribute__((cleanup(buf_cleanup_secret))) struct buf raw = BUF_INIT;
    TRY(err_context(base64_decode(&raw, coded, KEY_FILE_MAX * 4), "the key's base64"));
    if (raw.len == 0)
        return err_set(ERR_MALFORMED, "the key has no type");
    out->type = raw.data[0];
    if (!type_known(out->type))
        return err_set(ERR_UNSUPPORTED,
                       "keys of type 0x%02x are not supported, only Ed25519 (0x01, 0x04)",
                       out->type);
    if (raw.len != 1 + sizeof out->bytes)
        return err_set(ERR_MALFORMED, "an Ed25519 key of %zu bytes, not 32", raw.len - 1);
    memcpy(out->bytes, raw.data + 1, sizeof out->bytes);
    return err_ok();
}

static struct err check_id(const struct note_key *key, uint32_t told)
{
    if (key->id != told)
        return err_set(ERR_MALFORMED, "the key's id is %08x, but its name and bytes give %08x",
                       (unsigned)told, (unsigned)key->id);
    return err_ok();
}

struct err note_vkey_parse(struct note_key *out, struct bytes text)
{
    struct key_text t;
    TRY(key_text_parse(&t, text));
    struct note_key key = make_key(t.name, t.type, t.bytes);
    TRY(check_id(&key, t.id));
    *out = key;
    return err_ok();
}

static void format_key(struct buf *out, const struct note_key *key, const uint8_t bytes[32])
{
    uint8_t raw[33] = {key->type};
    memcpy(raw + 1, bytes, 32);
    buf_printf(out, "%s+%08x+", key->name, (unsigned)key->id);
    buf_append_base64(out, bytes_of(raw, sizeof raw));
    OPENSSL_cleanse(raw, sizeof raw);
}

void note_vkey_format(struct buf *out, const struct note_key *key)
{
    format_key(out, key, key->public_key);
}

static struct err skey_parse(struct note_signer *out, struct key_text *t, struct bytes text)
{
    struct reader r = reader_of(text);
    if (!read_literal(&r, skey_prefix))
        return err_set(ERR_MALFORMED, "not a private key: it must begin with %s", skey_prefix);
    TRY(key_text_parse(t, read_bytes(&r, reader_left(&r))));
    uint8_t public_key[ED25519_PUBLIC_LEN];
    ed25519_public(public_key, t->bytes);
    struct note_key key = make_key(t->name, t->type, public_key);
    TRY(check_id(&key, t->id));
    out->key = key;
    memcpy(out->seed, t->bytes, ED25519_SEED_LEN);
    return err_ok();
}

struct err note_skey_parse(struct note_signer *out, struct bytes text)
{
    struct key_text t;
    struct err e = skey_parse(out, &t, text);
    OPENSSL_cleanse(&t, sizeof t);
    return e;
}

void note_skey_format(struct buf *out, const struct note_signer *signer)
{
    buf_append_str(out, skey_prefix);
    format_key(out, &signer->key, signer->seed);
}
