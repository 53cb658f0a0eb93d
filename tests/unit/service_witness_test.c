/* A log service and true witnesses on loopback: what is answered has the quorum; a kill between
 * COMMIT and quorum loses nothing; of two branches of one log a witness takes one; a log that was
 * put back is not served. */
#include "service_scene.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/credential.h"
#include "common/file.h"
#include "logservice/service.h"
#include "publish/witness_link.h"
#include "logservice/witness_server.h"
#include "transparency/store.h"
#include "transparency/tlog_proof.h"

struct peer {
    struct note_signer cosigner;
    char db[96], listen[64], url[128];
    pid_t pid;
};

static void run_witness(struct scene *s, const struct peer *w, int out)
{
    struct witness_log log = {.key = s->w.log.key};
    struct witness_db *db = NULL;
    memcpy(log.origin, s->w.log.key.name, sizeof log.origin);
    dup2(out, STDOUT_FILENO);
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(3);
    struct err e = witness_db_open(&db, w->db, &w->cosigner, &log, 1);
    const struct witness_server_config config = {
        .db = db, .activator = &s->w.activator, .policy = &s->policy, .listen = w->listen};
    if (!is_err(e))
        e = witness_server_run(&config);
    witness_db_close(db);
    _exit(is_err(e) ? 1 : 0);
}

static void start_witness(struct scene *s, struct peer *w)
{
    int ends[2];
    char line[128];
    assert_int_equal(pipe(ends), 0);
    w->pid = fork();
    if (w->pid == 0)
        run_witness(s, w, ends[1]);
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "listening on %127s", w->url), 1);
    fclose(f);
    snprintf(w->listen, sizeof w->listen, "%.60s", w->url + strlen("https://")); /* kept */
}

static void make_witness(struct scene *s, struct peer *w, uint8_t number)
{
    uint8_t seed[ED25519_SEED_LEN] = {number, 55};
    char name[32];
    memset(w, 0, sizeof *w);
    snprintf(name, sizeof name, "witness.example/%u", number);
    must(note_signer_init(&w->cosigner, name, NOTE_COSIGNATURE, seed));
    snprintf(w->db, sizeof w->db, "%s/w%u.db", s->folder, number);
    snprintf(w->listen, sizeof w->listen, ":0");
    must(witness_db_create(w->db));
    start_witness(s, w);
}

static void stop_witness(struct peer *w, int how)
{
    kill(w->pid, how);
    waitpid(w->pid, NULL, 0);
}

/* All of the witnesses must cosign. */
static void set_policy(struct scene *s, const struct peer *list, size_t n)
{
    BUF_AUTO text = BUF_INIT;
    buf_printf(&text, "log %s\n", s->policy.log_vkey);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&text, "witness w%zu ", i);
        note_vkey_format(&text, &list[i].cosigner.key);
        buf_printf(&text, " %s\n", list[i].url);
    }
    buf_append_str(&text, "group all all");
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, " w%zu", i);
    buf_append_str(&text, "\nquorum all\n");
    tlog_policy_cleanup(&s->witnesses);
    must(tlog_policy_parse(&s->witnesses, buf_bytes(&text)));
}

static void append(const struct scene *s, const char *db, const char *text)
{
    struct store *log;
    uint64_t index;
    struct store_entry entry = {.bytes = bytes_of_str(text)};
    must(store_open(&log, db, &s->w.log));
    must(store_append(log, &index, &entry, 1));
    store_close(log);
}

static void copy_file(const char *to, const char *from)
{
    BUF_AUTO data = BUF_INIT;
    must(file_read(&data, from, 16 * 1024 * 1024));
    must(file_write_durable(to, buf_bytes(&data), 0600));
}

static struct err ask(const struct scene *s, const char *db)
{
    struct witness_line line = {0};
    struct err e = witness_link_ask_once(&line, db, &s->witnesses.witnesses[0]);
    buf_cleanup(&line.line);
    return e;
}

static void an_answer_has_the_quorum_of_two_witnesses(void **state)
{
    (void)state;
    struct scene s;
    struct peer w[2];
    char session[65];
    scene_make(&s);
    make_witness(&s, &w[0], 0);
    make_witness(&s, &w[1], 1);
    set_policy(&s, w, 2);
    scene_start(&s);
    scene_session(&s, session, 0);
    for (uint64_t i = 0; i < 4; i++) {
        BUF_AUTO answer = BUF_INIT;
        assert_int_equal(scene_submit(&s, &answer, session, i), 200);
        struct tlog_proof p;
        struct checkpoint c;
        struct tlog_witnessed who;
        must(tlog_proof_parse(&p, buf_bytes(&answer)));
        must(tlog_policy_check(&c, &who, &s.witnesses, p.checkpoint));
        assert_int_equal(who.n, 2);
        must(tlog_proof_verify(&c, &p, scene_entry(&s, i), s.policy.log.name, &s.w.log.key));
    }
    stop_witness(&w[0], SIGTERM);
    stop_witness(&w[1], SIGTERM);
    scene_end(&s, 4);
}

