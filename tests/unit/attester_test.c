/*
 * The attester as a process, against a software TPM, judged by this project's own verifier and
 * replay: measured, quoted, activated, restarted, rebooted, stopped.
 */
#include "tests/unit/attester_fixture.h"

#include "attest/replay.h"
#include "transparency/store.h"

static struct host host;

#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

static void a_client_finds_a_fresh_host_true(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    host_policy(&policy, &host, "");
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_verify(&host, &policy, true);
    host_stop(&host);
}

static void a_restart_in_the_same_boot_adds_an_identity(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    BUF_AUTO before = BUF_INIT;
    BUF_AUTO after = BUF_INIT;
    BUF_AUTO path = BUF_INIT;
    host_policy(&policy, &host, "");
    path_join(&path, host.state_dir, "runtime.log");
    OK(file_read(&before, buf_str(&path), RUNTIME_LOG_MAX));
    memset(host.measurement.spki_sha256, 0x66, SHA256_LEN);
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_stop(&host);

    OK(file_read(&after, buf_str(&path), RUNTIME_LOG_MAX));
    assert_true(after.len > before.len);
    assert_memory_equal(after.data, before.data, before.len);
    const char *added = buf_str(&after) + before.len;
    assert_ptr_equal(strstr(added, "15 identity "), added);
    assert_ptr_equal(strchr(added, '\n'), (const char *)after.data + after.len - 1);
}

static void nonces_that_wait_share_one_quote(void **state)
{
    (void)state;
    enum { N = 9 };
    POLICY_AUTO policy = {0};
    host_policy(&policy, &host, "");
    host_start(&host);
    /* Sent before the answer to the first request is read: they arrive while the TPM is busy. */
    BUF_AUTO out = BUF_INIT;
    BUF_AUTO measurement = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame frame;
    uint8_t nonce[NONCE_LEN] = {0};
    measurement_encode(&measurement, &host.measurement);
    channel_encode(&out, CHANNEL_MEASURE, 1000, buf_bytes(&measurement));
    for (uint8_t i = 0; i < N; i++) {
        nonce[0] = i;
        channel_encode(&out, CHANNEL_QUOTE, i, bytes_of(nonce, sizeof nonce));
    }
    OK(fd_write_all(host.fd, buf_bytes(&out)));
    OK(channel_receive(host.fd, &frame, &memory));
    assert_int_equal(frame.type, CHANNEL_QUOTED); /* the first one, before anybody is let in */
    assert_int_equal(frame.id, 0);
    OK(channel_receive(host.fd, &frame, &memory));
    assert_int_equal(frame.type, CHANNEL_MEASURED);
    for (uint64_t i = 0; i < N; i++) {
        OK(channel_receive(host.fd, &frame, &memory));
        assert_int_equal(frame.type, CHANNEL_EVIDENCE);
        assert_int_equal(frame.id, i);
        __attribute__((cleanup(evidence_cleanup))) struct evidence e = EVIDENCE_INIT;
        OK(evidence_parse(&e, frame.payload));
        struct statement *quote = calloc(1, sizeof *quote);
        OK(statement_parse(quote, buf_bytes(&e.quote)));
        assert_int_equal(quote->quote.context.n_nonces, N);
        assert_int_equal(e.nonce_index, i);
        nonce[0] = (uint8_t)i;
        struct merkle_hash leaf = merkle_leaf(bytes_of(nonce, sizeof nonce));
        OK(merkle_verify_inclusion(&leaf, i, N, &e.nonce_proof, &quote->quote.context.nonce_root));
        free(quote);
    }
    host_verify(&host, &policy, true);
    host_stop(&host);
}

/* The activator's statement on what the live activation showed it. */
static void sign_activation(struct buf *note, const struct activation_target *target,
                            const struct note_signer *signer, uint64_t time_s)
{
    struct activation activation = {.ak_name = target->ak_name, .time_s = time_s};
    BUF_AUTO text = BUF_INIT;
    memcpy(activation.ek_certificate, target->ek_certificate, SHA256_LEN);
    strcpy(activation.origin, ORIGIN);
    activation_format(&text, &activation);
    OK(note_sign(note, buf_bytes(&text), signer));
}

static void find_target(struct activation_target *target, const struct policy *policy)
{
    BUF_AUTO json = BUF_INIT;
    uint8_t nonce[NONCE_LEN] = {9};
    __attribute__((cleanup(evidence_cleanup))) struct evidence evidence = EVIDENCE_INIT;
    host_evidence(&host, nonce, &json);
    OK(evidence_parse(&evidence, buf_bytes(&json)));
    OK(verify_activation_target(target, &evidence, policy));
}

static uint64_t submit(const struct buf *note)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    OK(host_ask(&host, CHANNEL_ACTIVATION, buf_bytes(note), &answer, &memory));
    assert_int_equal(answer.type, CHANNEL_ACCEPTED);
    struct reader r = reader_of(answer.payload);
    uint64_t index = read_u64be(&r);
    assert_true(reader_done(&r));
    return index;
}

