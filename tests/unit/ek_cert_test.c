/* EK certificates: a chain to a root that the policy will judge, refused for one flaw at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attest/ek_cert.h"
#include "tests/unit/cert_make.h"
#include "tests/unit/tpm_make.h"

static EVP_PKEY *root_key, *issuer_key, *ek_rsa, *ek_p384, *other_key;

static int make_keys(void **state)
{
    (void)state;
    root_key = EVP_EC_gen("secp384r1");
    issuer_key = EVP_EC_gen("prime256v1");
    ek_rsa = EVP_RSA_gen(2048);
    ek_p384 = EVP_EC_gen("secp384r1");
    other_key = EVP_EC_gen("prime256v1");
    return ek_rsa != NULL ? 0 : -1;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = {root_key, issuer_key, ek_rsa, ek_p384, other_key};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        EVP_PKEY_free(keys[i]);
    return 0;
}

static struct cert_shape root_shape(void)
{
    return (struct cert_shape){
        "root", "root",       root_key, root_key, "critical,CA:TRUE", "critical,keyCertSign",
        NULL,   EVP_sha384(), 0};
}

static struct cert_shape issuer_shape(void)
{
    return (struct cert_shape){"issuer",
                               "root",
                               issuer_key,
                               root_key,
                               "critical,CA:TRUE,pathlen:0",
                               "critical,keyCertSign,cRLSign",
                               NULL,
                               EVP_sha256(),
                               0};
}

static struct cert_shape leaf_shape(void)
{
    return (struct cert_shape){"",
                               "issuer",
                               ek_rsa,
                               issuer_key,
                               "critical,CA:FALSE",
                               "critical,keyEncipherment",
                               "2.23.133.8.1",
                               EVP_sha256(),
                               0};
}

/* Leaf, issuer and root of these shapes. */
static struct err verify(struct ek_cert *ek, uint8_t root_sha256[SHA256_LEN],
                         struct cert_shape leaf, struct cert_shape issuer, struct cert_shape root)
{
    BUF_AUTO leaf_der = BUF_INIT, issuer_der = BUF_INIT, root_der = BUF_INIT;
    make_cert(&leaf_der, &leaf);
    make_cert(&issuer_der, &issuer);
    make_cert(&root_der, &root);
    struct bytes chain[] = {buf_bytes(&issuer_der), buf_bytes(&root_der)};
    return ek_cert_verify(ek, root_sha256, buf_bytes(&leaf_der), chain, 2);
}

static void assert_accepted(struct cert_shape leaf, struct cert_shape issuer,
                            struct cert_shape root)
{
    struct ek_cert ek;
    uint8_t root_sha256[SHA256_LEN];
    if (is_err(verify(&ek, root_sha256, leaf, issuer, root)))
        fail_msg("%s", err_message());
    assert_int_equal(EVP_PKEY_eq(ek.key, leaf.key), 1);
    ek_cert_cleanup(&ek);
}

static void assert_refused(struct cert_shape leaf, struct cert_shape issuer, struct cert_shape root,
                           const char *reason)
{
    struct ek_cert ek;
    uint8_t root_sha256[SHA256_LEN];
    struct err e = verify(&ek, root_sha256, leaf, issuer, root);
    if (e.code != ERR_UNTRUE || strstr(err_message(), reason) == NULL)
        fail_msg("%s, '%s', not for '%s'", err_code_name(e.code), is_err(e) ? err_message() : "",
                 reason);
}