/* Kills the service as soon as the log has an entry. */
static pid_t start_killer(const struct scene *s)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct store *log;
    struct checkpoint c = {.size = 0};
    if (is_err(store_open_readonly(&log, s->db)))
        _exit(1);
    while (c.size == 0 && !is_err(store_checkpoint(log, NULL, &c)))
        usleep(1000);
    kill(s->service, SIGKILL);
    _exit(0);
}

static void a_kill_between_commit_and_quorum_loses_nothing(void **state)
{
    (void)state;
    struct scene s;
    struct peer w;
    char session[65];
    scene_make(&s);
    make_witness(&s, &w, 0);
    set_policy(&s, &w, 1);
    scene_start(&s);
    scene_session(&s, session, 0);
    stop_witness(&w, SIGKILL);
    pid_t killer = start_killer(&s);
    ANSWER_AUTO lost = ANSWER_INIT;
    json_t *body =
        json_pack("{s:s, s:o, s:o}", "session", session, "statement",
                  json_stringn((const char *)scene_entry(&s, 0).data, scene_entry(&s, 0).len),
                  "blobs", scene_blobs(&s, scene_entry(&s, 0)));
    char *text = json_dumps(body, 0);
    json_decref(body);
    const struct request request = {"/submit", "application/json", bytes_of_str(text), 65536};
    assert_true(is_err(connection_request(s.c, &lost, &request)));
    free(text);
    waitpid(killer, NULL, 0);
    waitpid(s.service, NULL, 0);
    connection_close(s.c);
    start_witness(&s, &w);
    scene_start(&s); /* asks the witness for what was not published */
    scene_session(&s, session, 0);
    assert_int_equal(scene_log(&s, session, 0), 0);
    assert_int_equal(scene_log(&s, session, 1), 1);
    stop_witness(&w, SIGTERM);
    scene_end(&s, 2);
}

static void without_the_quorum_an_answer_says_so_and_the_proof_comes_later(void **state)
{
    (void)state;
    struct scene s;
    struct peer w;
    char session[65];
    BUF_AUTO answer = BUF_INIT;
    scene_make(&s);
    make_witness(&s, &w, 0);
    set_policy(&s, &w, 1);
    s.quorum_wait_s = 1;
    scene_start(&s);
    scene_session(&s, session, 0);
    stop_witness(&w, SIGKILL);
    assert_int_equal(scene_submit(&s, &answer, session, 0), 503);
    assert_non_null(strstr(buf_str(&answer), "no-quorum"));
    assert_non_null(strstr(buf_str(&answer), "is entry 0 of the log"));
    start_witness(&s, &w);
    int status = 503;
    for (int i = 0; status == 503 && i < 20; i++) { /* it is asked again, after a while */
        buf_clear(&answer);
        status = scene_submit(&s, &answer, session, 0);
    }
    assert_int_equal(status, 200);
    stop_witness(&w, SIGTERM);
    scene_end(&s, 1);
}

struct publisher {
    const struct scene *s;
    const char *db;
    bool won;
};

static void *publish(void *context)
{
    struct publisher *p = context;
    p->won = !is_err(ask(p->s, p->db));
    return NULL;
}

static void of_two_simultaneous_publishers_of_one_log_exactly_one_wins(void **state)
{
    (void)state;
    struct scene s;
    struct peer w;
    char other[120];
    scene_make(&s);
    make_witness(&s, &w, 0);
    set_policy(&s, &w, 1);
    append(&s, s.db, "common");
    must(ask(&s, s.db));
    snprintf(other, sizeof other, "%s/other.db", s.folder);
    copy_file(other, s.db);
    append(&s, s.db, "for one");
    append(&s, other, "for another");
    struct publisher p[2] = {{&s, s.db, false}, {&s, other, false}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish, &p[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(p[0].won + p[1].won, 1);
    /* and the other never gets there, so its checkpoints lack the quorum for everybody */
    const char *loser = p[0].won ? other : s.db;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&s, loser).code, ERR_UNTRUE);
        append(&s, loser, "more");
    }
    struct store *log;
    struct checkpoint c;
    BUF_AUTO note = BUF_INIT;
    must(store_open_readonly(&log, loser));
    must(store_checkpoint(log, &note, NULL));
    store_close(log);
    assert_int_equal(tlog_policy_check(&c, NULL, &s.witnesses, buf_bytes(&note)).code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "lacks the quorum"));
    stop_witness(&w, SIGTERM);
    scene_start(&s);
    scene_end(&s, p[0].won ? 2 : 5);
}

