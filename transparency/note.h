/*
 * Signed notes (C2SP signed-note v1.0.0) with Ed25519 keys, and verifier keys ("vkeys").
 *
 *     <text, ends in newline> newline "— " <name> " " base64(key id || signature) newline ...
 *
 * Unknown signature lines are skipped, of whatever type; a line by a known key that does not verify
 * makes the whole note untrue.
 */
#ifndef TRANSPARENCY_NOTE_H
#define TRANSPARENCY_NOTE_H

#include "common/buf.h"
#include "common/sign.h"

enum {
    NOTE_NAME_MAX = 255,       /* bytes */
    NOTE_MAX = 1024 * 1024,    /* bytes of a whole note */
    NOTE_SIGNATURES_MAX = 100, /* lines, as Go */
};
enum note_key_type {
    NOTE_ED25519 = 0x01,
    NOTE_COSIGNATURE = 0x04, /* timestamped Ed25519, cosignature/v1 */
};

struct note_key {
    char name[NOTE_NAME_MAX + 1];
    uint8_t type; /* enum note_key_type */
    uint32_t id;  /* SHA-256(name || 0x0a || type || public)[:4], big-endian */
    uint8_t public_key[ED25519_PUBLIC_LEN];
};

struct note_signer {
    struct note_key key;
    uint8_t seed[ED25519_SEED_LEN];
};

/* A name that a signature line may bear: UTF-8, not empty, no Unicode space, no control character
 * below 0x20, no '+'. */
bool note_name_valid(struct bytes name);
/* Keys' names moreover hold at most NOTE_NAME_MAX bytes and no DEL or C1 control. ERR_USAGE. */
struct err note_key_init(struct note_key *out, const char *name, uint8_t type,
                         const uint8_t public_key[ED25519_PUBLIC_LEN]) MUST_USE;
struct err note_signer_init(struct note_signer *out, const char *name, uint8_t type,
                            const uint8_t seed[ED25519_SEED_LEN]) MUST_USE;
void note_signer_cleanup(struct note_signer *signer); /* wipes it */

/* "<name>+<8 hex>+<base64(type || public)>". Parsing checks the id. ERR_MALFORMED,
 * ERR_UNSUPPORTED for other key types. */
struct err note_vkey_parse(struct note_key *out, struct bytes text) MUST_USE;
void note_vkey_format(struct buf *out, const struct note_key *key);
/* Go's private form "PRIVATE+KEY+<name>+<hex id>+<base64(0x01 || seed)>". */
struct err note_skey_parse(struct note_signer *out, struct bytes text) MUST_USE;
void note_skey_format(struct buf *out, const struct note_signer *signer);

/* Loads "PRIVATE+KEY+..." from a file; with `create`, a missing file is made (mode 0600, durable,
 * never replacing one) with a fresh NOTE_ED25519 key of that name. ERR_USAGE when the file's key
 * has another name, or when the file's mode lets group or others at it; ERR_NOT_FOUND;
 * ERR_MALFORMED. */
struct err note_signer_load(struct note_signer *out, const char *path, const char *name,
                            bool create) MUST_USE;

/* The same for a witness's key, of type NOTE_COSIGNATURE. */
struct err note_cosigner_load(struct note_signer *out, const char *path, const char *name,
                              bool create) MUST_USE;

struct note_signature {
    struct bytes name; /* borrowed from the note */
    uint32_t id;
    uint8_t
        signature[512];   /* what follows the id, cut at 512 bytes; longer ones are skipped types */
    size_t signature_len; /* of `signature`, so at most 512 */
};

struct note {
    struct bytes text; /* with its final newline; borrowed */
    struct note_signature signatures[NOTE_SIGNATURES_MAX];
    size_t n_signatures;
};

/* The line by `key` with its newline, if there is one: of several the first. */
bool note_signature_line(struct buf *out, const struct note *note, const struct note_key *key);

/* Parses the form only: valid UTF-8, no control character but newline, 1 to NOTE_SIGNATURES_MAX
 * signature lines after the last empty line. ERR_MALFORMED; ERR_LIMIT over NOTE_MAX. `out` borrows
 * from `data`. (struct note is large: allocate it, not on small stacks.) */
struct err note_parse(struct note *out, struct bytes data) MUST_USE;

/* ERR_UNTRUE if no line is by `key` (type NOTE_ED25519), or one that is does not verify. */
struct err note_verify(const struct note *note, const struct note_key *key) MUST_USE;

/* Appends text, blank line and one signature line. ERR_USAGE if the text cannot be a note's. */
struct err note_sign(struct buf *out, struct bytes text, const struct note_signer *signer) MUST_USE;
/* The same for who signs often; `secret` is that of `key`. */
struct err note_sign_with(struct buf *out, struct bytes text, const struct note_key *key,
                          struct ed25519_key *secret) MUST_USE;

/* The time of the valid cosignature (type 0x04, cosignature/v1) of `key` over the note; of several,
 * the earliest. ERR_NOT_FOUND if there is none, ERR_UNTRUE if one does not verify or states no time
 * (0, or beyond 2^63 - 1). */
struct err note_verify_cosignature(const struct note *note, const struct note_key *key,
                                   uint64_t *time_s) MUST_USE;
/* One cosignature line over the text, for witnesses and tests. */
struct err note_cosign(struct buf *out, struct bytes text, const struct note_signer *signer,
                       uint64_t time_s) MUST_USE;

#endif
