#include "attest/ak_cert.h"

#include <string.h>

#include "attest/cert_path.h"
#include "attest/ek_subject.h"

static const char ek_usage_oid[] = "2.23.133.8.1";                 /* tcg-kp-EKCertificate */
static const char ak_usage_oid[] = "2.23.133.8.3";                 /* tcg-kp-AIKCertificate */
static const char gcp_instance_oid[] = "1.3.6.1.4.1.11129.2.1.21"; /* Google: the instance */

static const char *const names[N_AK_PROFILES] = {"tcg", "azure", "gcp"};

const char *ak_profile_name(enum ak_profile profile)
{
    return (size_t)profile < N_AK_PROFILES ? names[profile] : "unknown";
}

struct err ak_profile_parse(enum ak_profile *out, struct bytes name)
{
    for (size_t i = 0; i < N_AK_PROFILES; i++)
        if (bytes_equal(name, bytes_of_str(names[i]))) {
            *out = (enum ak_profile)i;
            return err_ok();
        }
    return err_set(ERR_UNSUPPORTED, "a profile other than tcg, azure and gcp");
}

static bool has_extension(X509 *cert, const char *oid)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    bool has = object != NULL && X509_get_ext_by_OBJ(cert, object, -1) >= 0;
    ASN1_OBJECT_free(object);
    return has;
}

/* Google's first authority gives attestation keys the usage of endorsement keys, its second none:
 * that it signs, and does not decrypt, is said by the key usage alone. */
static struct err check_gcp(X509 *leaf)
{
    if (cert_has_usages(leaf) && !cert_has_usage(leaf, ek_usage_oid))
        return err_set(ERR_UNTRUE, "extended key usage without %s (profile gcp)", ek_usage_oid);
    if (!has_extension(leaf, gcp_instance_oid))
        return err_set(ERR_UNTRUE, "no extension %s that names the instance (profile gcp)",
                       gcp_instance_oid);
    return err_ok();
}

static struct err check_profile(X509 *leaf, enum ak_profile profile)
{
    if (profile == AK_PROFILE_GCP)
        return check_gcp(leaf);
    if (!cert_has_usage(leaf, ak_usage_oid))
        return err_set(ERR_UNTRUE, "extended key usage without %s (profile %s)", ak_usage_oid,
                       ak_profile_name(profile));
    if (profile == AK_PROFILE_TCG && !ek_subject_names_tpm(leaf))
        return err_set(ERR_UNTRUE, "the subjectAltName lacks the TPM's manufacturer, model or "
                                   "version (profile tcg)");
    return err_ok();
}

/* What the leaf is compared with. */
struct wanted {
    const struct tpm_public *ak;
    enum ak_profile profile;
};

/* One authority may certify both kinds of key: an endorsement key's certificate has no say here. */
static struct err check_leaf(X509 *leaf, const void *context)
{
    const struct wanted *wanted = context;
    uint32_t usage = X509_get_key_usage(leaf);
    if ((usage & KU_DIGITAL_SIGNATURE) == 0 ||
        (usage & (KU_KEY_ENCIPHERMENT | KU_DATA_ENCIPHERMENT | KU_KEY_AGREEMENT)) != 0)
        return err_set(ERR_UNTRUE, "key usage is not digitalSignature alone");
    if (EVP_PKEY_eq(X509_get0_pubkey(leaf), wanted->ak->key) != 1)
        return err_set(ERR_UNTRUE, "it is for another key than ak-public");
    return check_profile(leaf, wanted->profile);
}

struct err ak_cert_root(uint8_t root_sha256[SHA256_LEN], const struct bytes *chain, size_t n_chain)
{
    if (n_chain == 0)
        return err_set(ERR_UNTRUE, "AK certificate: a chain of 0 issuers, not 1 to %d",
                       EK_CHAIN_MAX);
    sha256(root_sha256, chain[n_chain - 1]);
    return err_ok();
}

struct err ak_cert_verify(struct ak_cert *out, const struct tpm_public *ak, enum ak_profile profile,
                          struct bytes leaf, const struct bytes *chain, size_t n_chain)
{
    CERT_AUTO *cert = NULL;
    uint8_t root[SHA256_LEN];
    const struct wanted wanted = {ak, profile};
    const struct cert_path path = {.what = "AK certificate",
                                   .leaf = leaf,
                                   .chain = chain,
                                   .n_chain = n_chain,
                                   .check = check_leaf,
                                   .context = &wanted};
    TRY(cert_path_verify(&cert, root, &path));
    sha256(out->sha256, leaf);
    ek_subject(out->subject, sizeof out->subject, cert);
    return err_ok();
}