static void a_log_that_was_put_back_is_not_served(void **state)
{
    (void)state;
    struct scene s;
    struct peer w;
    char old[120];
    scene_make(&s);
    make_witness(&s, &w, 0);
    set_policy(&s, &w, 1);
    append(&s, s.db, "one");
    snprintf(old, sizeof old, "%s/old.db", s.folder);
    copy_file(old, s.db);
    append(&s, s.db, "two");
    must(ask(&s, s.db));
    copy_file(s.db, old);
    struct service *service;
    const struct service_config config = {
        .db = s.db, .signer = &s.w.log, .witnesses = &s.witnesses, .listen = ":0"};
    assert_int_equal(service_open(&service, &config).code, ERR_UNTRUE);
    assert_non_null(
        strstr(err_message(), "has only 1 entries: an older copy was put in its place"));
    /* not even after it has grown past what the witness knows */
    append(&s, s.db, "another two");
    append(&s, s.db, "another three");
    assert_int_equal(service_open(&service, &config).code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "another history"));
    stop_witness(&w, SIGTERM);
    scene_start(&s);
    scene_end(&s, 3);
}

static int post_raw(struct peer *w, struct buf *answer, struct bytes body)
{
    struct url url;
    struct connection *c;
    const struct connection_limits limits = {10, 10, 10};
    ANSWER_AUTO got = ANSWER_INIT;
    const struct request request = {"/add-checkpoint", "text/plain", body, 65536};
    must(url_parse(&url, w->url));
    must(connection_open(&c, &url, &limits));
    must(connection_request(c, &got, &request));
    connection_close(c);
    buf_append_bytes(answer, buf_bytes(&got.body));
    return got.status;
}

static void a_witness_that_was_killed_remembers_what_it_cosigned(void **state)
{
    (void)state;
    struct scene s;
    struct peer w;
    scene_make(&s);
    make_witness(&s, &w, 0);
    set_policy(&s, &w, 1);
    append(&s, s.db, "one");
    must(ask(&s, s.db));
    stop_witness(&w, SIGKILL);
    start_witness(&s, &w);
    struct store *log;
    BUF_AUTO body = BUF_INIT;
    BUF_AUTO answer = BUF_INIT;
    must(store_open_readonly(&log, s.db));
    buf_append_str(&body, "old 0\n\n");
    must(store_checkpoint(log, &body, NULL));
    store_close(log);
    assert_int_equal(post_raw(&w, &answer, buf_bytes(&body)), 409);
    assert_string_equal(buf_str(&answer), "1\n");
    buf_clear(&answer);
    assert_int_equal(post_raw(&w, &answer, bytes_of_str("nonsense")), 400);
    stop_witness(&w, SIGTERM);
    scene_start(&s);
    scene_end(&s, 1);
}

static void an_activator_signs_for_the_tpm_that_answered(void **state)
{
    (void)state;
    struct scene s;
    struct peer w;
    char session[65];
    const struct connection_limits limits = {10, 10, 10};
    scene_make(&s);
    make_witness(&s, &w, 0);
    must(url_parse(&s.url, w.url));
    must(connection_open(&s.c, &s.url, &limits));
    s.prefix = "/activation";
    assert_int_equal(scene_session_as(&s, session, 0, 1, NULL), 422); /* another TPM */
    assert_int_equal(scene_session_as(&s, session, 0, 0, NULL), 200);
    static struct note note;
    struct activation a;
    must(note_parse(&note, buf_bytes(&s.last_answer)));
    must(note_verify(&note, &s.w.activator.key));
    must(activation_parse(&a, note.text));
    assert_string_equal(a.origin, s.policy.log.name);
    assert_memory_equal(a.ak_name.bytes, s.w.hosts[0].ak_name.bytes, a.ak_name.len);
    connection_close(s.c);
    stop_witness(&w, SIGTERM);
    scene_start(&s);
    scene_end(&s, 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_the_quorum_of_two_witnesses),
        cmocka_unit_test(a_kill_between_commit_and_quorum_loses_nothing),
        cmocka_unit_test(without_the_quorum_an_answer_says_so_and_the_proof_comes_later),
        cmocka_unit_test(of_two_simultaneous_publishers_of_one_log_exactly_one_wins),
        cmocka_unit_test(a_log_that_was_put_back_is_not_served),
        cmocka_unit_test(a_witness_that_was_killed_remembers_what_it_cosigned),
        cmocka_unit_test(an_activator_signs_for_the_tpm_that_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