static void accepts_a_chain_and_names_its_root_and_tpm(void **state)
{
    (void)state;
    BUF_AUTO leaf = BUF_INIT, issuer = BUF_INIT, root = BUF_INIT;
    struct cert_shape l = leaf_shape(), i = issuer_shape(), r = root_shape();
    make_cert(&leaf, &l);
    make_cert(&issuer, &i);
    make_cert(&root, &r);
    struct bytes chain[] = {buf_bytes(&issuer), buf_bytes(&root)};
    struct ek_cert ek;
    uint8_t root_sha256[SHA256_LEN], wanted[SHA256_LEN];
    if (is_err(ek_cert_verify(&ek, root_sha256, buf_bytes(&leaf), chain, 2)))
        fail_msg("%s", err_message());
    sha256(wanted, buf_bytes(&root));
    assert_memory_equal(root_sha256, wanted, SHA256_LEN);
    sha256(wanted, buf_bytes(&leaf));
    assert_memory_equal(ek.sha256, wanted, SHA256_LEN);
    assert_string_equal(ek.subject, "id:54455354 Model?7 id:00010002");
    ek_cert_cleanup(&ek);
}

static void accepts_other_good_shapes(void **state)
{
    (void)state;
    struct cert_shape leaf = leaf_shape(), root = root_shape();
    leaf.key = ek_p384;
    leaf.usage = "critical,keyAgreement";
    assert_accepted(leaf, issuer_shape(), root);
    leaf = leaf_shape();
    leaf.extended_usage = NULL;
    leaf.flags = CERT_RAN_OUT;
    root.md = EVP_sha1(); /* what a root signs of itself proves nothing */
    assert_accepted(leaf, issuer_shape(), root);
    leaf.subject = "a TPM";
    leaf.extended_usage = "serverAuth,2.23.133.8.1";
    assert_accepted(leaf, issuer_shape(), root_shape());
}

static void accepts_a_leaf_that_the_root_signed_itself(void **state)
{
    (void)state;
    BUF_AUTO leaf = BUF_INIT, root = BUF_INIT;
    struct cert_shape l = leaf_shape(), r = root_shape();
    l.issuer = "root";
    l.signer = root_key;
    make_cert(&leaf, &l);
    make_cert(&root, &r);
    struct bytes chain[] = {buf_bytes(&root)};
    struct ek_cert ek;
    uint8_t root_sha256[SHA256_LEN];
    assert_false(is_err(ek_cert_verify(&ek, root_sha256, buf_bytes(&leaf), chain, 1)));
    ek_cert_cleanup(&ek);
}

static void refuses_a_leaf_with_one_flaw(void **state)
{
    (void)state;
    struct cert_shape flawed = leaf_shape();
    flawed.signer = other_key;
    assert_refused(flawed, issuer_shape(), root_shape(), "signature failure");
    flawed = leaf_shape();
    flawed.issuer = "somebody";
    assert_refused(flawed, issuer_shape(), root_shape(), "unable to get local issuer");
    flawed = leaf_shape();
    flawed.constraints = "critical,CA:TRUE";
    assert_refused(flawed, issuer_shape(), root_shape(), "it is a CA's");
    flawed = leaf_shape();
    flawed.usage = "critical,digitalSignature";
    assert_refused(flawed, issuer_shape(), root_shape(), "key usage is not keyEncipherment");
    flawed = leaf_shape();
    flawed.usage = NULL;
    assert_refused(flawed, issuer_shape(), root_shape(), "key usage is not given");
    flawed = leaf_shape();
    flawed.usage = "critical,keyEncipherment,keyCertSign";
    assert_refused(flawed, issuer_shape(), root_shape(), "EK certificate");
    flawed = leaf_shape();
    flawed.key = ek_p384;
    assert_refused(flawed, issuer_shape(), root_shape(), "key usage is not keyAgreement");
    flawed = leaf_shape();
    flawed.extended_usage = "serverAuth";
    assert_refused(flawed, issuer_shape(), root_shape(), "2.23.133.8.1");
    flawed = leaf_shape();
    flawed.extended_usage = "2.23.133.8.3"; /* an attestation key's, not an EK's */
    assert_refused(flawed, issuer_shape(), root_shape(), "2.23.133.8.1");
    flawed = leaf_shape();
    flawed.md = EVP_sha1();
    assert_refused(flawed, issuer_shape(), root_shape(), "depth 0 uses sha1");
    flawed = leaf_shape();
    flawed.flags = CERT_UNKNOWN_CRITICAL;
    assert_refused(flawed, issuer_shape(), root_shape(), "unhandled critical extension");
    flawed = leaf_shape();
    flawed.flags = CERT_NO_NAMES;
    assert_refused(flawed, issuer_shape(), root_shape(), "no critical subjectAltName");
    flawed.flags = CERT_NAMES_NOT_CRITICAL;
    assert_refused(flawed, issuer_shape(), root_shape(), "no critical subjectAltName");
    flawed.flags = CERT_NO_VERSION;
    assert_refused(flawed, issuer_shape(), root_shape(), "manufacturer, model or version");
    EVP_PKEY *small = EVP_RSA_gen(1024);
    flawed = leaf_shape();
    flawed.key = small;
    assert_refused(flawed, issuer_shape(), root_shape(), "not RSA 2048");
    EVP_PKEY_free(small);
}