static void activators_stand_in_for_a_live_activation(void **state)
{
    (void)state;
    POLICY_AUTO plain = {0};
    POLICY_AUTO policy = {0};
    BUF_AUTO lines = BUF_INIT;
    struct activation_target target;
    struct buf notes[3] = {0};
    for (int i = 0; i < 2; i++) {
        buf_append_str(&lines, "activator ");
        note_vkey_format(&lines, &host.activators[i]);
        buf_append_str(&lines, "\n");
    }
    buf_append_str(&lines, "activators 2\n");
    host_policy(&plain, &host, "");
    host_policy(&policy, &host, buf_str(&lines));
    host_start_measured(&host);
    find_target(&target, &plain);
    sign_activation(&notes[0], &target, &host.activator_keys[0], 1000);
    sign_activation(&notes[1], &target, &host.activator_keys[1], 1000);
    sign_activation(&notes[2], &target, &host.activator_keys[0], 2000);
    uint64_t first = submit(&notes[0]);
    assert_int_equal(submit(&notes[0]), first); /* once */
    uint64_t second = submit(&notes[1]);
    assert_true(second > first);
    host_verify(&host, &policy, false);
    assert_true(submit(&notes[2]) > second); /* a newer one of the first activator */
    host_verify(&host, &policy, false);
    host_stop(&host);

    host_start_measured(&host); /* known from the log */
    host_verify(&host, &policy, false);
    host_stop(&host);
    EVP_PKEY_free(target.ek);
    for (int i = 0; i < 3; i++)
        buf_cleanup(&notes[i]);
}

static enum err_code answer_to_note(const struct buf *note)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    return host_ask(&host, CHANNEL_ACTIVATION, buf_bytes(note), &answer, &memory).code;
}

static void takes_no_activation_that_is_not_for_it(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    struct activation_target target, other;
    host_policy(&policy, &host, "");
    host_start_measured(&host);
    find_target(&target, &policy);

    BUF_AUTO stranger_s = BUF_INIT;
    BUF_AUTO wrong_key = BUF_INIT;
    BUF_AUTO wrong_certificate = BUF_INIT;
    BUF_AUTO no_note = BUF_INIT;
    struct note_signer stranger;
    uint8_t seed[ED25519_SEED_LEN] = {99};
    OK(note_signer_init(&stranger, "first.example", NOTE_ED25519, seed));
    sign_activation(&stranger_s, &target, &stranger, 1);
    assert_int_equal(answer_to_note(&stranger_s), ERR_UNTRUE);
    other = target;
    other.ak_name.bytes[5] ^= 1;
    sign_activation(&wrong_key, &other, &host.activator_keys[0], 1);
    assert_int_equal(answer_to_note(&wrong_key), ERR_UNTRUE);
    other = target;
    other.ek_certificate[0] ^= 1;
    sign_activation(&wrong_certificate, &other, &host.activator_keys[0], 1);
    assert_int_equal(answer_to_note(&wrong_certificate), ERR_UNTRUE);
    buf_append_str(&no_note, "hello");
    assert_int_equal(answer_to_note(&no_note), ERR_MALFORMED);
    host_verify(&host, &policy, true);
    host_stop(&host);
    EVP_PKEY_free(target.ek);
}

static void answers_a_bounded_number_of_activations(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    struct activation_target target;
    BUF_AUTO request = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    struct credential c = {0};
    int n_refused = 0, n_busy = 0;
    host_policy(&policy, &host, "");
    host_start_measured(&host);
    find_target(&target, &policy);
    target.ak_name.bytes[4] ^= 1; /* a credential for another key */
    OK(credential_make(&c, target.ek, &target.ak_name));
    buf_append_bytes(&request, buf_bytes(&c.id_object));
    buf_append_bytes(&request, buf_bytes(&c.secret));
    for (uint64_t i = 0; i < 30; i++)
        OK(channel_send(host.fd, CHANNEL_ACTIVATE, i, buf_bytes(&request)));
    for (int i = 0; i < 30; i++) {
        OK(channel_receive(host.fd, &answer, &memory));
        assert_int_equal(answer.type, CHANNEL_ERROR);
        enum err_code code = channel_error_decode(answer.payload).code;
        n_refused += code == ERR_UNTRUE;
        n_busy += code == ERR_BUSY;
    }
    assert_int_equal(n_refused + n_busy, 30);
    assert_true(n_refused >= 10 && n_busy >= 1);
    credential_cleanup(&c);
    EVP_PKEY_free(target.ek);
    host_stop(&host);
}

