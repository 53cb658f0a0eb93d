/* Worlds: keys and certificates, made once a process, and what a world begins with. */
#include "fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static const char origin[] = "example.org/fake-log";

void fake_run(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing)
{
    if (w->hook != NULL)
        w->hook(w, stage, what, thing);
}

void fake_must(struct err e)
{
    if (is_err(e)) {
        fprintf(stderr, "fake host: %s\n", err_message());
        abort();
    }
}

void fake_expect(bool holds)
{
    if (!holds) {
        fprintf(stderr, "fake host: the test itself is wrong\n");
        abort();
    }
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    fake_expect(ext != NULL);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

static X509 *new_certificate(EVP_PKEY *key, const char *name, const char *issuer, long serial)
{
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const uint8_t *)name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(cert), "CN", MBSTRING_ASC,
                               (const uint8_t *)issuer, -1, -1, 0);
    return cert;
}

static void finish_certificate(struct buf *out, X509 *cert, EVP_PKEY *signer)
{
    X509_sign(cert, signer, EVP_sha256());
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    fake_expect(len > 0);
    buf_append(out, der, (size_t)len);
    OPENSSL_free(der);
    X509_free(cert);
}

static void make_root(struct buf *out, EVP_PKEY *key)
{
    X509 *cert = new_certificate(key, "Fake TPM root", "Fake TPM root", 1);
    add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(cert, cert, NID_key_usage, "critical,keyCertSign");
    finish_certificate(out, cert, key);
}

static void make_ek(struct buf *out, EVP_PKEY *ek, EVP_PKEY *root, long serial)
{
    X509 *cert = new_certificate(ek, "Fake TPM", "Fake TPM root", serial);
    add_extension(cert, cert, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(cert, cert, NID_key_usage, "critical,keyAgreement");
    add_extension(cert, cert, NID_ext_key_usage, "2.23.133.8.1");
    finish_certificate(out, cert, root);
}

/* (r, n - s) is as good an ECDSA signature as (r, s). */
static void mirror_signature(ASN1_BIT_STRING *signature)
{
    const uint8_t *at = signature->data;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, signature->length);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BIGNUM *r = BN_dup(ECDSA_SIG_get0_r(sig)), *s = BN_new();
    fake_expect(BN_sub(s, EC_GROUP_get0_order(group), ECDSA_SIG_get0_s(sig)) == 1);
    fake_expect(ECDSA_SIG_set0(sig, r, s) == 1);
    uint8_t *der = NULL;
    int len = i2d_ECDSA_SIG(sig, &der);
    fake_expect(ASN1_STRING_set(signature, der, len) == 1);
    OPENSSL_free(der);
    EC_GROUP_free(group);
    ECDSA_SIG_free(sig);
}

void fake_write_differently(struct buf *certificate)
{
    const uint8_t *at = certificate->data;
    X509 *cert = d2i_X509(NULL, &at, (long)certificate->len);
    const ASN1_BIT_STRING *signature;
    X509_get0_signature(&signature, NULL, cert);
    mirror_signature((ASN1_BIT_STRING *)(uintptr_t)signature);
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    fake_expect(len > 0);
    buf_clear(certificate);
    buf_append(certificate, der, (size_t)len);
    OPENSSL_free(der);
    X509_free(cert);
}

void fake_append_2b(struct buf *out, struct bytes v)
{
    buf_append_u16be(out, (uint16_t)v.len);
    buf_append_bytes(out, v);
}

static void append_coordinate(struct buf *out, EVP_PKEY *key, const char *name)
{
    BIGNUM *n = NULL;
    uint8_t bytes[32];
    fake_expect(EVP_PKEY_get_bn_param(key, name, &n) == 1);
    fake_expect(BN_bn2binpad(n, bytes, sizeof bytes) == 32);
    BN_free(n);
    fake_append_2b(out, bytes_of(bytes, sizeof bytes));
}