static void refuses_an_issuer_or_root_with_one_flaw(void **state)
{
    (void)state;
    struct cert_shape flawed = issuer_shape();
    flawed.constraints = "critical,CA:FALSE";
    assert_refused(leaf_shape(), flawed, root_shape(), "depth 1 is not a CA");
    flawed = issuer_shape();
    flawed.constraints = NULL;
    assert_refused(leaf_shape(), flawed, root_shape(), "depth 1 is not a CA");
    flawed = issuer_shape();
    flawed.usage = "critical,digitalSignature";
    assert_refused(leaf_shape(), flawed, root_shape(), "depth 1");
    flawed = issuer_shape();
    flawed.md = EVP_sha1();
    assert_refused(leaf_shape(), flawed, root_shape(), "depth 1 uses sha1");
    flawed = issuer_shape();
    flawed.signer = other_key;
    assert_refused(leaf_shape(), flawed, root_shape(), "signature failure");
    flawed = issuer_shape();
    flawed.flags = CERT_UNKNOWN_CRITICAL;
    assert_refused(leaf_shape(), flawed, root_shape(), "unhandled critical extension");
    flawed = root_shape();
    flawed.constraints = NULL;
    assert_refused(leaf_shape(), issuer_shape(), flawed, "depth 2 is not a CA");
    flawed = root_shape();
    flawed.constraints = "critical,CA:TRUE,pathlen:0"; /* but there is an issuer between */
    assert_refused(leaf_shape(), issuer_shape(), flawed, "path length");
    /* The same name, another key: the genuine issuer's certificate does not lead there. */
    flawed = root_shape();
    flawed.key = other_key;
    flawed.signer = other_key;
    assert_refused(leaf_shape(), issuer_shape(), flawed, "EK certificate");
    /* A chain that ends below its root proves nothing. */
    flawed = issuer_shape();
    flawed.subject = "below";
    flawed.key = root_key;
    struct cert_shape issuer = issuer_shape();
    issuer.issuer = "below";
    assert_refused(leaf_shape(), issuer, flawed, "EK certificate");
}

