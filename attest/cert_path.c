#include "attest/cert_path.h"

#include <stdio.h>
#include <string.h>

#include <openssl/objects.h>

#include "attest/ek_cert.h"
#include "attest/ek_subject.h"

void cert_free(X509 **cert)
{
    X509_free(*cert);
}

static void certs_free(STACK_OF(X509) * *certs)
{
    sk_X509_pop_free(*certs, X509_free);
}
#define CERTS_AUTO __attribute__((cleanup(certs_free))) STACK_OF(X509)

/* Exactly one certificate in DER. */
static struct err parse_cert(X509 **out, struct bytes der, const char *what)
{
    if (der.len == 0 || der.len > EK_CERT_MAX)
        return err_set(ERR_MALFORMED, "%s: %zu bytes, not 1 to %d", what, der.len, EK_CERT_MAX);
    const uint8_t *at = der.data;
    X509 *cert = d2i_X509(NULL, &at, (long)der.len);
    if (cert == NULL)
        return err_set(ERR_MALFORMED, "%s: not an X.509 certificate in DER", what);
    if (at != der.data + der.len) {
        X509_free(cert);
        return err_set(ERR_MALFORMED, "%s: %zu bytes follow it", what,
                       (size_t)(der.data + der.len - at));
    }
    *out = cert;
    return err_ok();
}

static struct err parse_chain(STACK_OF(X509) * out, const struct cert_path *p)
{
    for (size_t i = 0; i < p->n_chain; i++) {
        char what[64];
        snprintf(what, sizeof what, "%s, issuer %zu", p->what, i + 1);
        X509 *cert = NULL;
        TRY(parse_cert(&cert, p->chain[i], what));
        if (sk_X509_push(out, cert) == 0) {
            X509_free(cert);
            return err_set(ERR_MEMORY, "out of memory for certificates");
        }
    }
    return err_ok();
}

/* Critical extensions that the path validation has not understood end it there. Dates: no clock. */
static bool configure(X509_STORE_CTX *ctx, X509_STORE *store, STACK_OF(X509) * chain, X509 *leaf)
{
    X509 *root = sk_X509_value(chain, sk_X509_num(chain) - 1);
    if (ctx == NULL || store == NULL || X509_STORE_add_cert(store, root) != 1 ||
        X509_STORE_CTX_init(ctx, store, leaf, chain) != 1)
        return false;
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_depth(param, EK_CHAIN_MAX + 1);
    return X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME) == 1 &&
           X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY) == 1;
}

/* The path that OpenSSL found is leaf, chain[0], ..., root: every given certificate, in this order.
 */
static struct err check_order(X509_STORE_CTX *ctx, STACK_OF(X509) * chain)
{
    STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(ctx);
    bool same = sk_X509_num(path) == sk_X509_num(chain) + 1;
    for (int i = 0; same && i < sk_X509_num(chain); i++)
        same = X509_cmp(sk_X509_value(path, i + 1), sk_X509_value(chain, i)) == 0;
    if (!same)
        return err_set(ERR_UNTRUE,
                       "the chain holds certificates that are not its issuers, or not nearest "
                       "first");
    return err_ok();
}

static struct err check_issuance(X509 *leaf, STACK_OF(X509) * chain)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    struct err e = err_ok();
    if (!configure(ctx, store, chain, leaf))
        e = err_set(ERR_MEMORY, "OpenSSL cannot verify certificates");
    else if (X509_verify_cert(ctx) != 1)
        e = err_set(ERR_UNTRUE, "%s (at depth %d)",
                    X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)),
                    X509_STORE_CTX_get_error_depth(ctx));
    else
        e = check_order(ctx, chain);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return e;
}

static struct err check_signature_hash(X509 *cert, int depth)
{
    int md = NID_undef;
    if (X509_get_signature_info(cert, &md, NULL, NULL, NULL) != 1)
        md = NID_undef;
    if (md == NID_sha256 || md == NID_sha384 || md == NID_sha512)
        return err_ok();
    return err_set(ERR_UNTRUE, "the signature at depth %d uses %s, not SHA-256, SHA-384 or SHA-512",
                   depth, md == NID_undef ? "no known hash" : OBJ_nid2ln(md));
}

/* RSA 2048 to 4096, or one of the NIST curves: P-256, P-384, and P-521 for issuers. */
static bool key_good(EVP_PKEY *key, bool issuer)
{
    char group[32] = "";
    if (key == NULL)
        return false;
    if (EVP_PKEY_is_a(key, "RSA"))
        return EVP_PKEY_get_bits(key) >= 2048 && EVP_PKEY_get_bits(key) <= 4096;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
        return false;
    return strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ||
           (issuer && strcmp(group, "secp521r1") == 0);
}

