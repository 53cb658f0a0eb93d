/*
 * The attester is killed, and started again: whatever the moment, the next start goes on, nothing
 * that was acknowledged is missing, and at the end log, lanes and replay are whole.
 *
 * Two ways: SIGKILL after a random time, in the same boot; and by the attester's own hand right
 * before or right after the n-th of its durable or TPM-changing calls (this program is linked with
 * --wrap for them), over several boots, so that narrow windows are met, too.
 */
#include "tests/unit/attester_fixture.h"

#include "attest/replay.h"
#include "attest/tpm.h"
#include "transparency/store.h"

enum {
    TIMED_LIVES = 15,
    LONGEST_LIFE_US = 700 * 1000,
    BOOTS = 3,
    LIVES_A_BOOT = 5,
    STEPS_MAX = 110, /* a fresh boot's start takes about that many */
    LIVES_MAX = 64,
};

static struct host host;

/* Each wrapped call is two steps: before it, and after it. */
static struct death {
    unsigned at_step; /* 0: never */
    const char *call; /* only steps of this one count; NULL: all do */
} death;

static void step(const char *call)
{
    if (death.at_step == 0 || (death.call && strcmp(death.call, call) != 0))
        return;
    if (--death.at_step == 0)
        kill(getpid(), SIGKILL);
}

/* The linker sends the attester's calls of NAME here. */
#define WRAP(result, name, parameters, arguments)                                                  \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        step(#name);                                                                               \
        result r = __real_##name arguments;                                                        \
        step(#name);                                                                               \
        return r;                                                                                  \
    }