static void the_chain_is_exact_and_whole_der(void **state)
{
    (void)state;
    BUF_AUTO leaf = BUF_INIT, issuer = BUF_INIT, root = BUF_INIT, more = BUF_INIT;
    struct cert_shape l = leaf_shape(), i = issuer_shape(), r = root_shape();
    make_cert(&leaf, &l);
    make_cert(&issuer, &i);
    make_cert(&root, &r);
    struct bytes a = buf_bytes(&leaf), b = buf_bytes(&issuer), c = buf_bytes(&root);
    struct ek_cert ek;
    uint8_t hash[SHA256_LEN];
    struct bytes swapped[] = {c, b}, doubled[] = {b, b, c}, good[] = {b, c};
    assert_int_equal(ek_cert_verify(&ek, hash, a, swapped, 2).code, ERR_UNTRUE);
    assert_int_equal(ek_cert_verify(&ek, hash, a, doubled, 3).code, ERR_UNTRUE);
    assert_int_equal(ek_cert_verify(&ek, hash, a, good, 1).code, ERR_UNTRUE);
    assert_int_equal(ek_cert_verify(&ek, hash, a, good, 0).code, ERR_UNTRUE);
    struct bytes many[EK_CHAIN_MAX + 1];
    for (size_t k = 0; k <= EK_CHAIN_MAX; k++)
        many[k] = b;
    assert_int_equal(ek_cert_verify(&ek, hash, a, many, EK_CHAIN_MAX + 1).code, ERR_UNTRUE);
    buf_append_bytes(&more, a);
    buf_append_u8(&more, 0xff); /* the padding of an NV index */
    assert_int_equal(ek_cert_verify(&ek, hash, buf_bytes(&more), good, 2).code, ERR_MALFORMED);
    for (size_t len = 0; len < a.len; len += 7)
        assert_int_equal(ek_cert_verify(&ek, hash, bytes_of(a.data, len), good, 2).code,
                         ERR_MALFORMED);
    static const uint8_t large[EK_CERT_MAX + 1];
    struct bytes too_large = bytes_of(large, sizeof large);
    assert_int_equal(ek_cert_verify(&ek, hash, too_large, good, 2).code, ERR_MALFORMED);
}

/* Google's virtual TPMs, whose issuers are not here: the encryption keys' certificates pass as
 * leaves and fail for want of their issuer; the signing keys' are no endorsement keys'. */
static void judges_certificates_of_a_cloud_as_leaves(void **state)
{
    (void)state;
    static const struct {
        const char *path, *reason;
    } cases[] = {
        {"tpmdata/ekcerts/gce/uca_tpm_rsa_enc_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/uca_tpm_ecc_enc_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/pca_tpm_rsa_enc_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/pca_tpm_ecc_enc_cert.pem", "unable to get local issuer"},
        {"tpmdata/ekcerts/gce/uca_tpm_rsa_sign_cert.pem", "key usage is not keyEncipherment"},
        {"tpmdata/ekcerts/gce/uca_tpm_ecc_sign_cert.pem", "key usage is not keyAgreement"},
        {"tpmdata/ekcerts/gce/pca_tpm_rsa_sign_cert.pem", "key usage is not keyEncipherment"},
        {"tpmdata/ekcerts/gce/pca_tpm_ecc_sign_cert.pem", "key usage is not keyAgreement"},
    };
    if (access(BL_SHARED_DIR "/tpmdata/ekcerts/gce", R_OK) != 0)
        skip(); /* before anything is owned: it leaves without running cleanups */
    BUF_AUTO root = BUF_INIT;
    struct cert_shape r = root_shape();
    make_cert(&root, &r);
    struct bytes chain[] = {buf_bytes(&root)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BUF_AUTO leaf = BUF_INIT;
        assert_true(shared_certificate(&leaf, cases[i].path));
        struct ek_cert ek;
        uint8_t hash[SHA256_LEN];
        struct err e = ek_cert_verify(&ek, hash, buf_bytes(&leaf), chain, 1);
        if (e.code != ERR_UNTRUE || strstr(err_message(), cases[i].reason) == NULL)
            fail_msg("%s: %s", cases[i].path, is_err(e) ? err_message() : "accepted");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_a_chain_and_names_its_root_and_tpm),
        cmocka_unit_test(accepts_other_good_shapes),
        cmocka_unit_test(accepts_a_leaf_that_the_root_signed_itself),
        cmocka_unit_test(refuses_a_leaf_with_one_flaw),
        cmocka_unit_test(refuses_an_issuer_or_root_with_one_flaw),
        cmocka_unit_test(the_chain_is_exact_and_whole_der),
        cmocka_unit_test(judges_certificates_of_a_cloud_as_leaves),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
