/*
 * SHA-256, one-shot and streamed, on OpenSSL (FIPS 180-4). Nothing here can fail: a hash that
 * cannot be computed ends the process.
 */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include "common/buf.h"

enum { SHA256_LEN = 32 };

void sha256(uint8_t out[SHA256_LEN], struct bytes data);
/* SHA-256(a || b || c); NULL-length parts may be empty. */
void sha256_3(uint8_t out[SHA256_LEN], struct bytes a, struct bytes b, struct bytes c);

struct sha256_stream; /* opaque */
struct sha256_stream *sha256_new(void);
void sha256_update(struct sha256_stream *s, struct bytes data);
void sha256_final(struct sha256_stream *s, uint8_t out[SHA256_LEN]); /* once, then free */
void sha256_free(struct sha256_stream *s);

/* `len` bytes from the operating system's generator. */
void random_bytes(void *out, size_t len);

#endif