WRAP(int, fsync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(struct err, fd_write_all, (int fd, struct bytes data), (fd, data))
WRAP(struct err, store_create, (const char *path, const struct note_signer *signer), (path, signer))
WRAP(struct err, store_append,
     (struct store * s, uint64_t *first, const struct store_entry *entries, size_t n),
     (s, first, entries, n))
WRAP(struct err, tpm_pcr_extend,
     (struct tpm * t, unsigned pcr, const char *kind, struct bytes data), (t, pcr, kind, data))
WRAP(struct err, tpm_counter_increment, (struct tpm * t, uint32_t index), (t, index))

/* What the host has acknowledged to somebody. */
struct acknowledged {
    size_t n_measured; /* identities that were measured, logged and quoted */
    uint8_t spkis[LIVES_MAX][SHA256_LEN];
    struct buf checkpoint; /* the newest that came with evidence */
};

static void receive_all(struct acknowledged *got)
{
    struct channel_frame frame;
    BUF_AUTO memory = BUF_INIT;
    while (!is_err(channel_receive(host.fd, &frame, &memory))) {
        if (frame.type == CHANNEL_MEASURED)
            memcpy(got->spkis[got->n_measured++], host.measurement.spki_sha256, SHA256_LEN);
        if (frame.type != CHANNEL_EVIDENCE)
            continue;
        __attribute__((cleanup(evidence_cleanup))) struct evidence e = EVIDENCE_INIT;
        OK(evidence_parse(&e, frame.payload));
        buf_clear(&got->checkpoint);
        buf_append_bytes(&got->checkpoint, buf_bytes(&e.checkpoint));
    }
}

/* One life: measured, asked for quotes, killed after a time or at a step, whichever is first. It
 * must not end by itself. */
static void live_and_die(struct acknowledged *got, unsigned life_us, struct death at)
{
    BUF_AUTO measurement = BUF_INIT;
    uint8_t nonce[NONCE_LEN] = {0};
    random_bytes(host.measurement.spki_sha256, SHA256_LEN);
    measurement_encode(&measurement, &host.measurement);
    death = at;
    host_start(&host);
    death = (struct death){0};
    struct err e = channel_send(host.fd, CHANNEL_MEASURE, 1, buf_bytes(&measurement));
    for (uint64_t i = 0; i < 3 && !is_err(e); i++)
        e = channel_send(host.fd, CHANNEL_QUOTE, 2 + i, bytes_of(nonce, sizeof nonce));
    int status = 0;
    for (unsigned waited = 0; waited < life_us && waitpid(host.pid, &status, WNOHANG) == 0;
         waited += 10000)
        usleep(10000);
    if (status == 0) {
        kill(host.pid, SIGKILL);
        assert_int_equal(waitpid(host.pid, &status, 0), host.pid);
    }
    if (!WIFSIGNALED(status))
        fail_msg("it ended by itself: %s", host.ending->message);
    receive_all(got);
    fd_close(&host.fd);
}

struct seen {
    struct replay *replay;
    const struct acknowledged *got;
    bool found[LIVES_MAX];
};

static struct err visit(void *context, uint64_t index, struct bytes entry,
                        const struct merkle_hash *leaf, const uint8_t *head)
{
    (void)head;
    struct seen *seen = context;
    struct replay_line line;
    struct statement s;
    (void)leaf;
    OK(statement_parse(&s, entry));
    for (size_t i = 0; i < seen->got->n_measured && s.kind == STATEMENT_QUOTE; i++)
        if (memcmp(s.quote.context.spki_sha256, seen->got->spkis[i], SHA256_LEN) == 0)
            seen->found[i] = true;
    TRY(replay_entry(seen->replay, &line, index, entry));
    if (line.status != RULE_TRUE)
        return err_set(ERR_UNTRUE, "entry %llu: %s %s", (unsigned long long)index, line.code,
                       line.text);
    return err_ok();
}

static struct err survey(void *context, uint64_t index, struct bytes entry,
                         const struct merkle_hash *leaf, const uint8_t *head)
{
    (void)index, (void)leaf, (void)head;
    struct seen *seen = context;
    return replay_survey(seen->replay, entry);
}

static struct err blob_of(void *context, const uint8_t sha256_of_it[SHA256_LEN], struct buf *out)
{
    return store_blob_read(context, sha256_of_it, out);
}

static void check_log(const struct acknowledged *got, const struct policy *policy)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    struct store *log;
    struct replay_summary summary;
    struct checkpoint told;
    struct seen *seen = calloc(1, sizeof *seen);
    seen->got = got;
    OK(store_open_readonly(&log, path_join(&path, host.state_dir, "log.db")));
    OK(replay_new(&seen->replay, policy, blob_of, log));
    OK(store_fsck(log, &policy->log, survey, seen));
    OK(store_fsck(log, &policy->log, visit, seen));
    for (size_t i = 0; i < got->n_measured; i++)
        assert_true(seen->found[i]);
    if (got->checkpoint.len > 0) {
        OK(checkpoint_verify(&told, buf_bytes(&got->checkpoint), ORIGIN, &policy->log));
        OK(store_check_extends(log, &told));
    }
    OK(store_checkpoint(log, &note, NULL));
    OK(replay_finish(seen->replay, &summary, buf_bytes(&note)));
    for (size_t i = 0; i < summary.n_findings; i++)
        if (summary.findings[i].severity == FINDING_ERROR)
            fail_msg("%s %s", summary.findings[i].code, summary.findings[i].text);
    if (summary.outcome != OUTCOME_TRUE)
        fail_msg("%s", summary.reason);
    replay_free(seen->replay);
    store_close(log);
    free(seen);
}

static void check_lanes(void)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct runtime_log runtime;
    struct tpm *tpm;
    struct pcr_values pcrs;
    uint8_t replayed[3][SHA256_LEN];
    struct lanes lanes;
    OK(file_read(&text, path_join(&path, host.state_dir, "runtime.log"), RUNTIME_LOG_MAX));
    OK(runtime_log_parse(&runtime, buf_bytes(&text)));
    OK(lanes_check(&lanes, &runtime, true));
    runtime_log_replay(replayed, &runtime, runtime.n_records);
    OK(tpm_open(&tpm, host.tpm.tcti));
    OK(tpm_pcr_read(tpm, &pcrs));
    tpm_close(tpm);
    assert_memory_equal(replayed, pcrs.values[PCR_MODEL], sizeof replayed);
    runtime_log_cleanup(&runtime);
}

