/* For tests: the bytes of a quote_input, of quotes by software keys of each kind, and ways to
 * change them. */
#ifndef TESTS_QUOTE_MATERIAL_H
#define TESTS_QUOTE_MATERIAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "attest/ak_file.h"
#include "attest/quote_check.h"
#include "common/text.h"
#include "tests/unit/tpm_make.h"

enum { N_KEYS = 4 };

static EVP_PKEY *rsa, *p256, *p384;

/* The bytes of a quote_input. */
struct material {
    struct buf ak, attest, signature, pcrs, nonce;
    struct quote_input in;
};

static inline void material_cleanup(struct material *m)
{
    buf_cleanup(&m->ak);
    buf_cleanup(&m->attest);
    buf_cleanup(&m->signature);
    buf_cleanup(&m->pcrs);
    buf_cleanup(&m->nonce);
}
#define MATERIAL_AUTO __attribute__((cleanup(material_cleanup))) struct material

static inline struct err judge(struct quote_facts *facts, struct material *m)
{
    m->in.ak = buf_bytes(&m->ak);
    m->in.attest = buf_bytes(&m->attest);
    m->in.signature = buf_bytes(&m->signature);
    m->in.pcrs = buf_bytes(&m->pcrs);
    m->in.nonce = buf_bytes(&m->nonce);
    return quote_check(facts, &m->in);
}

static inline void accepts(struct material *m)
{
    struct quote_facts facts;
    if (is_err(judge(&facts, m)))
        fail_msg("%s", err_message());
}

static inline void refuses(struct material *m, enum err_code code, const char *reason)
{
    struct quote_facts facts;
    struct err e = judge(&facts, m);
    if (strstr(err_message(), reason) == NULL)
        fail_msg("'%s' does not say '%s'", err_message(), reason);
    assert_int_equal(e.code, code);
}

/* TPMS_ATTEST of a quote, as a TPM lays it out. */
static inline void make_attest(struct buf *out, uint16_t bank, const uint8_t select[3],
                               const EVP_MD *md, struct bytes values, struct bytes nonce)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    assert_int_equal(EVP_Digest(values.data, values.len, digest, &len, md, NULL), 1);
    buf_append_u32be(out, 0xff544347);
    buf_append_u16be(out, ATTESTED_QUOTE);
    buf_append_u16be(out, 0);
    buf_append_u16be(out, (uint16_t)nonce.len);
    buf_append_bytes(out, nonce);
    buf_append(out, "\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\1\0\0\0\0\0\0\0\4", 25);
    buf_append_u32be(out, 1);
    buf_append_u16be(out, bank);
    buf_append_u8(out, 3);
    buf_append(out, select, 3);
    buf_append_u16be(out, (uint16_t)len);
    buf_append(out, digest, len);
}

/* A quote over PCRs 0, 1 and 23 by `key`, which is a public area of that shape. */
static inline void make(struct material *m, EVP_PKEY *key, const struct public_shape *shape)
{
    *m = (struct material){
        .in = {.bank = pcr_bank_of(TPM_ALG_SHA256_ID), .select = {0x03, 0x00, 0x80}}};
    for (uint8_t i = 0; i < 96; i++)
        buf_append_u8(&m->pcrs, i);
    buf_append_str(&m->nonce, "a nonce");
    make_public(&m->ak, key, shape);
    make_attest(&m->attest, TPM_ALG_SHA256_ID, m->in.select, tpm_hash(shape->scheme_hash),
                buf_bytes(&m->pcrs), buf_bytes(&m->nonce));
    make_signature(&m->signature, key, shape->scheme, shape->scheme_hash, buf_bytes(&m->attest));
}

static const struct public_shape pss_ak = {TPM_ALG_SHA256_ID, TPM_ALG_RSAPSS_ID, TPM_ALG_SHA256_ID,
                                           AK_ATTRIBUTES};
static const struct public_shape p384_ak = {TPM_ALG_SHA384_ID, TPM_ALG_ECDSA_ID, TPM_ALG_SHA384_ID,
                                            AK_ATTRIBUTES};

static inline void make_nth(struct material *m, size_t i)
{
    EVP_PKEY *keys[N_KEYS] = {rsa, rsa, p256, p384};
    const struct public_shape *shapes[N_KEYS] = {&rsassa_ak, &pss_ak, &ecdsa_ak, &p384_ak};
    make(m, keys[i], shapes[i]);
}

static inline void replace(struct buf *b, struct bytes with)
{
    struct buf copy = BUF_INIT;
    buf_append_bytes(&copy, with);
    buf_cleanup(b);
    *b = copy;
}

static inline void to_tpm2b(struct buf *ak)
{
    BUF_AUTO both = BUF_INIT;
    buf_append_u16be(&both, (uint16_t)ak->len);
    buf_append_bytes(&both, buf_bytes(ak));
    replace(ak, buf_bytes(&both));
}

static inline void to_pem(struct buf *ak, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    long len = BIO_get_mem_data(bio, &text);
    replace(ak, bytes_of(text, (size_t)len));
    BIO_free(bio);
}

static inline bool make_keys(void)
{
    rsa = EVP_RSA_gen(2048);
    p256 = EVP_EC_gen("prime256v1");
    p384 = EVP_EC_gen("secp384r1");
    return rsa != NULL && p256 != NULL && p384 != NULL;
}

static inline void free_keys(void)
{
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
}

#endif
