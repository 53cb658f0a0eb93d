/* Nothing that store_append acknowledged is ever lost, and the log stays whole: when the process is
 * killed, when any single call to the disk fails, and when the power is cut between two calls. */
#include <signal.h>
#include <sys/wait.h>

#include "fault_vfs.h"
#include "store_fixture.h"

/* The log opens, passes its check, and holds at least `n` entries; gives how many. */
static uint64_t check_log(const char *path, uint64_t n)
{
    struct store *s = NULL;
    assert_ok(store_open(&s, path, &signer));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    struct checkpoint c;
    assert_ok(store_checkpoint(s, NULL, &c));
    assert_true(c.size >= n);
    assert_ok(fixture_check(s, c.size));
    store_close(s);
    return c.size;
}

/* Appends until killed; tells each index that was acknowledged. */
static void append_for_ever(int out)
{
    struct store *s = NULL;
    struct checkpoint c;
    if (is_err(store_open(&s, log_path, &signer)) || is_err(store_checkpoint(s, NULL, &c)))
        _exit(1);
    for (uint64_t i = c.size;; i++)
        if (is_err(fixture_append(s, i)) || write(out, &i, sizeof i) != sizeof i)
            _exit(1);
}

static void a_killed_writer_loses_nothing_that_it_acknowledged(void **state)
{
    (void)state;
    srand(5);
    uint64_t n_acknowledged = 0;
    for (int round = 0; round < 24; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0)
            append_for_ever(fds[1]);
        close(fds[1]);
        uint64_t index;
        /* Some rounds die before the first append is through, most after a few. */
        for (int i = rand() % 4; i > 0 && read(fds[0], &index, sizeof index) == sizeof index; i--)
            n_acknowledged = index + 1;
        usleep((useconds_t)rand() % 8000);
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read(fds[0], &index, sizeof index) == sizeof index)
            n_acknowledged = index + 1;
        close(fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        check_log(log_path, n_acknowledged);
    }
    assert_true(n_acknowledged > 10);
}

/* One append while call `n` fails. False once there is no such call any more. */
static bool append_with_fault(unsigned n, enum fault_kind kind, uint64_t *n_entries)
{
    struct store *s = fixture_open();
    fault_arm(n, kind);
    struct err e = fixture_append(s, *n_entries);
    bool fired = fault.fired;
    if (!fired)
        fault_arm(0, FAULT_LOST);
    if (fired) {
        assert_int_equal(e.code, ERR_IO);
        BUF_AUTO out = BUF_INIT;
        assert_refused(fixture_append(s, *n_entries), ERR_IO, "failed before");
        assert_refused(store_entry_read(s, 0, &out), ERR_IO, "started again");
        assert_refused(store_checkpoint(s, &out, NULL), ERR_IO, "failed before");
        store_close(s);
    } else {
        assert_ok(e);
        store_close(s);
    }
    fault_arm(0, FAULT_LOST);
    /* Of the failed append all or nothing is there. */
    uint64_t now = check_log(log_path, *n_entries);
    assert_true(now <= *n_entries + 1);
    assert_true(fired || now == *n_entries + 1);
    s = fixture_open();
    assert_ok(fixture_append(s, now));
    store_close(s);
    *n_entries = now + 1;
    return fired;
}

static void a_failing_call_is_final_and_the_next_start_finds_a_whole_log(void **state)
{
    (void)state;
    static const enum fault_kind kinds[] = {FAULT_LOST, FAULT_PERSISTS, FAULT_STICKY};
    uint64_t n_entries = 0;
    for (size_t i = 0; i < 3; i++) {
        unsigned n = 1;
        while (append_with_fault(n, kinds[i], &n_entries))
            n++;
        assert_true(n > 5); /* several writes and a sync were made to fail */
    }
    check_log(log_path, n_entries);
}

/* The next signature has a wrong bit. */
static bool signs_wrongly;
void __real_ed25519_key_sign(uint8_t out[ED25519_SIGNATURE_LEN], struct ed25519_key *key,
                             struct bytes message);
void __wrap_ed25519_key_sign(uint8_t out[ED25519_SIGNATURE_LEN], struct ed25519_key *key,
                             struct bytes message);
void __wrap_ed25519_key_sign(uint8_t out[ED25519_SIGNATURE_LEN], struct ed25519_key *key,
                             struct bytes message)
{
    __real_ed25519_key_sign(out, key, message);
    out[40] ^= signs_wrongly;
    signs_wrongly = false;
}

