/*
 * For tests: the software TPM of `host` (a struct host that the test has) gets an attestation key
 * that a cloud made and certified, laid out as Google and Azure do.
 */
#ifndef TESTS_UNIT_CLOUD_TPM_H
#define TESTS_UNIT_CLOUD_TPM_H

#include "tests/unit/attester_fixture.h"
#include "tests/unit/cert_make.h"
#include "tests/unit/tpm_make.h"

static EVP_PKEY *root_key;
static char root_path[160];

static inline int in_tpm_dir(const char *command)
{
    return shell("cd %s && export TPM2TOOLS_TCTI=%s TSS2_LOG=all+none && %s", host.tpm.dir,
                 host.tpm.tcti, command);
}

static inline void write_file(const char *name, struct bytes data)
{
    BUF_AUTO path = BUF_INIT;
    FILE *f = fopen(path_join(&path, host.tpm.dir, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data.data, 1, data.len, f), data.len);
    assert_int_equal(fclose(f), 0);
}

static inline void make_root(void)
{
    BUF_AUTO der = BUF_INIT;
    const struct cert_shape shape = {.subject = "cloud root",
                                     .issuer = "cloud root",
                                     .key = root_key,
                                     .signer = root_key,
                                     .constraints = "critical,CA:TRUE",
                                     .usage = "critical,keyCertSign",
                                     .md = EVP_sha256()};
    make_cert(&der, &shape);
    write_file("cloud-root.der", buf_bytes(&der));
    snprintf(root_path, sizeof root_path, "%s/cloud-root.der", host.tpm.dir);
}

/* ak.pem, which tpm2-tools wrote, becomes ak.der. */
static inline void certify(enum ak_profile profile)
{
    BUF_AUTO der = BUF_INIT, path = BUF_INIT;
    FILE *f = fopen(path_join(&path, host.tpm.dir, "ak.pem"), "r");
    assert_non_null(f);
    EVP_PKEY *ak = PEM_read_PUBKEY(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(ak);
    struct cert_shape shape = {.subject = "instance",
                               .issuer = "cloud root",
                               .key = ak,
                               .signer = root_key,
                               .usage = "critical,digitalSignature",
                               .md = EVP_sha256()};
    if (profile == AK_PROFILE_GCP)
        shape.flags = CERT_GCE_INSTANCE;
    else
        shape.extended_usage = "1.3.6.1.4.1.311.10.3.12,2.23.133.8.3";
    make_cert(&der, &shape);
    write_file("ak.der", buf_bytes(&der));
    EVP_PKEY_free(ak);
}

/* The RSA key of Google's kind: its template is kept, and gives the key in the endorsement
 * hierarchy. */
static inline void lay_out_google(void)
{
    BUF_AUTO template = BUF_INIT;
    make_head(&template, TPM_ALG_RSA_ID, &rsassa_ak);
    buf_append_u16be(&template, 2048);
    buf_append_u32be(&template, 0);
    buf_append_u16be(&template, 0);
    write_file("template", buf_bytes(&template));
    assert_int_equal(
        in_tpm_dir("tpm2_createprimary -Q -C e -G rsa2048:rsassa-sha256:null -g sha256 -a "
                   "'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign' "
                   "-c ak.ctx && tpm2_readpublic -Q -c ak.ctx -f pem -o ak.pem && "
                   "tpm2_flushcontext -t"),
        0);
    certify(AK_PROFILE_GCP);
    assert_int_equal(in_tpm_dir("tpm2_nvdefine -Q -C o -s $(stat -c %s template) "
                                "-a 'ownerread|ownerwrite|authread|no_da' 0x01c10001 && "
                                "tpm2_nvwrite -C o -i template 0x01c10001 && "
                                "tpm2_nvdefine -Q -C o -s $(stat -c %s ak.der) "
                                "-a 'ownerread|ownerwrite|authread|no_da' 0x01c10000 && "
                                "tpm2_nvwrite -C o -i ak.der 0x01c10000"),
                     0);
}

/* Azure's: persistent, here in the owner hierarchy, where attested counts are no true ones; the
 * certificate's index is the owner's alone and larger than it. */
static inline void lay_out_azure(void)
{
    assert_int_equal(
        in_tpm_dir("tpm2_createprimary -Q -C o -G rsa2048:rsassa-sha256:null -g sha256 -a "
                   "'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign' "
                   "-c ak.ctx && tpm2_evictcontrol -Q -C o -c ak.ctx 0x81000003 && "
                   "tpm2_flushcontext -t && "
                   "tpm2_readpublic -Q -c 0x81000003 -f pem -o ak.pem"),
        0);
    certify(AK_PROFILE_AZURE);
    assert_int_equal(in_tpm_dir("tpm2_nvdefine -Q -C o -s 2000 -a 'ownerread|ownerwrite|no_da' "
                                "0x01c101d0 && tpm2_nvwrite -C o -i ak.der 0x01c101d0"),
                     0);
}

#endif