/* An activator signs at the end, so that the replay can believe the key at all. */
static void activate_and_stop(const struct policy *plain)
{
    struct activation_target target;
    struct activation activation = {.time_s = 1};
    uint8_t nonce[NONCE_LEN] = {0};
    BUF_AUTO json = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    __attribute__((cleanup(evidence_cleanup))) struct evidence evidence = EVIDENCE_INIT;
    host_evidence(&host, nonce, &json);
    OK(evidence_parse(&evidence, buf_bytes(&json)));
    OK(verify_activation_target(&target, &evidence, plain));
    assert_true(host_activate(&host, &target));
    activation.ak_name = target.ak_name;
    memcpy(activation.ek_certificate, target.ek_certificate, SHA256_LEN);
    strcpy(activation.origin, ORIGIN);
    activation_format(&text, &activation);
    OK(note_sign(&note, buf_bytes(&text), &host.activator_keys[0]));
    OK(host_ask(&host, CHANNEL_ACTIVATION, buf_bytes(&note), &answer, &memory));
    host_stop(&host);
    EVP_PKEY_free(target.ek);
}

static unsigned random_below(unsigned n)
{
    uint32_t random;
    random_bytes(&random, sizeof random);
    return random % n;
}

static void die_at_any_time(struct acknowledged *got)
{
    for (int i = 0; i < TIMED_LIVES; i++)
        live_and_die(got, random_below(LONGEST_LIFE_US), (struct death){0});
}

static void die_at_any_step(struct acknowledged *got)
{
    for (unsigned i = 0; i < BOOTS * LIVES_A_BOOT; i++) {
        if (i % LIVES_A_BOOT == 0)
            assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
        /* what is left to do gets less from life to life */
        unsigned at_step = 1 + random_below(STEPS_MAX / (1 + i % LIVES_A_BOOT));
        live_and_die(got, 2 * LONGEST_LIFE_US, (struct death){.at_step = at_step});
    }
}

static void die_around_each_call(struct acknowledged *got)
{
    static const char *const calls[] = {"fsync",        "rename",         "fd_write_all",
                                        "store_append", "tpm_pcr_extend", "tpm_counter_increment"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_int_equal(software_tpm_do(&host.tpm, "reboot"), 0);
        for (unsigned at_step = 1; at_step <= 2; at_step++)
            live_and_die(got, 5 * 1000 * 1000, (struct death){at_step, calls[i]});
    }
}

static void a_kill_at_any_moment_loses_nothing(void **state)
{
    (void)state;
    __attribute__((cleanup(policy_cleanup))) struct policy policy = {0};
    BUF_AUTO lines = BUF_INIT;
    struct acknowledged got = {0};
    buf_append_str(&lines, "activator ");
    note_vkey_format(&lines, &host.activators[0]);
    buf_append_str(&lines, "\n");
    host_policy(&policy, &host, buf_str(&lines));
    die_at_any_time(&got);
    die_at_any_step(&got);
    die_around_each_call(&got);
    random_bytes(host.measurement.spki_sha256, SHA256_LEN);
    host_start_measured(&host);
    memcpy(got.spkis[got.n_measured++], host.measurement.spki_sha256, SHA256_LEN);
    host_verify(&host, &policy, true);
    activate_and_stop(&policy);
    print_message("%zu lives came as far as being measured\n", got.n_measured);
    check_log(&got, &policy);
    check_lanes();
    buf_cleanup(&got.checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_at_any_moment_loses_nothing),
    };
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_remove(&host);
    return failed;
}
