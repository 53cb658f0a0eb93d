#include "attest/ek_subject.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "common/text.h"

static const char *const tcg_oids[] = {
    "2.23.133.2.1", /* tcg-at-tpmManufacturer, "id:" and four bytes of ASCII in hex */
    "2.23.133.2.2", /* tcg-at-tpmModel */
    "2.23.133.2.3", /* tcg-at-tpmVersion */
};

static void append_text(struct buf *out, const ASN1_STRING *value)
{
    uint8_t *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, value);
    if (len <= 0)
        return;
    char shown[84];
    buf_printf(out, "%s%s", out->len > 0 ? " " : "", printable(shown, bytes_of(text, (size_t)len)));
    OPENSSL_free(text);
}

/* The values of the TCG's attributes in one directory name. */
static void append_attributes(struct buf *out, const X509_NAME *name)
{
    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        char oid[64];
        if (OBJ_obj2txt(oid, sizeof oid, X509_NAME_ENTRY_get_object(entry), 1) <= 0)
            continue;
        for (size_t k = 0; k < sizeof tcg_oids / sizeof *tcg_oids; k++)
            if (strcmp(oid, tcg_oids[k]) == 0)
                append_text(out, X509_NAME_ENTRY_get_data(entry));
    }
}

static void append_alt_name(struct buf *out, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DIRNAME)
            append_attributes(out, name->d.directoryName);
    }
    GENERAL_NAMES_free(names);
}

/* Which of the TCG's attributes the name has, a bit each. */
static unsigned find_attributes(const X509_NAME *name)
{
    unsigned found = 0;
    for (size_t k = 0; k < sizeof tcg_oids / sizeof *tcg_oids; k++) {
        ASN1_OBJECT *oid = OBJ_txt2obj(tcg_oids[k], 1);
        if (oid != NULL && X509_NAME_get_index_by_OBJ(name, oid, -1) >= 0)
            found |= 1u << k;
        ASN1_OBJECT_free(oid);
    }
    return found;
}

bool ek_subject_names_tpm(X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    unsigned found = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DIRNAME)
            found |= find_attributes(name->d.directoryName);
    }
    GENERAL_NAMES_free(names);
    return found == 7;
}

void ek_subject(char *out, size_t size, X509 *cert)
{
    BUF_AUTO text = BUF_INIT;
    append_alt_name(&text, cert);
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (text.len == 0 && at >= 0)
        append_text(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    snprintf(out, size, "%s", buf_str(&text));
}
