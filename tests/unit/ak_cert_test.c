/* AK certificates: each vendor's shape leads its own key to a root, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attest/ak_cert.h"
#include "tests/unit/cert_make.h"
#include "tests/unit/tpm_make.h"

static EVP_PKEY *root_key, *ak_rsa, *ak_p256, *other_key;

static int make_keys(void **state)
{
    (void)state;
    root_key = EVP_EC_gen("secp384r1");
    ak_rsa = EVP_RSA_gen(2048);
    ak_p256 = EVP_EC_gen("prime256v1");
    other_key = EVP_EC_gen("prime256v1");
    return ak_rsa != NULL ? 0 : -1;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {root_key, ak_rsa, ak_p256, other_key};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        EVP_PKEY_free(keys[i]);
    return 0;
}

/* Each profile's certificate as its vendor makes it. */
static struct cert_shape leaf_shape(enum ak_profile profile)
{
    struct cert_shape s = {.subject = "",
                           .issuer = "root",
                           .key = ak_rsa,
                           .signer = root_key,
                           .constraints = "critical,CA:FALSE",
                           .usage = "critical,digitalSignature",
                           .extended_usage = "2.23.133.8.3",
                           .md = EVP_sha256()};
    if (profile == AK_PROFILE_AZURE) {
        s.subject = "f859864a6a31.TrustedVM.Azure.windows.net";
        s.constraints = NULL;
        s.extended_usage = "1.3.6.1.4.1.311.10.3.12,2.23.133.8.3";
    } else if (profile == AK_PROFILE_GCP) {
        s.subject = "218557372616137117";
        s.extended_usage = NULL;
        s.flags = CERT_GCE_INSTANCE;
    }
    return s;
}

static struct err verify(struct ak_cert *out, struct cert_shape leaf, EVP_PKEY *ak,
                         enum ak_profile profile)
{
    BUF_AUTO leaf_der = BUF_INIT, root_der = BUF_INIT;
    const struct cert_shape root = {
        "root", "root",       root_key, root_key, "critical,CA:TRUE", "critical,keyCertSign",
        NULL,   EVP_sha256(), 0};
    make_cert(&leaf_der, &leaf);
    make_cert(&root_der, &root);
    struct bytes chain[] = {buf_bytes(&root_der)};
    struct tpm_public key = parse_public(ak, EVP_PKEY_is_a(ak, "RSA") ? &rsassa_ak : &ecdsa_ak);
    struct err e = ak_cert_verify(out, &key, profile, buf_bytes(&leaf_der), chain, 1);
    tpm_public_cleanup(&key);
    return e;
}

static void assert_refused(struct cert_shape leaf, enum ak_profile profile, const char *reason)
{
    struct ak_cert cert;
    struct err e = verify(&cert, leaf, ak_rsa, profile);
    if (e.code != ERR_UNTRUE || strstr(err_message(), reason) == NULL)
        fail_msg("%s: %s, '%s', not for '%s'", ak_profile_name(profile), err_code_name(e.code),
                 is_err(e) ? err_message() : "", reason);
}

static void accepts_each_profiles_shape_for_rsa_and_p256(void **state)
{
    (void)state;
    for (int i = 0; i < N_AK_PROFILES; i++) {
        struct cert_shape leaf = leaf_shape((enum ak_profile)i);
        struct ak_cert cert;
        if (is_err(verify(&cert, leaf, ak_rsa, (enum ak_profile)i)))
            fail_msg("%s", err_message());
        leaf.key = ak_p256;
        leaf.flags |= CERT_RAN_OUT; /* no clock */
        if (is_err(verify(&cert, leaf, ak_p256, (enum ak_profile)i)))
            fail_msg("%s", err_message());
        assert_true(cert.subject[0] != '\0');
    }
}

