/* The log service against hosts with software TPMs: a host is admitted by what only its TPM can
 * answer, its statements are answered with proofs, and everything else is refused with its status.
 */
#include "service_scene.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "logservice/session.h"
#include "transparency/store.h"

static void a_host_gets_a_proof_for_each_statement(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    scene_make(&s);
    scene_start(&s);
    scene_session(&s, session, 0);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(scene_log(&s, session, i), i);
    uint64_t quote = fake_log_quote(&s.w, 0);
    assert_int_equal(scene_log(&s, session, quote), 4);
    scene_end(&s, 5);
}

static void the_same_statement_is_logged_once(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    scene_make(&s);
    scene_start(&s);
    scene_session(&s, session, 0);
    for (uint64_t i = 0; i < 4; i++)
        scene_log(&s, session, i);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(scene_log(&s, session, i), i);
    scene_stop(&s); /* and it is known again after a new start */
    scene_start(&s);
    scene_session(&s, session, 0);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(scene_log(&s, session, i), i);
    scene_end(&s, 4);
}

static void a_host_that_comes_back_goes_on_from_what_is_logged(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    BUF_AUTO answer = BUF_INIT;
    scene_make(&s);
    scene_start(&s);
    scene_session(&s, session, 0);
    for (uint64_t i = 0; i < 4; i++)
        scene_log(&s, session, i);
    scene_stop(&s);
    scene_start(&s);
    uint64_t quote = fake_log_quote(&s.w, 0);
    assert_int_equal(scene_submit(&s, &answer, session, quote),
                     401); /* sessions end with the service */
    scene_session(&s, session, 0);
    assert_int_equal(scene_submit(&s, &answer, session, quote), 422);
    assert_int_equal(
        scene_session_as(&s, session, 0, 0, json_pack("{s:i, s:i}", "boot", 1, "identity", 2)),
        200);
    assert_int_equal(scene_log(&s, session, quote), 4);
    scene_end(&s, 5);
}

static void two_hosts_share_one_log(void **state)
{
    (void)state;
    struct scene s;
    char first[65], second[65];
    scene_make(&s);
    scene_start(&s);
    fake_start(&s.w, 1);
    scene_session(&s, first, 0);
    scene_session(&s, second, 1);
    for (uint64_t i = 0; i < 4; i++) {
        scene_log(&s, first, i);
        scene_log(&s, second, 4 + i);
    }
    BUF_AUTO answer = BUF_INIT;
    uint64_t stop = fake_log_stop(&s.w, 1, 60);
    assert_int_equal(scene_submit(&s, &answer, first, stop), 422); /* for somebody else's host */
    assert_non_null(strstr(buf_str(&answer), "another attestation key"));
    scene_log(&s, second, stop);
    scene_end(&s, 9);
}

/* As clouds lay their TPMs out: the attestation key has a certificate, and there is no endorsement
 * key. Whoever does not hold it gets no session by knowing the nonce, nor by another key. */
static void a_host_with_a_certified_key_shows_it_by_a_quote(void **state)
{
    (void)state;
    static const char *const types[] = {"RSA", "EC"};
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        char session[65];
        BUF_AUTO text = BUF_INIT, answer = BUF_INIT;
        scene_make(&s);
        fake_certify(&s.w, 1, types[i]);
        fake_start(&s.w, 1);
        fake_policy_text(&s.w, &text);
        policy_cleanup(&s.policy);
        must(policy_parse(&s.policy, buf_bytes(&text)));
        scene_start(&s);
        assert_int_equal(scene_session_as(&s, session, 1, 0, NULL), 422);
        assert_int_equal(scene_submit(&s, &answer, session, s.w.hosts[1].host_index), 401);
        scene_session(&s, session, 1);
        const struct fake_host *h = &s.w.hosts[1];
        assert_int_equal(scene_log(&s, session, h->host_index), 0);
        assert_int_equal(scene_log(&s, session, h->boot_index), 1);
        assert_int_equal(scene_log(&s, session, h->identity_index), 2);
        scene_end(&s, 3);
    }
}

struct sender {
    struct scene s; /* the same but for its connection */
    char session[65];
    uint64_t index;
    pthread_barrier_t *together;
    int status;
};

static void *send_one(void *context)
{
    struct sender *sender = context;
    BUF_AUTO answer = BUF_INIT;
    pthread_barrier_wait(sender->together);
    sender->status = scene_submit(&sender->s, &answer, sender->session, sender->index);
    return NULL;
}

