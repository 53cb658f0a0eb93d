#include "attest/ek_cert.h"

#include <string.h>

#include "attest/cert_path.h"
#include "attest/ek_subject.h"

static const char ek_usage_oid[] = "2.23.133.8.1"; /* tcg-kp-EKCertificate */

/* EK Credential Profile 3.2: an end-entity certificate for a key that decrypts or agrees. */
static struct err check_leaf(X509 *leaf, const void *context)
{
    (void)context;
    bool rsa = EVP_PKEY_is_a(X509_get0_pubkey(leaf), "RSA");
    if ((X509_get_key_usage(leaf) & (rsa ? KU_KEY_ENCIPHERMENT : KU_KEY_AGREEMENT)) == 0)
        return err_set(ERR_UNTRUE, "key usage is not %s", rsa ? "keyEncipherment" : "keyAgreement");
    if (cert_has_usages(leaf) && !cert_has_usage(leaf, ek_usage_oid))
        return err_set(ERR_UNTRUE, "extended key usage without %s", ek_usage_oid);
    return err_ok();
}

static struct err fill(struct ek_cert *out, X509 *leaf, struct bytes der)
{
    struct ek_cert ek = {0};
    sha256(ek.sha256, der);
    ek_subject(ek.subject, sizeof ek.subject, leaf);
    ek.key = X509_get_pubkey(leaf);
    if (ek.key == NULL)
        return err_set(ERR_UNTRUE, "EK certificate: the key cannot be read");
    *out = ek;
    return err_ok();
}

struct err ek_cert_verify(struct ek_cert *out, uint8_t root_sha256[SHA256_LEN], struct bytes leaf,
                          const struct bytes *chain, size_t n_chain)
{
    CERT_AUTO *cert = NULL;
    uint8_t root[SHA256_LEN];
    const struct cert_path path = {.what = "EK certificate",
                                   .leaf = leaf,
                                   .chain = chain,
                                   .n_chain = n_chain,
                                   .check = check_leaf};
    TRY(cert_path_verify(&cert, root, &path));
    TRY(fill(out, cert, leaf));
    memcpy(root_sha256, root, SHA256_LEN);
    return err_ok();
}

void ek_cert_cleanup(struct ek_cert *c)
{
    EVP_PKEY_free(c->key);
    *c = (struct ek_cert){0};
}
