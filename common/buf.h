/*
 * Bytes: a borrowed view (`struct bytes`), a growing buffer (`struct buf`) and a bounded reader
 * (`struct reader`) through which every foreign byte is read.
 *
 * A reader never runs past its end: a read that does not fit fails the reader for good, and later
 * reads fail too, so a parser may read a whole structure and ask once. A buffer is grown with
 * calloc-like safety; bytes of secrets are wiped with buf_cleanup_secret.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Borrowed: valid as long as what it points into. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

struct bytes bytes_of(const void *data, size_t len);
struct bytes bytes_of_str(const char *text); /* without the NUL */
bool bytes_equal(struct bytes a, struct bytes b);
/* Constant time in the contents (not in the lengths). */
bool bytes_equal_secret(struct bytes a, struct bytes b);

struct buf {
    uint8_t *data; /* NULL while empty; never NUL-terminated unless buf_str was called */
    size_t len;
    size_t capacity;
};

#define BUF_INIT ((struct buf){0})

void buf_cleanup(struct buf *b);
void buf_cleanup_secret(struct buf *b); /* zeroes first */
#define BUF_AUTO __attribute__((cleanup(buf_cleanup))) struct buf

/* Appending ends the process on out of memory (a few KiB that cannot be had: nothing is sane). */
void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_bytes(struct buf *b, struct bytes v);
void buf_append_str(struct buf *b, const char *text);
void buf_append_u8(struct buf *b, uint8_t v);
void buf_append_u16be(struct buf *b, uint16_t v);
void buf_append_u32be(struct buf *b, uint32_t v);
void buf_append_u64be(struct buf *b, uint64_t v);
void buf_append_hex(struct buf *b, struct bytes v);    /* lower case */
void buf_append_base64(struct buf *b, struct bytes v); /* RFC 4648 section 4, padded */
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *b); /* len = 0, memory kept */

struct bytes buf_bytes(const struct buf *b);
/* The contents as a C string: a NUL is kept behind the last byte (not counted in len). */
const char *buf_str(struct buf *b);

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed; /* a read did not fit; stays true */
};

struct reader reader_of(struct bytes v);
size_t reader_left(const struct reader *r);
/* All of the input was read and nothing failed. */
bool reader_done(const struct reader *r);

/* Each returns 0 (or an empty view, or false) once the reader has failed. */
uint8_t read_u8(struct reader *r);
uint16_t read_u16be(struct reader *r);
uint32_t read_u32be(struct reader *r);
uint64_t read_u64be(struct reader *r);
uint16_t read_u16le(struct reader *r);
uint32_t read_u32le(struct reader *r);
uint64_t read_u64le(struct reader *r);
struct bytes read_bytes(struct reader *r, size_t len);
/* u16 big-endian length, then that many bytes (TPM2B). */
struct bytes read_prefixed_u16be(struct reader *r);
/* Up to and without the next '\n', which must be there and is consumed; may be empty. */
struct bytes read_line(struct reader *r);
/* Consumes `prefix` if it is next, else fails the reader. */
bool read_literal(struct reader *r, const char *prefix);

#endif