static void send_together(struct sender list[2])
{
    pthread_t threads[2];
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, 2);
    for (int i = 0; i < 2; i++) {
        list[i].together = &together;
        assert_int_equal(pthread_create(&threads[i], NULL, send_one, &list[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
}

static uint64_t count_checkpoints(const struct scene *s, uint64_t size)
{
    struct store *log;
    uint64_t n = 0;
    must(store_open_readonly(&log, s->db));
    for (uint64_t i = 1; i <= size; i++) {
        BUF_AUTO note = BUF_INIT;
        n += !is_err(store_checkpoint_at(log, i, &note));
    }
    store_close(log);
    return n;
}

static void statements_that_come_together_are_appended_under_one_commit(void **state)
{
    (void)state;
    enum { ROUNDS = 12 };
    struct scene s;
    static struct sender list[2];
    scene_make(&s);
    fake_start(&s.w, 1);
    scene_start(&s);
    for (unsigned i = 0; i < 2; i++) {
        scene_session(&s, list[i].session, i);
        for (uint64_t j = 0; j < 4; j++)
            scene_log(&s, list[i].session, 4 * i + j);
    }
    const struct connection_limits limits = {10, 60, 60};
    struct connection *other;
    must(connection_open(&other, &s.url, &limits));
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 2; i++)
            list[i].index = fake_log_quote(&s.w, i);
        for (unsigned i = 0; i < 2; i++)
            list[i].s = s;
        list[1].s.c = other;
        send_together(list);
        assert_int_equal(list[0].status, 200);
        assert_int_equal(list[1].status, 200);
    }
    connection_close(other);
    uint64_t size = 8 + 2 * ROUNDS;
    assert_true(count_checkpoints(&s, size) < size);
    scene_end(&s, size);
}

static void a_tpm_without_the_keys_is_not_admitted_and_has_one_try(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    BUF_AUTO answer = BUF_INIT;
    scene_make(&s);
    scene_start(&s);
    assert_int_equal(scene_session_as(&s, session, 0, 1, NULL), 422);
    char zeros[65];
    memset(zeros, '0', 64);
    zeros[64] = '\0';
    assert_int_equal(scene_post(&s, &answer, "/submit/answer",
                                json_pack("{s:s, s:s}", "session", session, "answer", zeros)),
                     401);
    assert_int_equal(scene_submit(&s, &answer, session, 0), 401);
    assert_int_equal(scene_submit(&s, &answer, zeros, 0), 401);
    scene_session(&s, session, 0);
    assert_int_equal(scene_post(&s, &answer, "/submit/answer",
                                json_pack("{s:s, s:s}", "session", session, "answer", zeros)),
                     401); /* it has its answer */
    scene_log(&s, session, 0);
    scene_end(&s, 1);
}

static void blobs_are_those_that_the_statement_names(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    BUF_AUTO answer = BUF_INIT;
    scene_make(&s);
    scene_start(&s);
    scene_session(&s, session, 0);
    scene_log(&s, session, 0);
    scene_log(&s, session, 1);
    assert_int_equal(scene_submit_with(&s, &answer, session, 2, json_array()), 422);
    assert_non_null(strstr(buf_str(&answer), "is missing"));
    json_t *many = scene_blobs(&s, scene_entry(&s, 2));
    json_array_append_new(many, json_string("AAAA"));
    buf_clear(&answer);
    assert_int_equal(scene_submit_with(&s, &answer, session, 2, many), 422);
    assert_non_null(strstr(buf_str(&answer), "named by nothing"));
    assert_int_equal(scene_submit_with(&s, &answer, session, 2, json_pack("[s]", "A")), 400);
    assert_int_equal(scene_submit_with(&s, &answer, session, 2, json_pack("[i]", 1)), 400);
    scene_end(&s, 2);
}

static void what_is_no_request_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    BUF_AUTO a = BUF_INIT;
    scene_make(&s);
    scene_start(&s);
    scene_session(&s, session, 0);
    assert_int_equal(scene_post(&s, &a, "/submit", json_array()), 400);
    assert_int_equal(scene_post(&s, &a, "/submit", json_object()), 400);
    assert_int_equal(scene_post(&s, &a, "/submit", json_pack("{s:s}", "session", session)), 400);
    assert_int_equal(scene_post(&s, &a, "/submit",
                                json_pack("{s:s, s:s, s:[], s:i}", "session", session, "statement",
                                          "x", "blobs", "more", 1)),
                     400);
    assert_int_equal(scene_post(&s, &a, "/submit",
                                json_pack("{s:s, s:s, s:[]}", "session", session, "statement",
                                          "blindllama-wibble/v1\n", "blobs")),
                     400);
    assert_int_equal(
        scene_post(&s, &a, "/submit/challenge",
                   json_pack("{s:s, s:[], s:s}", "host", "x", "blobs", "spki", session)),
        400);
    assert_int_equal(scene_post(&s, &a, "/nowhere", json_object()), 404);
    scene_end(&s, 0);
}

