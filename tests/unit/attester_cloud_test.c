/*
 * A host whose attestation key its cloud has made and certified, as Google and Azure lay them out
 * in the TPM: what it logs is believed by a policy that names the cloud's root, live and in a
 * replay.
 */
#include "tests/unit/attester_fixture.h"

#include "attest/replay.h"
#include "transparency/store.h"

static struct host host;

#include "tests/unit/cloud_tpm.h"

#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

static struct err blob_of(void *context, const uint8_t sha256_of_it[SHA256_LEN], struct buf *out)
{
    return store_blob_read(context, sha256_of_it, out);
}

static struct err check_entry(void *context, uint64_t index, struct bytes entry,
                              const struct merkle_hash *leaf, const uint8_t *head)
{
    struct replay_line line;
    (void)leaf, (void)head;
    TRY(replay_entry(context, &line, index, entry));
    if (line.status != RULE_TRUE)
        return err_set(ERR_UNTRUE, "entry %llu: %s %s", (unsigned long long)index, line.code,
                       line.text);
    return err_ok();
}

static void check_log(const struct policy *policy, uint64_t n_boots)
{
    struct replay_summary summary;
    struct store *log;
    struct replay *replay;
    BUF_AUTO path = BUF_INIT, note = BUF_INIT;
    OK(store_open_readonly(&log, path_join(&path, host.state_dir, "log.db")));
    OK(replay_new(&replay, policy, blob_of, log));
    OK(store_fsck(log, &policy->log, check_entry, replay));
    OK(store_checkpoint(log, &note, NULL));
    OK(replay_finish(replay, &summary, buf_bytes(&note)));
    if (summary.outcome != OUTCOME_TRUE)
        fail_msg("%s", summary.reason);
    assert_int_equal(summary.n_boots, n_boots);
    replay_free(replay);
    store_close(log);
}

static void refuses_activations(void)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    const uint8_t two_tpm2bs[6] = {0, 1, 0, 0, 1, 0};
    struct err e = host_ask(&host, CHANNEL_ACTIVATE, bytes_of(two_tpm2bs, sizeof two_tpm2bs),
                            &answer, &memory);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "certificate of its own"));
    e = host_ask(&host, CHANNEL_ACTIVATION, bytes_of_str("note"), &answer, &memory);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
}

/* Two lives in one boot, then a reboot: two boots, no more. */
static void is_believed(enum ak_profile profile)
{
    const char *chain[] = {root_path};
    host.options.ak_certified = true;
    host.options.ak_profile = profile;
    host.options.ek_chain = chain;
    host.options.n_ek_chain = 1;
    POLICY_AUTO policy = {0};
    host_policy(&policy, &host, "");
    assert_true(policy.n_ak_roots == 1 && policy.ak_roots[0].profile == profile);
    host_start_measured(&host);
    host_verify(&host, &policy, false);
    refuses_activations();
    host_stop(&host);
    host_start_measured(&host);
    host_verify(&host, &policy, false);
    host_stop(&host);
    check_log(&policy, 1);
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
    host_start_measured(&host);
    host_verify(&host, &policy, false);
    host_stop(&host);
    check_log(&policy, 2);
}

static void the_key_that_google_certified_is_believed(void **state)
{
    (void)state;
    lay_out_google();
    is_believed(AK_PROFILE_GCP);
}

static void the_key_that_azure_certified_is_believed(void **state)
{
    (void)state;
    lay_out_azure();
    is_believed(AK_PROFILE_AZURE);
}

static void says_what_is_missing(void **state)
{
    (void)state;
    const char *chain[] = {root_path};
    host.options.ak_certified = true;
    host.options.ak_profile = AK_PROFILE_AZURE;
    host.options.ek_chain = chain;
    host.options.n_ek_chain = 1;
    host_start(&host);
    host_ended(&host, ERR_NOT_FOUND, "no certificate of an attestation key of profile azure");
}

/* The certificate is there, and is another key's. */
static void refuses_a_certificate_for_another_key(void **state)
{
    (void)state;
    const char *chain[] = {root_path};
    lay_out_google();
    EVP_PKEY *other = EVP_RSA_gen(2048);
    BUF_AUTO path = BUF_INIT;
    FILE *f = fopen(path_join(&path, host.tpm.dir, "ak.pem"), "w");
    assert_int_equal(PEM_write_PUBKEY(f, other), 1);
    fclose(f);
    EVP_PKEY_free(other);
    certify(AK_PROFILE_GCP);
    assert_int_equal(in_tpm_dir("tpm2_nvundefine -Q -C o 0x01c10000 && "
                                "tpm2_nvdefine -Q -C o -s $(stat -c %s ak.der) "
                                "-a 'ownerread|ownerwrite|no_da' 0x01c10000 && "
                                "tpm2_nvwrite -C o -i ak.der 0x01c10000"),
                     0);
    host.options.ak_certified = true;
    host.options.ak_profile = AK_PROFILE_GCP;
    host.options.ek_chain = chain;
    host.options.n_ek_chain = 1;
    host_start(&host);
    host_ended(&host, ERR_UNTRUE, "another key than ak-public");
}

static int begin(void **state)
{
    (void)state;
    root_key = EVP_EC_gen("prime256v1");
    if (host_init(&host) != 0)
        return -1;
    make_root();
    return 0;
}

static int end(void **state)
{
    (void)state;
    host_remove(&host);
    EVP_PKEY_free(root_key);
    return 0;
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(says_what_is_missing),
        TEST(the_key_that_google_certified_is_believed),
        TEST(the_key_that_azure_certified_is_believed),
        TEST(refuses_a_certificate_for_another_key),
    };
    software_tpm_skip_where_absent();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
