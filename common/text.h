/*
 * Text codings, strict: exactly one text decodes to given bytes. No whitespace, no missing padding,
 * no leading zeros, no upper-case hex. Everything that is signed, hashed or compared goes through
 * these.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include "common/buf.h"

/* Lower-case hex of exactly `len` bytes. ERR_MALFORMED otherwise. */
struct err hex_decode(uint8_t *out, size_t len, struct bytes text) MUST_USE;

/* RFC 4648 section 4 with padding, canonical (unused bits zero), appended to `out`; at most
 * `max` decoded bytes (ERR_LIMIT). ERR_MALFORMED otherwise; `out` is untouched on failure. */
struct err base64_decode(struct buf *out, struct bytes text, size_t max) MUST_USE;

/* As above where the decoded length must be exactly `len`. */
struct err base64_decode_exact(uint8_t *out, size_t len, struct bytes text) MUST_USE;

/* No less than the values in a JSON text: its commas and opening brackets outside of strings. To be
 * bounded before a parser sees foreign bytes: it takes a hundred times what "[[],[]," has. */
size_t json_values_bound(struct bytes json);

/* Decimal, no sign, no leading zero unless "0". ERR_MALFORMED; ERR_LIMIT over `max`. */
struct err decimal_decode(uint64_t *out, struct bytes text, uint64_t max) MUST_USE;

/* Valid UTF-8 (RFC 3629: no surrogates, nothing over U+10FFFF, shortest forms only). */
bool utf8_valid(struct bytes text);

/* A printable copy for messages: control and non-ASCII bytes become '?', at most 80 bytes, then
 * "...". Returns `out`. */
const char *printable(char out[84], struct bytes text);

#endif