/* X509_check_ca gives 1 only for basicConstraints CA:TRUE; OpenSSL alone would also take version 1
 * roots and such. The root's signature over itself proves nothing, so its hash does not matter. */
static struct err check_issuers(STACK_OF(X509) * chain)
{
    int n = sk_X509_num(chain);
    for (int i = 0; i < n; i++) {
        X509 *issuer = sk_X509_value(chain, i);
        if (X509_check_ca(issuer) != 1)
            return err_set(ERR_UNTRUE, "the issuer at depth %d is not a CA", i + 1);
        if ((X509_get_key_usage(issuer) & KU_KEY_CERT_SIGN) == 0)
            return err_set(ERR_UNTRUE, "the issuer at depth %d may not sign certificates", i + 1);
        if (!key_good(X509_get0_pubkey(issuer), true))
            return err_set(ERR_UNTRUE,
                           "the issuer's key at depth %d is not RSA 2048 to 4096, P-256, P-384 or "
                           "P-521",
                           i + 1);
        if (i + 1 < n)
            TRY(check_signature_hash(issuer, i + 1));
    }
    return err_ok();
}

bool cert_has_usages(X509 *cert)
{
    return (X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) != 0;
}

bool cert_has_usage(X509 *cert, const char *oid)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    bool found = false;
    for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++) {
        char text[64];
        int len = OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(usages, i), 1);
        found = found || (len > 0 && strcmp(text, oid) == 0);
    }
    EXTENDED_KEY_USAGE_free(usages);
    return found;
}

/* EK Credential Profile 3.2.2 and 3.2.9: a TPM that has no subject is named by a critical
 * subjectAltName, with its manufacturer, model and version. */
static struct err check_names(X509 *leaf)
{
    if (X509_NAME_entry_count(X509_get_subject_name(leaf)) > 0)
        return err_ok();
    int at = X509_get_ext_by_NID(leaf, NID_subject_alt_name, -1);
    if (at < 0 || X509_EXTENSION_get_critical(X509_get_ext(leaf, at)) != 1)
        return err_set(ERR_UNTRUE, "an empty subject and no critical subjectAltName");
    if (!ek_subject_names_tpm(leaf))
        return err_set(ERR_UNTRUE, "the subjectAltName lacks the TPM's manufacturer, model or "
                                   "version (2.23.133.2.1 to 3)");
    return err_ok();
}

static struct err check_leaf(X509 *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf);
    if ((flags & EXFLAG_INVALID) != 0 || X509_get_version(leaf) != X509_VERSION_3)
        return err_set(ERR_UNTRUE, "not version 3, or an extension is invalid");
    /* X509_check_ca would say no to a CA whose key usage lacks keyCertSign. */
    if ((flags & EXFLAG_CA) != 0 || X509_check_ca(leaf) != 0)
        return err_set(ERR_UNTRUE, "it is a CA's");
    if (!key_good(X509_get0_pubkey(leaf), false))
        return err_set(ERR_UNTRUE, "the key is not RSA 2048 to 4096, P-256 or P-384");
    if ((flags & EXFLAG_KUSAGE) == 0)
        return err_set(ERR_UNTRUE, "key usage is not given");
    if ((X509_get_key_usage(leaf) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0)
        return err_set(ERR_UNTRUE, "key usage is a CA's");
    TRY(check_names(leaf));
    return check_signature_hash(leaf, 0);
}

static struct err check(X509 *leaf, STACK_OF(X509) * issuers, const struct cert_path *p)
{
    TRY(check_leaf(leaf));
    TRY(p->check(leaf, p->context));
    TRY(check_issuers(issuers));
    return check_issuance(leaf, issuers);
}

struct err cert_path_verify(X509 **leaf, uint8_t root_sha256[SHA256_LEN], const struct cert_path *p)
{
    CERT_AUTO *cert = NULL;
    CERTS_AUTO *issuers = sk_X509_new_null();
    if (issuers == NULL)
        return err_set(ERR_MEMORY, "out of memory for certificates");
    if (p->n_chain == 0 || p->n_chain > EK_CHAIN_MAX)
        return err_set(ERR_UNTRUE, "%s: a chain of %zu issuers, not 1 to %d", p->what, p->n_chain,
                       EK_CHAIN_MAX);
    TRY(parse_cert(&cert, p->leaf, p->what));
    TRY(parse_chain(issuers, p));
    TRY(err_context(check(cert, issuers, p), "%s", p->what));
    sha256(root_sha256, p->chain[p->n_chain - 1]);
    *leaf = cert;
    cert = NULL;
    return err_ok();
}
