/*
 * For tests: X.509 certificates of any shape, good or flawed.
 */
#ifndef TESTS_CERT_MAKE_H
#define TESTS_CERT_MAKE_H

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/file.h"

/* What a certificate says; a text that is NULL leaves its extension out. */
struct cert_shape {
    const char *subject, *issuer; /* common names; "" is an empty name */
    EVP_PKEY *key, *signer;
    const char *constraints, *usage, *extended_usage;
    const EVP_MD *md;
    unsigned flags; /* of enum cert_flag */
};
enum cert_flag {
    CERT_UNKNOWN_CRITICAL = 1, /* carries a critical extension that nobody knows */
    CERT_RAN_OUT = 2,
    CERT_NAMES = 4, /* the TPM's names in the subjectAltName; always with an empty subject, but: */
    CERT_NO_NAMES = 8,
    CERT_NAMES_NOT_CRITICAL = 16,
    CERT_NO_VERSION = 32,   /* the names lack the TPM's version */
    CERT_GCE_INSTANCE = 64, /* carries Google's extension that names an instance */
};

static inline void set_name(X509_NAME *name, const char *text)
{
    if (text[0] != 0)
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)text, -1, -1,
                                   0);
}

static inline void add_extension(X509 *cert, int nid, const char *value)
{
    if (value == NULL)
        return;
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    if (ext == NULL)
        abort();
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* The TPM's names in a critical subjectAltName, as the profile wants it with an empty subject. */
static inline void add_tpm_names(X509 *cert, unsigned flags)
{
    static const char *const oids[] = {"2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"};
    static const char *const values[] = {"id:54455354", "Model\n7", "id:00010002"};
    X509_NAME *names = X509_NAME_new();
    for (size_t i = 0; i < ((flags & CERT_NO_VERSION) != 0 ? 2 : 3); i++) {
        ASN1_OBJECT *oid = OBJ_txt2obj(oids[i], 1);
        X509_NAME_add_entry_by_OBJ(names, oid, MBSTRING_UTF8, (const unsigned char *)values[i], -1,
                                   -1, 0);
        ASN1_OBJECT_free(oid);
    }
    GENERAL_NAME *general = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(general, GEN_DIRNAME, names);
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    sk_GENERAL_NAME_push(all, general);
    X509_add1_ext_i2d(cert, NID_subject_alt_name, all, (flags & CERT_NAMES_NOT_CRITICAL) == 0, 0);
    GENERAL_NAMES_free(all);
}

static inline void add_null(X509 *cert, const char *text, bool critical)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(text, 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(data, (const unsigned char *)"\x05\x00", 2);
    X509_EXTENSION *ext = X509_EXTENSION_create_by_OBJ(NULL, oid, critical, data);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(oid);
}

static inline void make_cert(struct buf *der, const struct cert_shape *s)
{
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), (s->flags & CERT_RAN_OUT) != 0 ? -7200 : -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), (s->flags & CERT_RAN_OUT) != 0 ? -3600 : 3600);
    set_name(X509_get_subject_name(cert), s->subject);
    set_name(X509_get_issuer_name(cert), s->issuer);
    X509_set_pubkey(cert, s->key);
    add_extension(cert, NID_basic_constraints, s->constraints);
    add_extension(cert, NID_key_usage, s->usage);
    add_extension(cert, NID_ext_key_usage, s->extended_usage);
    bool names = s->subject[0] == 0 || (s->flags & CERT_NAMES) != 0;
    if (names && (s->flags & CERT_NO_NAMES) == 0)
        add_tpm_names(cert, s->flags);
    if ((s->flags & CERT_UNKNOWN_CRITICAL) != 0)
        add_null(cert, "1.3.6.1.4.1.99999.1", true);
    if ((s->flags & CERT_GCE_INSTANCE) != 0)
        add_null(cert, "1.3.6.1.4.1.11129.2.1.21", false);
    if (X509_sign(cert, s->signer, s->md) <= 0)
        abort();
    uint8_t *bytes = NULL;
    int len = i2d_X509(cert, &bytes);
    buf_append(der, bytes, (size_t)len);
    OPENSSL_free(bytes);
    X509_free(cert);
}

/* A certificate from PEM, as DER; from BL_SHARED_DIR. */
static inline bool shared_certificate(struct buf *der, const char *path)
{
    BUF_AUTO full = BUF_INIT;
    FILE *f = fopen(path_join(&full, BL_SHARED_DIR, path), "r");
    X509 *cert = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    uint8_t *bytes = NULL;
    int len = cert != NULL ? i2d_X509(cert, &bytes) : 0;
    if (f != NULL)
        fclose(f);
    if (len > 0)
        buf_append(der, bytes, (size_t)len);
    OPENSSL_free(bytes);
    X509_free(cert);
    return len > 0;
}

#endif
