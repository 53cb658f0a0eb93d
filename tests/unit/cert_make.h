/*
 * For tests: X.509 certificates of any shape, good or flawed.
 */
#ifndef TESTS_CERT_MAKE_H
#define TESTS_CERT_MAKE_H

#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "common/buf.h"

/* What a certificate says; a text that is NULL leaves its extension out. */
struct cert_shape {
    const char *subject, *issuer; /* common names; "" is an empty name */
    EVP_PKEY *key, *signer;
    const char *constraints, *usage, *extended_usage;
    const EVP_MD *md;
    bool unknown_critical; /* carries a critical extension that nobody knows */
    bool ran_out;
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
static inline void add_tpm_names(X509 *cert)
{
    static const char *const oids[] = {"2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"};
    static const char *const values[] = {"id:54455354", "Model\n7", "id:00010002"};
    X509_NAME *names = X509_NAME_new();
    for (size_t i = 0; i < 3; i++) {
        ASN1_OBJECT *oid = OBJ_txt2obj(oids[i], 1);
        X509_NAME_add_entry_by_OBJ(names, oid, MBSTRING_UTF8, (const unsigned char *)values[i], -1,
                                   -1, 0);
        ASN1_OBJECT_free(oid);
    }
    GENERAL_NAME *general = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(general, GEN_DIRNAME, names);
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    sk_GENERAL_NAME_push(all, general);
    X509_add1_ext_i2d(cert, NID_subject_alt_name, all, 1, 0);
    GENERAL_NAMES_free(all);
}

static inline void add_unknown_critical(X509 *cert)
{
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(data, (const unsigned char *)"\x05\x00", 2);
    X509_EXTENSION *ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, data);
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
    X509_gmtime_adj(X509_getm_notBefore(cert), s->ran_out ? -7200 : -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), s->ran_out ? -3600 : 3600);
    set_name(X509_get_subject_name(cert), s->subject);
    set_name(X509_get_issuer_name(cert), s->issuer);
    X509_set_pubkey(cert, s->key);
    add_extension(cert, NID_basic_constraints, s->constraints);
    add_extension(cert, NID_key_usage, s->usage);
    add_extension(cert, NID_ext_key_usage, s->extended_usage);
    if (s->subject[0] == 0)
        add_tpm_names(cert);
    if (s->unknown_critical)
        add_unknown_critical(cert);
    if (X509_sign(cert, s->signer, s->md) <= 0)
        abort();
    uint8_t *bytes = NULL;
    int len = i2d_X509(cert, &bytes);
    buf_append(der, bytes, (size_t)len);
    OPENSSL_free(bytes);
    X509_free(cert);
}

#endif