static void a_signature_that_does_not_verify_is_told_to_nobody(void **state)
{
    (void)state;
    struct store *s = fixture_open(), *reader = NULL;
    fixture_fill(s, 0, 3);
    signs_wrongly = true;
    BUF_AUTO out = BUF_INIT;
    assert_refused(fixture_append(s, 3), ERR_IO, "what was just signed does not verify");
    assert_refused(fixture_append(s, 3), ERR_IO, "failed before");
    assert_refused(store_checkpoint(s, &out, NULL), ERR_IO, "failed before");
    assert_int_equal(out.len, 0);
    store_close(s);
    /* It may be on the disk, and then nobody believes it: no second root is ever signed. */
    assert_refused(store_open(&s, log_path, &signer), ERR_UNTRUE, "checkpoint 4");
    assert_refused(store_open_readonly(&reader, log_path), ERR_UNTRUE, "checkpoint 4");
}

static void a_wrong_signature_and_a_failed_call_are_one_failure(void **state)
{
    (void)state;
    unsigned n_fired = 0;
    for (unsigned n = 1; n < 6; n++) {
        struct store *s = fixture_open();
        signs_wrongly = true;
        fault_arm(n, FAULT_STICKY);
        assert_int_equal(fixture_append(s, 0).code, ERR_IO);
        n_fired += fault.fired;
        store_close(s);
        fault_arm(0, FAULT_LOST);
        if (check_log(log_path, 0) != 0)
            fail_msg("an entry under a checkpoint that is wrongly signed");
    }
    assert_true(n_fired > 0);
}

static void a_failing_call_at_the_start_or_end_is_survived(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 5);
    store_close(s);
    bool fired = true;
    for (unsigned n = 1; fired; n++) {
        fault_arm(n, n % 2 == 0 ? FAULT_PERSISTS : FAULT_LOST);
        struct err e = store_open(&s, log_path, &signer);
        if (!is_err(e)) {
            e = fixture_append(s, 5 + n - 1);
            store_close(s);
        }
        fired = fault.fired;
        fault_arm(0, FAULT_LOST);
        uint64_t now = check_log(log_path, 5 + n - 1);
        assert_true(is_err(e) || now == 5 + n);
        s = fixture_open();
        fixture_fill(s, now, 5 + n); /* the same number each round */
        store_close(s);
    }
}

static void a_failed_making_leaves_no_log(void **state)
{
    (void)state;
    char path[128];
    strcpy(path, fixture_path("new.db"));
    bool fired = true;
    for (unsigned n = 1; fired; n++) {
        fault_arm(n, n % 2 == 0 ? FAULT_PERSISTS : FAULT_LOST);
        struct err e = store_create(path, &signer);
        fired = fault.fired;
        fault_arm(0, FAULT_LOST);
        assert_int_equal(is_err(e), access(path, F_OK) != 0);
        if (is_err(e))
            assert_ok(store_create(path, &signer));
        assert_int_equal(check_log(path, 0), 0);
        unlink(path);
    }
}

/* Power cuts: before each call, what the disk could hold then is written aside and must be whole.
 */
static uint64_t n_acknowledged;
static unsigned n_cuts;

static void cut_power(void)
{
    if (fault.n_images == 0 || rand() % 3 != 0)
        return;
    char path[128], wal[160];
    snprintf(path, sizeof path, "%s/cut.db", folder);
    snprintf(wal, sizeof wal, "%s-wal", path);
    unlink(wal);
    for (size_t i = 0; i < fault.n_images; i++) {
        bool is_wal = strstr(fault.images[i].path, "-wal") != NULL;
        fault_leave(&fault.images[i], is_wal ? wal : path);
    }
    fault.before_call = NULL;
    bool recording = fault.recording;
    fault.recording = false;
    check_log(path, n_acknowledged);
    fault.recording = recording;
    fault.before_call = cut_power;
    n_cuts++;
}

static void a_power_cut_loses_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    srand(6);
    n_acknowledged = 0;
    n_cuts = 0;
    fault.recording = true;
    fault.before_call = cut_power;
    for (int life = 0; life < 4; life++) {
        struct store *s = fixture_open();
        for (int i = 0; i < 5; i++) {
            assert_ok(fixture_append(s, n_acknowledged));
            n_acknowledged++;
        }
        store_close(s); /* checkpoints: the file itself is written now */
    }
    fault.recording = false;
    fault.before_call = NULL;
    fault_forget();
    assert_true(n_cuts > 30);
    printf("%u power cuts\n", n_cuts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_writer_loses_nothing_that_it_acknowledged),
        TEST(a_failing_call_is_final_and_the_next_start_finds_a_whole_log),
        TEST(a_signature_that_does_not_verify_is_told_to_nobody),
        TEST(a_wrong_signature_and_a_failed_call_are_one_failure),
        TEST(a_failing_call_at_the_start_or_end_is_survived),
        TEST(a_failed_making_leaves_no_log),
        TEST(a_power_cut_loses_nothing_that_was_acknowledged),
    };
    fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