/* TPMT_PUBLIC of a restricted P-256 signing key. */
static void make_ak_public(struct buf *out, EVP_PKEY *key)
{
    buf_append_u16be(out, TPM_ALG_ECC_ID);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    buf_append_u32be(out, TPMA_FIXED_TPM | TPMA_FIXED_PARENT | TPMA_SENSITIVE_DATA_ORIGIN | 1 << 6 |
                              TPMA_RESTRICTED | TPMA_SIGN);
    buf_append_u16be(out, 0);
    buf_append_u16be(out, TPM_ALG_NULL_ID);
    buf_append_u16be(out, TPM_ALG_ECDSA_ID);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    buf_append_u16be(out, TPM_ECC_P256);
    buf_append_u16be(out, TPM_ALG_NULL_ID);
    append_coordinate(out, key, OSSL_PKEY_PARAM_EC_PUB_X);
    append_coordinate(out, key, OSSL_PKEY_PARAM_EC_PUB_Y);
}

/* Made once a process: tests build hundreds of worlds. */
static struct {
    EVP_PKEY *root, *ek[FAKE_HOSTS], *ak[FAKE_HOSTS];
    struct buf root_certificate, ek_certificate[FAKE_HOSTS];
} keys;

static void free_keys(void)
{
    EVP_PKEY_free(keys.root);
    buf_cleanup(&keys.root_certificate);
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        EVP_PKEY_free(keys.ek[i]);
        EVP_PKEY_free(keys.ak[i]);
        buf_cleanup(&keys.ek_certificate[i]);
    }
}

static void make_keys(void)
{
    if (keys.root != NULL)
        return;
    keys.root = EVP_EC_gen("P-256");
    make_root(&keys.root_certificate, keys.root);
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        keys.ek[i] = EVP_EC_gen("P-256");
        keys.ak[i] = EVP_EC_gen("P-256");
        make_ek(&keys.ek_certificate[i], keys.ek[i], keys.root, 2 + (long)i);
    }
    atexit(free_keys);
}

static void init_host(struct fake_world *w, struct fake_host *h, unsigned i)
{
    h->ak = keys.ak[i];
    h->ek = keys.ek[i];
    make_ak_public(&h->ak_public, h->ak);
    fake_run(w, FAKE_AK_PUBLIC, FAKE_HOST, &h->ak_public);
    buf_append_bytes(&h->ek_certificate, buf_bytes(&keys.ek_certificate[i]));
    h->ak_name.len = TPM_NAME_SHA256_LEN;
    h->ak_name.bytes[1] = TPM_ALG_SHA256_ID;
    sha256(h->ak_name.bytes + 2, buf_bytes(&h->ak_public));
    h->clock_ms = 100000;
    h->counter = 40;
    h->reset_count = 6;
    h->counter_index = 0x01800b11;
    /* NO_DA, WRITTEN, OWNERREAD, AUTHREAD, OWNERWRITE, type counter */
    h->counter_attributes = 1u << 25 | 1u << 29 | 1u << 17 | 1u << 18 | 1u << 1 | 1u << 4;
    h->safe = 1;
}

void fake_world_init(struct fake_world *w, fake_hook *hook)
{
    make_keys();
    *w = (struct fake_world){.hook = hook,
                             .root = keys.root,
                             .model_id = "fake/model-1b",
                             .kernels = "ref-1 none",
                             .quote_interval_s = 60};
    buf_append_bytes(&w->root_certificate, buf_bytes(&keys.root_certificate));
    uint8_t seed[ED25519_SEED_LEN] = {1};
    fake_must(note_signer_init(&w->log, origin, NOTE_ED25519, seed));
    seed[0] = 2;
    fake_must(note_signer_init(&w->activator, "activator.example", NOTE_ED25519, seed));
    for (unsigned i = 0; i < FAKE_HOSTS; i++)
        init_host(w, &w->hosts[i], i);
}

void fake_world_cleanup(struct fake_world *w)
{
    buf_cleanup(&w->root_certificate);
    for (size_t i = 0; i < w->n_entries; i++)
        buf_cleanup(&w->entries[i]);
    for (size_t i = 0; i < w->n_blobs; i++)
        buf_cleanup(&w->blobs[i]);
    free(w->entries);
    free(w->leaves);
    free(w->blobs);
    free(w->blob_hashes);
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        buf_cleanup(&w->hosts[i].ak_public);
        buf_cleanup(&w->hosts[i].ek_certificate);
        buf_cleanup(&w->hosts[i].event_log);
        buf_cleanup(&w->hosts[i].ak_certificate);
        runtime_log_cleanup(&w->hosts[i].runtime_log);
    }
}
