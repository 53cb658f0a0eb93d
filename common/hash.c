#include "common/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <threads.h>

#include <openssl/evp.h>

struct sha256_stream {
    EVP_MD_CTX *ctx;
};

static void must(int one, const char *what)
{
    if (one == 1)
        return;
    fprintf(stderr, "OpenSSL: %s failed\n", what);
    abort();
}

void sha256_3(uint8_t out[SHA256_LEN], struct bytes a, struct bytes b, struct bytes c)
{
    struct sha256_stream *s = sha256_new();
    sha256_update(s, a);
    sha256_update(s, b);
    sha256_update(s, c);
    sha256_final(s, out);
    sha256_free(s);
}

void sha256(uint8_t out[SHA256_LEN], struct bytes data)
{
    sha256_3(out, data, (struct bytes){0}, (struct bytes){0});
}

/* Fetched once: looking the algorithm up costs more than hashing a short entry. */
static EVP_MD *algorithm;

static void fetch_algorithm(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    must(algorithm != NULL, "EVP_MD_fetch");
}

struct sha256_stream *sha256_new(void)
{
    static once_flag once = ONCE_FLAG_INIT;
    call_once(&once, fetch_algorithm);
    struct sha256_stream *s = malloc(sizeof *s);
    must(s != NULL, "malloc");
    s->ctx = EVP_MD_CTX_new();
    must(s->ctx != NULL, "EVP_MD_CTX_new");
    must(EVP_DigestInit_ex(s->ctx, algorithm, NULL), "EVP_DigestInit_ex");
    return s;
}

void sha256_update(struct sha256_stream *s, struct bytes data)
{
    if (data.len > 0)
        must(EVP_DigestUpdate(s->ctx, data.data, data.len), "EVP_DigestUpdate");
}

void sha256_final(struct sha256_stream *s, uint8_t out[SHA256_LEN])
{
    must(EVP_DigestFinal_ex(s->ctx, out, NULL), "EVP_DigestFinal_ex");
}

void sha256_free(struct sha256_stream *s)
{
    if (s == NULL)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

void random_bytes(void *out, size_t len)
{
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n <= 0) {
            perror("getrandom");
            abort();
        }
        p += n;
        len -= (size_t)n;
    }
}
