#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){data, len};
}

struct bytes bytes_of_str(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_equal_secret(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

void buf_cleanup(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT;
}

void buf_cleanup_secret(struct buf *b)
{
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->capacity);
    buf_cleanup(b);
}

static void grow(struct buf *b, size_t more)
{
    /* One spare byte, so that buf_str always has room for its NUL. */
    if (more >= SIZE_MAX / 2 - b->len)
        abort();
    size_t need = b->len + more + 1;
    if (need <= b->capacity)
        return;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity * 2;
    if (capacity < need)
        capacity = need;
    uint8_t *data = malloc(capacity);
    if (data == NULL) {
        fprintf(stderr, "out of memory: %zu bytes for a buffer\n", capacity);
        abort();
    }
    if (b->len > 0)
        memcpy(data, b->data, b->len);
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->len); /* a grown buffer leaves no copy of a prompt behind */
    free(b->data);
    b->data = data;
    b->capacity = capacity;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    grow(b, len);
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}

void buf_append_bytes(struct buf *b, struct bytes v)
{
    buf_append(b, v.data, v.len);
}

void buf_append_str(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_append_u8(struct buf *b, uint8_t v)
{
    buf_append(b, &v, 1);
}

void buf_append_u16be(struct buf *b, uint16_t v)
{
    uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, bytes, sizeof bytes);
}

void buf_append_u32be(struct buf *b, uint32_t v)
{
    uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, bytes, sizeof bytes);
}

void buf_append_u64be(struct buf *b, uint64_t v)
{
    buf_append_u32be(b, (uint32_t)(v >> 32));
    buf_append_u32be(b, (uint32_t)v);
}

void buf_append_hex(struct buf *b, struct bytes v)
{
    static const char digits[] = "0123456789abcdef";
    grow(b, v.len * 2);
    for (size_t i = 0; i < v.len; i++) {
        buf_append_u8(b, (uint8_t)digits[v.data[i] >> 4]);
        buf_append_u8(b, (uint8_t)digits[v.data[i] & 15]);
    }
}

void buf_append_base64(struct buf *b, struct bytes v)
{
    if (v.len == 0)
        return;
    if (v.len > INT32_MAX / 2)
        abort();
    size_t coded = (v.len + 2) / 3 * 4;
    grow(b, coded + 1); /* EVP_EncodeBlock writes a NUL too */
    int n = EVP_EncodeBlock(b->data + b->len, v.data, (int)v.len);
    b->len += (size_t)n;
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        abort();
    grow(b, (size_t)n);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data, b->len};
}

const char *buf_str(struct buf *b)
{
    grow(b, 0);
    b->data[b->len] = 0;
    return (const char *)b->data;
}

struct reader reader_of(struct bytes v)
{
    static const uint8_t nothing[1];
    const uint8_t *start = v.data != NULL ? v.data : nothing;
    return (struct reader){start, start + (v.data != NULL ? v.len : 0), false};
}

size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

bool reader_done(const struct reader *r)
{
    return !r->failed && r->at == r->end;
}

/* The next `len` bytes, or NULL with the reader failed. */
static const uint8_t *take(struct reader *r, size_t len)
{
    if (r->failed || (size_t)(r->end - r->at) < len) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += len;
    return p;
}

static uint64_t take_be(struct reader *r, size_t len)
{
    const uint8_t *p = take(r, len);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < len; i++)
        v = v << 8 | p[i];
    return v;
}

static uint64_t take_le(struct reader *r, size_t len)
{
    const uint8_t *p = take(r, len);
    uint64_t v = 0;
    for (size_t i = len; p != NULL && i > 0; i--)
        v = v << 8 | p[i - 1];
    return v;
}

uint8_t read_u8(struct reader *r)
{
    return (uint8_t)take_be(r, 1);
}

uint16_t read_u16be(struct reader *r)
{
    return (uint16_t)take_be(r, 2);
}

uint32_t read_u32be(struct reader *r)
{
    return (uint32_t)take_be(r, 4);
}

uint64_t read_u64be(struct reader *r)
{
    return take_be(r, 8);
}

uint16_t read_u16le(struct reader *r)
{
    return (uint16_t)take_le(r, 2);
}

uint32_t read_u32le(struct reader *r)
{
    return (uint32_t)take_le(r, 4);
}

uint64_t read_u64le(struct reader *r)
{
    return take_le(r, 8);
}

struct bytes read_bytes(struct reader *r, size_t len)
{
    const uint8_t *p = take(r, len);
    return (struct bytes){p, p != NULL ? len : 0};
}

struct bytes read_prefixed_u16be(struct reader *r)
{
    size_t len = read_u16be(r);
    return read_bytes(r, len);
}

struct bytes read_line(struct reader *r)
{
    const uint8_t *newline = NULL;
    if (!r->failed && r->at < r->end)
        newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
    if (newline == NULL) {
        r->failed = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes line = {r->at, (size_t)(newline - r->at)};
    r->at = newline + 1;
    return line;
}

bool read_literal(struct reader *r, const char *prefix)
{
    size_t len = strlen(prefix);
    if (reader_left(r) < len || memcmp(r->at, prefix, len) != 0) {
        r->failed = true;
        return false;
    }
    r->at += len;
    return true;
}