static void quotes_periodically_without_being_asked(void **state)
{
    (void)state;
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"),
                     0); /* another interval, another config */
    host.options.quote_interval_s = host.measurement.quote_interval_s = 1;
    host_start_measured(&host);
    usleep(2300 * 1000);
    host_stop(&host);
    host.options.quote_interval_s = host.measurement.quote_interval_s = 3600;

    BUF_AUTO path = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct store *log;
    struct checkpoint head;
    struct statement *s = calloc(1, sizeof *s);
    OK(store_open_readonly(&log, path_join(&path, host.state_dir, "log.db")));
    OK(store_checkpoint(log, NULL, &head));
    OK(store_entry_read(log, head.size - 1, &text));
    OK(statement_parse(s, buf_bytes(&text)));
    assert_int_equal(s->kind, STATEMENT_STOP);
    assert_int_equal(s->quote.max_duration_s, 600);
    assert_in_range(s->quote.context.period, 3, 4); /* 0 at once, 1 and 2 by the clock, the stop */
    store_close(log);
    free(s);
}

static void after_a_reboot_begins_new_lanes(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
    memset(host.files[1].sha256, 0x77, SHA256_LEN); /* a new model is fine now */
    host_policy(&policy, &host, "");
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_stop(&host);
    assert_int_equal(shell("test $(ls %s/runtime-*.log | wc -l) = 2", host.state_dir), 0);
}

/* The owner clears the TPM, which begins reset count and clock anew and takes our counter away: the
 * one that is defined next starts above every counter that the TPM ever had. */
static void after_a_clear_the_boot_counter_goes_on(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    assert_int_equal(shell("TSS2_LOG=all+none tpm2_clear -T %s -c p", host.tpm.tcti), 0);
    assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
    host_policy(&policy, &host, "");
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_stop(&host);
}

static struct err blob_of(void *context, const uint8_t sha256_of_it[SHA256_LEN], struct buf *out)
{
    return store_blob_read(context, sha256_of_it, out);
}

static struct err survey_entry(void *context, uint64_t index, struct bytes entry,
                               const struct merkle_hash *leaf, const uint8_t *head)
{
    (void)index;
    (void)leaf, (void)head;
    return replay_survey(context, entry);
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

static bool finds(const struct replay_summary *s, const char *code)
{
    for (size_t i = 0; i < s->n_findings; i++)
        if (strcmp(s->findings[i].code, code) == 0)
            return true;
    return false;
}

/* Last: over all that the tests above have logged, in four boots. */
static void an_auditor_finds_the_whole_log_true(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    BUF_AUTO lines = BUF_INIT;
    struct replay_summary summary;
    struct store *log;
    struct replay *replay;
    memset(host.files[1].sha256, 0x22, SHA256_LEN); /* the first boots' model */
    OK(measurement_policy_lines(&lines, &host.measurement));
    for (int i = 0; i < 2; i++) {
        buf_append_str(&lines, "activator ");
        note_vkey_format(&lines, &host.activators[i]);
        buf_append_str(&lines, "\n");
    }
    buf_append_str(&lines, "activators 2\n");
    /* host_policy adds the code again, which is the same, and the last boot's model. */
    char *code = strstr(buf_str(&lines), "code ");
    memset(code, '#', 1);
    memset(host.files[1].sha256, 0x77, SHA256_LEN);
    host_policy(&policy, &host, buf_str(&lines));
    OK(store_open_readonly(&log, path_join(&path, host.state_dir, "log.db")));
    OK(replay_new(&replay, &policy, blob_of, log));
    OK(store_fsck(log, &policy.log, survey_entry, replay));
    OK(store_fsck(log, &policy.log, check_entry, replay));
    OK(store_checkpoint(log, &note, NULL));
    OK(replay_finish(replay, &summary, buf_bytes(&note)));
    for (size_t i = 0; i < summary.n_findings; i++)
        if (summary.findings[i].severity == FINDING_ERROR)
            fail_msg("%s %s", summary.findings[i].code, summary.findings[i].text);
    if (summary.outcome != OUTCOME_TRUE)
        fail_msg("%s", summary.reason);
    assert_int_equal(summary.n_boots, 4);
    assert_true(finds(&summary, "TPM-CLEARED"));
    assert_false(finds(&summary, "COUNTER-GAP"));
    replay_free(replay);
    store_close(log);
}

#define TEST(t) cmocka_unit_test(t)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_finds_a_fresh_host_true),
        TEST(a_restart_in_the_same_boot_adds_an_identity),
        TEST(nonces_that_wait_share_one_quote),
        TEST(activators_stand_in_for_a_live_activation),
        TEST(takes_no_activation_that_is_not_for_it),
        TEST(answers_a_bounded_number_of_activations),
        TEST(quotes_periodically_without_being_asked),
        TEST(after_a_reboot_begins_new_lanes),
        TEST(after_a_clear_the_boot_counter_goes_on),
        TEST(an_auditor_finds_the_whole_log_true),
    };
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_remove(&host);
    return failed;
}
