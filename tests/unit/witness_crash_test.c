/* A witness gives out no cosignature that its disk could forget, and a log keeps those it got: when
 * any single call to the disk fails, persisted or not, and when the power is cut between two. */
#include "fault_vfs.h"
#include "store_fixture.h"

#include "transparency/witness_db.h"

static struct note_signer cosigner;
static char state_path[120];
static uint64_t cosigned; /* the size whose cosignature was given out last */
static unsigned n_cuts;

static struct witness_log known(void)
{
    struct witness_log log = {.key = signer.key};
    memcpy(log.origin, signer.key.name, sizeof log.origin);
    return log;
}

static struct err open_witness(struct witness_db **out, const char *path)
{
    struct witness_log log = known();
    return witness_db_open(out, path, &cosigner, &log, 1);
}

static int setup(void **state)
{
    uint8_t seed[ED25519_SEED_LEN] = {8};
    fixture_setup(state);
    cosigned = 0;
    snprintf(state_path, sizeof state_path, "%s/witness.db", folder);
    assert_ok(note_signer_init(&cosigner, "witness.example", NOTE_COSIGNATURE, seed));
    assert_ok(witness_db_create(state_path));
    struct store *s = fixture_open();
    fixture_fill(s, 0, 200); /* a checkpoint at each size */
    store_close(s);
    return 0;
}

static void request(struct buf *body, uint64_t old_size, uint64_t size)
{
    struct store *s;
    BUF_AUTO note = BUF_INIT;
    struct witness_request q = {.old_size = old_size};
    assert_ok(store_open_readonly(&s, log_path));
    assert_ok(store_checkpoint_at(s, size, &note));
    assert_ok(store_prove_consistency(s, &q.proof, old_size, size));
    store_close(s);
    q.note = buf_bytes(&note);
    witness_request_format(body, &q);
}

/* What the witness says it has cosigned last. */
static uint64_t latest(const char *path)
{
    struct witness_db *w = NULL;
    BUF_AUTO body = BUF_INIT;
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    assert_ok(open_witness(&w, path));
    request(&body, 199, 200);
    assert_ok(witness_db_add_checkpoint(w, &reply, buf_bytes(&body), 1));
    witness_db_close(w);
    assert_int_equal(reply.status, WITNESS_CONFLICT);
    return reply.size;
}

/* One request while call `n` fails; false once there is no such call. */
static bool ask_with_fault(unsigned n, enum fault_kind kind)
{
    struct witness_db *w = NULL;
    BUF_AUTO body = BUF_INIT;
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    assert_ok(open_witness(&w, state_path));
    request(&body, cosigned, cosigned + 1);
    fault_arm(n, kind);
    struct err e = witness_db_add_checkpoint(w, &reply, buf_bytes(&body), 1);
    bool fired = fault.fired;
    if (fired && is_err(e)) {
        assert_int_equal(reply.body.len, 0); /* no cosignature */
        assert_refused(witness_db_add_checkpoint(w, &reply, buf_bytes(&body), 1), ERR_IO,
                       "failed before");
    } else {
        assert_ok(e);
        assert_int_equal(reply.status, WITNESS_OK);
        cosigned++;
    }
    if (!fired)
        fault_arm(0, FAULT_LOST);
    witness_db_close(w);
    fault_arm(0, FAULT_LOST);
    uint64_t now = latest(state_path);
    assert_true(now == cosigned || (is_err(e) && now == cosigned + 1));
    cosigned = now;
    return fired;
}

static void a_failing_call_gives_out_nothing_that_is_not_kept(void **state)
{
    (void)state;
    static const enum fault_kind kinds[] = {FAULT_LOST, FAULT_PERSISTS, FAULT_STICKY};
    for (size_t i = 0; i < 3; i++) {
        unsigned n = 1;
        while (ask_with_fault(n, kinds[i]))
            n++;
        assert_true(n > 3);
    }
}