static void accepts_the_older_shape_of_a_cloud(void **state)
{
    (void)state;
    struct cert_shape leaf = leaf_shape(AK_PROFILE_GCP);
    struct ak_cert cert;
    leaf.subject = "";
    leaf.extended_usage = "2.23.133.8.1";
    if (is_err(verify(&cert, leaf, ak_rsa, AK_PROFILE_GCP)))
        fail_msg("%s", err_message());
    assert_string_equal(cert.subject, "id:54455354 Model?7 id:00010002");
}

/* Each vendor's shape under each other's profile. */
static void a_profile_takes_no_other_vendors_shape(void **state)
{
    (void)state;
    assert_refused(leaf_shape(AK_PROFILE_GCP), AK_PROFILE_TCG, "2.23.133.8.3");
    assert_refused(leaf_shape(AK_PROFILE_GCP), AK_PROFILE_AZURE, "2.23.133.8.3");
    assert_refused(leaf_shape(AK_PROFILE_AZURE), AK_PROFILE_GCP, "2.23.133.8.1");
    assert_refused(leaf_shape(AK_PROFILE_AZURE), AK_PROFILE_TCG, "manufacturer");
    assert_refused(leaf_shape(AK_PROFILE_TCG), AK_PROFILE_GCP, "2.23.133.8.1");
}

static void refuses_a_leaf_with_one_flaw(void **state)
{
    (void)state;
    for (int i = 0; i < N_AK_PROFILES; i++) {
        enum ak_profile profile = (enum ak_profile)i;
        struct cert_shape flawed = leaf_shape(profile);
        flawed.key = ak_p256;
        assert_refused(flawed, profile, "another key than ak-public");
        flawed = leaf_shape(profile);
        flawed.signer = other_key;
        assert_refused(flawed, profile, "signature failure");
        flawed = leaf_shape(profile);
        flawed.constraints = "critical,CA:TRUE";
        assert_refused(flawed, profile, "it is a CA's");
        flawed = leaf_shape(profile);
        flawed.usage = NULL;
        assert_refused(flawed, profile, "key usage is not given");
        flawed.usage = "critical,keyEncipherment";
        assert_refused(flawed, profile, "not digitalSignature alone");
        flawed.usage = "critical,digitalSignature,keyEncipherment";
        assert_refused(flawed, profile, "not digitalSignature alone");
        flawed.usage = "critical,digitalSignature,keyCertSign";
        assert_refused(flawed, profile, "AK certificate");
        flawed = leaf_shape(profile);
        flawed.extended_usage = "serverAuth";
        assert_refused(flawed, profile, "extended key usage without");
        flawed = leaf_shape(profile);
        flawed.md = EVP_sha1();
        assert_refused(flawed, profile, "depth 0 uses sha1");
        flawed = leaf_shape(profile);
        flawed.flags |= CERT_UNKNOWN_CRITICAL;
        assert_refused(flawed, profile, "unhandled critical extension");
    }
    struct cert_shape flawed = leaf_shape(AK_PROFILE_TCG);
    flawed.flags = CERT_NAMES_NOT_CRITICAL;
    assert_refused(flawed, AK_PROFILE_TCG, "no critical subjectAltName");
    flawed = leaf_shape(AK_PROFILE_GCP);
    flawed.flags = 0;
    assert_refused(flawed, AK_PROFILE_GCP, "names the instance");
}

static EVP_PKEY *certified_key(struct bytes der)
{
    const uint8_t *at = der.data;
    X509 *cert = d2i_X509(NULL, &at, (long)der.len);
    EVP_PKEY *key = X509_get_pubkey(cert);
    X509_free(cert);
    return key;
}

/* Certificates that clouds made. Their issuers are not here, so a good leaf fails for want of one,
 * and for nothing before that. */
