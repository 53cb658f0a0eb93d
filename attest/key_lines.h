/*
 * Key lines: the `key value` texts of docs/FORMATS.md, read strictly in a stated order. Every error
 * names the line. A text has one form: nothing is trimmed, skipped or left over.
 */
#ifndef ATTEST_KEY_LINES_H
#define ATTEST_KEY_LINES_H

#include "attest/tpm_public.h"

struct key_lines {
    struct reader r;
    size_t line; /* number of the line read last, from 1 */
};

struct key_lines key_lines_of(struct bytes text);

/* The next line is exactly `literal`. ERR_MALFORMED, ERR_UNSUPPORTED as `code` says. */
struct err line_literal(struct key_lines *l, const char *literal, enum err_code code) MUST_USE;
/* The next line is `key`, a space and a value, which may be empty. */
struct err line_value(struct key_lines *l, struct bytes *value, const char *key) MUST_USE;
/* Whether the next line begins with `key` and a space. */
bool line_is_next(const struct key_lines *l, const char *key);
/* Whether the whole text was read. */
bool lines_at_end(const struct key_lines *l);
/* ERR_MALFORMED unless the whole text was read. */
struct err lines_done(const struct key_lines *l) MUST_USE;

/* line_value, then the value in its coding. */
struct err line_hex(struct key_lines *l, uint8_t *out, size_t len, const char *key) MUST_USE;
struct err line_decimal(struct key_lines *l, uint64_t *out, uint64_t max, const char *key) MUST_USE;
/* 1 to `max` bytes into `out`. */
struct err line_base64(struct key_lines *l, uint8_t *out, size_t *len, size_t max,
                       const char *key) MUST_USE;
/* A TPM name: SHA-256, SHA-384 or SHA-512 and a digest of that length, in hex. */
struct err line_tpm_name(struct key_lines *l, struct tpm_name *out, const char *key) MUST_USE;
/* A name that a signed note may bear, at most NOTE_NAME_MAX bytes: `out` holds one more. */
struct err line_note_name(struct key_lines *l, char *out, const char *key) MUST_USE;
/* A value of two words: `first` up to the first space, `rest` behind it. */
struct err line_pair(struct key_lines *l, struct bytes *first, struct bytes *rest,
                     const char *key) MUST_USE;

/* Puts "line <n>: " before the message. The code becomes ERR_MALFORMED where it was ERR_LIMIT. */
struct err line_context(const struct key_lines *l, struct err e) MUST_USE;

/* 1 to 255 bytes of UTF-8 without control characters (C0, DEL, C1): file names, model ids. */
bool plain_name_valid(struct bytes name);

#endif