static void a_host_that_sends_too_much_has_to_wait(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    BUF_AUTO a = BUF_INIT;
    scene_make(&s);
    scene_start(&s);
    scene_session(&s, session, 0);
    int status = 200, n = 0;
    for (; status == 200 && n < SESSION_STATEMENTS_BURST + 60; n++)
        status = scene_submit(&s, &a, session, 0);
    assert_int_equal(status, 429);
    assert_true(n > SESSION_STATEMENTS_BURST);
    char again[65]; /* a new session has no new rate, and ends the old one */
    scene_session(&s, again, 0);
    for (n = 0, status = 200; status == 200 && n < SESSION_STATEMENTS_BURST; n++)
        status = scene_submit(&s, &a, again, 0); /* a few have come in meanwhile */
    assert_int_equal(status, 429);
    assert_int_equal(scene_submit(&s, &a, session, 0), 401);
    scene_end(&s, 1);
}

/* A witness that nobody runs: no answer has its quorum. */
static void ask_for_a_quorum_that_never_comes(struct scene *s)
{
    struct note_signer nobody;
    uint8_t seed[ED25519_SEED_LEN] = {77};
    BUF_AUTO text = BUF_INIT;
    must(note_signer_init(&nobody, "witness.example/nobody", NOTE_COSIGNATURE, seed));
    buf_append_str(&text, "witness w ");
    note_vkey_format(&text, &nobody.key);
    buf_append_str(&text, " https://127.0.0.1:1\nquorum w\n");
    tlog_policy_cleanup(&s->witnesses);
    must(tlog_policy_parse(&s->witnesses, buf_bytes(&text)));
}

static void wait_for_entries(const struct scene *s, uint64_t n)
{
    struct store *log;
    struct checkpoint c = {.size = 0};
    must(store_open_readonly(&log, s->db));
    for (; c.size < n; usleep(1000))
        must(store_checkpoint(log, NULL, &c));
    store_close(log);
}

static void no_client_keeps_a_service_from_stopping(void **state)
{
    (void)state;
    struct scene s;
    char session[65];
    scene_make(&s);
    ask_for_a_quorum_that_never_comes(&s);
    s.drain_s = 1;
    scene_start(&s);
    scene_session(&s, session, 0);
    pid_t client = fork();
    if (client == 0) { /* waits for a quorum, half a minute at least */
        BUF_AUTO answer = BUF_INIT;
        const struct connection_limits limits = {10, 60, 60};
        must(connection_open(&s.c, &s.url, &limits));
        scene_submit(&s, &answer, session, 0);
        _exit(0);
    }
    wait_for_entries(&s, 1);
    time_t start = time(NULL);
    scene_end(&s, 1);
    assert_true(time(NULL) - start < 15);
    kill(client, SIGKILL);
    waitpid(client, NULL, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_gets_a_proof_for_each_statement),
        cmocka_unit_test(the_same_statement_is_logged_once),
        cmocka_unit_test(a_host_that_comes_back_goes_on_from_what_is_logged),
        cmocka_unit_test(two_hosts_share_one_log),
        cmocka_unit_test(a_host_with_a_certified_key_shows_it_by_a_quote),
        cmocka_unit_test(statements_that_come_together_are_appended_under_one_commit),
        cmocka_unit_test(a_tpm_without_the_keys_is_not_admitted_and_has_one_try),
        cmocka_unit_test(blobs_are_those_that_the_statement_names),
        cmocka_unit_test(what_is_no_request_is_refused_and_changes_nothing),
        cmocka_unit_test(a_host_that_sends_too_much_has_to_wait),
        cmocka_unit_test(no_client_keeps_a_service_from_stopping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