/* It may be asked for without an end: then it costs no call to the disk, and has its own time. */
static void the_same_checkpoint_again_is_cosigned_without_a_write(void **state)
{
    (void)state;
    struct witness_db *w = NULL;
    BUF_AUTO first = BUF_INIT, again = BUF_INIT;
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    request(&first, 0, 5);
    request(&again, 5, 5);
    assert_ok(open_witness(&w, state_path));
    assert_ok(witness_db_add_checkpoint(w, &reply, buf_bytes(&first), 100));
    assert_int_equal(reply.status, WITNESS_OK);
    unsigned before = fault.n_calls;
    for (uint64_t time_s = 200; time_s < 203; time_s++) {
        assert_ok(witness_db_add_checkpoint(w, &reply, buf_bytes(&again), time_s));
        assert_int_equal(reply.status, WITNESS_OK);
        assert_int_equal(reply.size, 5);
        struct store *s;
        BUF_AUTO note = BUF_INIT;
        uint64_t when = 0;
        assert_ok(store_open_readonly(&s, log_path));
        assert_ok(store_checkpoint_at(s, 5, &note));
        store_close(s);
        buf_append_bytes(&note, buf_bytes(&reply.body));
        static struct note parsed;
        assert_ok(note_parse(&parsed, buf_bytes(&note)));
        assert_ok(note_verify_cosignature(&parsed, &cosigner.key, &when));
        assert_int_equal(when, time_s);
    }
    assert_int_equal(fault.n_calls, before);
    witness_db_close(w);
    assert_int_equal(latest(state_path), 5);
}

static void cut_power(void)
{
    if (fault.n_images == 0 || rand() % 2 != 0)
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
    fault.recording = false;
    assert_true(latest(path) >= cosigned);
    fault.recording = true;
    fault.before_call = cut_power;
    n_cuts++;
}

static void a_power_cut_forgets_no_cosignature(void **state)
{
    (void)state;
    srand(9);
    n_cuts = 0;
    for (int life = 0; life < 6; life++) {
        struct buf bodies[5] = {{0}};
        for (uint64_t i = 0; i < 5; i++)
            request(&bodies[i], cosigned + i, cosigned + i + 1);
        struct witness_db *w = NULL;
        fault.recording = true;
        fault.before_call = cut_power;
        assert_ok(open_witness(&w, state_path));
        for (int i = 0; i < 5; i++) {
            WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
            assert_ok(witness_db_add_checkpoint(w, &reply, buf_bytes(&bodies[i]), 1));
            assert_int_equal(reply.status, WITNESS_OK);
            cosigned++;
        }
        witness_db_close(w);
        fault.before_call = NULL;
        fault.recording = false;
        fault_forget();
        for (int i = 0; i < 5; i++)
            buf_cleanup(&bodies[i]);
    }
    assert_true(n_cuts > 10);
}

/* The log's side: a line that was taken is there, and the log is whole. */
static void a_log_keeps_the_cosignatures_that_it_took(void **state)
{
    (void)state;
    static struct note note;
    uint64_t size = 1;
    bool fired = true;
    for (unsigned n = 1; fired; n++, size++) {
        struct store *s = fixture_open();
        BUF_AUTO text = BUF_INIT;
        BUF_AUTO line = BUF_INIT;
        assert_ok(store_checkpoint_at(s, size, &text));
        assert_ok(note_parse(&note, buf_bytes(&text)));
        assert_ok(note_cosign(&line, note.text, &cosigner, 7));
        fault_arm(n, n % 2 == 0 ? FAULT_PERSISTS : FAULT_LOST);
        struct err e = store_add_cosignature(s, size, &cosigner.key, buf_bytes(&line));
        fired = fault.fired;
        fault_arm(0, FAULT_LOST);
        if (is_err(e))
            assert_refused(store_add_cosignature(s, size, &cosigner.key, buf_bytes(&line)), ERR_IO,
                           "failed before");
        store_close(s);
        s = fixture_open();
        assert_ok(store_fsck(s, &signer.key, NULL, NULL));
        BUF_AUTO now = BUF_INIT;
        assert_ok(store_cosigned(s, size, &now));
        assert_true(now.len == text.len + line.len || (is_err(e) && now.len == text.len));
        assert_ok(store_add_cosignature(s, size, &cosigner.key, buf_bytes(&line)));
        store_close(s);
    }
    assert_true(size > 3);
}

int main(void)
{
    fault_install();
#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_failing_call_gives_out_nothing_that_is_not_kept),
        TEST(the_same_checkpoint_again_is_cosigned_without_a_write),
        TEST(a_power_cut_forgets_no_cosignature),
        TEST(a_log_keeps_the_cosignatures_that_it_took),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