static void judge_leaf(struct bytes leaf, EVP_PKEY *ak, enum ak_profile profile, const char *reason)
{
    BUF_AUTO root_der = BUF_INIT;
    const struct cert_shape root = {
        "root", "root",       root_key, root_key, "critical,CA:TRUE", "critical,keyCertSign",
        NULL,   EVP_sha256(), 0};
    make_cert(&root_der, &root);
    struct bytes chain[] = {buf_bytes(&root_der)};
    struct tpm_public key = parse_public(ak, EVP_PKEY_is_a(ak, "RSA") ? &rsassa_ak : &ecdsa_ak);
    struct ak_cert cert;
    struct err e = ak_cert_verify(&cert, &key, profile, leaf, chain, 1);
    tpm_public_cleanup(&key);
    if (e.code != ERR_UNTRUE || strstr(err_message(), reason) == NULL)
        fail_msg("%s, not '%s'", is_err(e) ? err_message() : "accepted", reason);
}

static void judges_the_certificates_of_google_as_leaves(void **state)
{
    (void)state;
    static const struct {
        const char *path, *reason;
    } cases[] = {
        {"tpmdata/ekcerts/gce/uca_tpm_rsa_sign_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/uca_tpm_ecc_sign_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/pca_tpm_rsa_sign_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/pca_tpm_ecc_sign_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/uca_tpm_rsa_enc_cert.pem", "not digitalSignature alone"},
        {"tpmdata/ekcerts/gce/pca_tpm_ecc_enc_cert.pem", "not digitalSignature alone"},
    };
    if (access(BL_SHARED_DIR "/tpmdata/ekcerts/gce", R_OK) != 0)
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BUF_AUTO leaf = BUF_INIT;
        assert_true(shared_certificate(&leaf, cases[i].path));
        EVP_PKEY *key = certified_key(buf_bytes(&leaf));
        judge_leaf(buf_bytes(&leaf), key, AK_PROFILE_GCP, cases[i].reason);
        judge_leaf(buf_bytes(&leaf), other_key, AK_PROFILE_GCP, i < 4 ? "another key" : "alone");
        EVP_PKEY_free(key);
    }
}

/* Pitfall 5: Azure certifies the key that it made itself, not the one that this host quoted with.
 */
static void azures_certificate_is_for_another_key_than_the_quotes(void **state)
{
    (void)state;
    if (access(BL_SHARED_DIR "/tpmdata/quotes/azure-trusted-launch-2026", R_OK) != 0)
        skip();
    BUF_AUTO leaf = BUF_INIT;
    assert_false(is_err(
        shared_file(&leaf, "tpmdata/quotes/azure-trusted-launch-2026/akcert_0x01C101D0.der")));
    EVP_PKEY *quoted = shared_key("tpmdata/quotes/azure-trusted-launch-2026/ak.pub");
    EVP_PKEY *certified = certified_key(buf_bytes(&leaf));
    judge_leaf(buf_bytes(&leaf), quoted, AK_PROFILE_AZURE, "another key than ak-public");
    judge_leaf(buf_bytes(&leaf), certified, AK_PROFILE_AZURE, "unable to get local issuer");
    judge_leaf(buf_bytes(&leaf), certified, AK_PROFILE_GCP, "2.23.133.8.1");
    EVP_PKEY_free(quoted);
    EVP_PKEY_free(certified);
}

static void profiles_have_these_names(void **state)
{
    (void)state;
    enum ak_profile p;
    for (int i = 0; i < N_AK_PROFILES; i++) {
        const char *name = ak_profile_name((enum ak_profile)i);
        assert_false(is_err(ak_profile_parse(&p, bytes_of_str(name))));
        assert_int_equal(p, i);
    }
    assert_int_equal(ak_profile_parse(&p, bytes_of_str("aws")).code, ERR_UNSUPPORTED);
    assert_int_equal(ak_profile_parse(&p, bytes_of_str("")).code, ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_each_profiles_shape_for_rsa_and_p256),
        cmocka_unit_test(accepts_the_older_shape_of_a_cloud),
        cmocka_unit_test(a_profile_takes_no_other_vendors_shape),
        cmocka_unit_test(refuses_a_leaf_with_one_flaw),
        cmocka_unit_test(judges_the_certificates_of_google_as_leaves),
        cmocka_unit_test(azures_certificate_is_for_another_key_than_the_quotes),
        cmocka_unit_test(profiles_have_these_names),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
