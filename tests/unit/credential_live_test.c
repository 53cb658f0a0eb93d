/*
 * A credential made in software is opened by a TPM: swtpm with the certificates of its local CA,
 * driven by tpm2-tools. Skipped where these programs are not installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "attest/credential.h"
#include "attest/ek_cert.h"
#include "common/file.h"

static char dir[] = "/tmp/credential-live-XXXXXX";
static bool available;

/* Runs shell text in the test's folder; its output goes to a file there. */
static int shell(const char *text)
{
    BUF_AUTO command = BUF_INIT;
    buf_printf(&command,
               "cd %s && export TPM2TOOLS_TCTI=swtpm:path=%s/tpm.sock && { %s ; } >>out 2>&1", dir,
               dir, text);
    int status = system(buf_str(&command));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void must(const char *text)
{
    if (shell(text) == 0)
        return;
    BUF_AUTO path = BUF_INIT, out = BUF_INIT;
    struct err e = file_read(&out, path_join(&path, dir, "out"), 1 << 20);
    const char *told = is_err(e) ? err_message() : buf_str(&out);
    size_t len = strlen(told);
    fail_msg("%s", told + (len > 600 ? len - 600 : 0));
}

static void slurp(struct buf *out, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    assert_false(is_err(file_read(out, path_join(&path, dir, name), 1 << 20)));
}

static const char setup_text[] =
    "mkdir ca state && "
    "printf 'statedir = %s\\nsigningkey = %s/signkey.pem\\nissuercert = %s/issuercert.pem\\n"
    "certserial = %s/certserial\\n' $PWD/ca $PWD/ca $PWD/ca $PWD/ca >localca.conf && "
    "printf -- '--platform-manufacturer Test\\n--platform-version 1\\n--platform-model Test\\n' "
    ">localca.options && "
    "printf 'create_certs_tool = /usr/bin/swtpm_localca\\ncreate_certs_tool_config = "
    "%s/localca.conf\\ncreate_certs_tool_options = %s/localca.options\\n' $PWD $PWD >setup.conf && "
    "swtpm_setup --tpm2 --config setup.conf --tpmstate state --create-ek-cert --overwrite "
    "--write-ek-cert-files . && "
    "openssl x509 -in ca/issuercert.pem -outform DER -out issuer.der && "
    "openssl x509 -in ca/swtpm-localca-rootca-cert.pem -outform DER -out root.der && "
    "swtpm socket --tpm2 --tpmstate dir=$PWD/state --server type=unixio,path=$PWD/tpm.sock "
    "--ctrl type=unixio,path=$PWD/tpm.sock.ctrl --flags not-need-init,startup-clear --daemon --pid "
    "file=$PWD/pid "
    "&& tpm2_createprimary -C e -G ecc256:ecdsa-sha256:null -c ak.ctx "
    "-a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda' && "
    "tpm2_readpublic -c ak.ctx -n ak.name -o ak.pub && tpm2_flushcontext -t";

static int stop(void **state)
{
    (void)state;
    if (!available)
        return 0;
    BUF_AUTO command = BUF_INIT;
    buf_printf(&command, "[ ! -f %s/pid ] || kill \"$(cat %s/pid)\"; rm -rf %s", dir, dir, dir);
    return system(buf_str(&command));
}

static int start(void **state)
{
    (void)state;
    available = system("command -v swtpm swtpm_setup tpm2_activatecredential openssl "
                       ">/dev/null 2>&1") == 0;
    if (!available)
        return 0;
    if (mkdtemp(dir) == NULL)
        return -1;
    if (shell(setup_text) == 0)
        return 0;
    BUF_AUTO path = BUF_INIT, out = BUF_INIT;
    struct err e = file_read(&out, path_join(&path, dir, "out"), 1 << 20);
    print_error("%s\n", is_err(e) ? err_message() : buf_str(&out));
    stop(state);
    return -1;
}

static void verify_cert(struct ek_cert *ek, const char *file)
{
    BUF_AUTO leaf = BUF_INIT, issuer = BUF_INIT, root = BUF_INIT;
    slurp(&leaf, file);
    slurp(&issuer, "issuer.der");
    slurp(&root, "root.der");
    struct bytes chain[] = {buf_bytes(&issuer), buf_bytes(&root)};
    uint8_t root_sha256[SHA256_LEN], wanted[SHA256_LEN];
    struct err e = ek_cert_verify(ek, root_sha256, buf_bytes(&leaf), chain, 2);
    if (is_err(e))
        fail_msg("%s", err_message());
    sha256(wanted, buf_bytes(&root));
    assert_memory_equal(root_sha256, wanted, SHA256_LEN);
    assert_string_equal(ek->subject, "id:00001014 swtpm id:20191023");
}

/* tpm2-tools' file: magic, version 1, then the two structures. */
static void write_credential(const struct credential *c)
{
    BUF_AUTO file = BUF_INIT, path = BUF_INIT;
    buf_append_u32be(&file, 0xbadcc0de);
    buf_append_u32be(&file, 1);
    buf_append_bytes(&file, buf_bytes(&c->id_object));
    buf_append_bytes(&file, buf_bytes(&c->secret));
    assert_false(is_err(file_write_durable(path_join(&path, dir, "cred"), buf_bytes(&file), 0600)));
}

/* Low-range keys ask for PolicySecret of the endorsement hierarchy; high-range ones take their
 * empty password. */
static const char activate_rsa[] =
    "tpm2_startauthsession --policy-session -S s.ctx && tpm2_policysecret -S s.ctx -c e && "
    "tpm2_activatecredential -c ak.ctx -C 0x81010001 -i cred -o value -P session:s.ctx; r=$?; "
    "tpm2_flushcontext s.ctx; tpm2_flushcontext -t; (exit $r)";
static const char activate_p384[] =
    "tpm2_activatecredential -c ak.ctx -C 0x81010016 -i cred -o value; r=$?; "
    "tpm2_flushcontext -t; (exit $r)";

static const char activate_p256[] =
    "tpm2_startauthsession --policy-session -S s.ctx && tpm2_policysecret -S s.ctx -c e && "
    "tpm2_createek -G ecc -c ek256.ctx && "
    "tpm2_activatecredential -c ak.ctx -C ek256.ctx -i cred -o value -P session:s.ctx; r=$?; "
    "tpm2_flushcontext s.ctx; tpm2_flushcontext -t; (exit $r)";

static void read_name(struct tpm_name *name, uint8_t flip)
{
    BUF_AUTO file = BUF_INIT;
    slurp(&file, "ak.name");
    assert_int_equal(file.len, TPM_NAME_SHA256_LEN);
    name->len = file.len;
    memcpy(name->bytes, file.data, file.len);
    name->bytes[file.len - 1] ^= flip;
}

static void round_trip(EVP_PKEY *ek, const char *activate)
{
    struct tpm_name name;
    read_name(&name, 0);
    struct credential c;
    assert_false(is_err(credential_make(&c, ek, &name)));
    write_credential(&c);
    must(activate);
    BUF_AUTO value = BUF_INIT;
    slurp(&value, "value");
    assert_int_equal(value.len, CREDENTIAL_VALUE_LEN);
    assert_memory_equal(value.data, c.value, CREDENTIAL_VALUE_LEN);
    credential_cleanup(&c);

    read_name(&name, 1); /* of no key in this TPM */
    assert_false(is_err(credential_make(&c, ek, &name)));
    write_credential(&c);
    assert_int_not_equal(shell(activate), 0);
    credential_cleanup(&c);
}

static void round_trip_certified(const char *certificate, const char *activate)
{
    struct ek_cert ek;
    verify_cert(&ek, certificate);
    round_trip(ek.key, activate);
    ek_cert_cleanup(&ek);
}

static void a_tpm_with_an_rsa_ek_opens_a_credential_for_its_key_only(void **state)
{
    (void)state;
    if (!available)
        skip();
    round_trip_certified("ek-rsa2048.crt", activate_rsa);
}

static void a_tpm_with_a_p384_ek_opens_a_credential_for_its_key_only(void **state)
{
    (void)state;
    if (!available)
        skip();
    round_trip_certified("ek-secp384r1.crt", activate_p384);
}

/* swtpm makes no certificate for this one: its public area is read from the TPM. */
static void a_tpm_with_a_p256_ek_opens_a_credential_for_its_key_only(void **state)
{
    (void)state;
    if (!available)
        skip();
    must("tpm2_createek -G ecc -c ek256.ctx && tpm2_readpublic -c ek256.ctx -o ek256.pub && "
         "tpm2_flushcontext -t");
    BUF_AUTO file = BUF_INIT;
    slurp(&file, "ek256.pub"); /* TPM2B_PUBLIC */
    struct reader r = reader_of(buf_bytes(&file));
    struct tpm_public ek;
    assert_false(is_err(tpm_public_parse(&ek, read_prefixed_u16be(&r))));
    round_trip(ek.key, activate_p256);
    tpm_public_cleanup(&ek);
}

static void a_tpms_own_public_area_has_the_name_that_the_tpm_gives_it(void **state)
{
    (void)state;
    if (!available)
        skip();
    BUF_AUTO file = BUF_INIT;
    slurp(&file, "ak.pub"); /* TPM2B_PUBLIC */
    struct reader r = reader_of(buf_bytes(&file));
    struct tpm_public ak;
    struct tpm_name name;
    read_name(&name, 0);
    assert_false(is_err(tpm_public_parse(&ak, read_prefixed_u16be(&r))));
    assert_true(reader_done(&r));
    assert_int_equal(ak.name.len, name.len);
    assert_memory_equal(ak.name.bytes, name.bytes, name.len);
    assert_false(is_err(tpm_public_check_ak(&ak)));
    tpm_public_cleanup(&ak);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tpms_own_public_area_has_the_name_that_the_tpm_gives_it),
        cmocka_unit_test(a_tpm_with_an_rsa_ek_opens_a_credential_for_its_key_only),
        cmocka_unit_test(a_tpm_with_a_p256_ek_opens_a_credential_for_its_key_only),
        cmocka_unit_test(a_tpm_with_a_p384_ek_opens_a_credential_for_its_key_only),
    };
    int failed = cmocka_run_group_tests(tests, start, stop);
    return failed == 0 && !available ? 77 : failed;
}
