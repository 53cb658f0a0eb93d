/* A log asks a witness: whatever the witness answers, or the network does to it, the log takes a
 * line that verifies or none, asks once more after a 409, and knows an alarm from bad luck. */
#include "store_fixture.h"

#include "publish/witness_client.h"
#include "transparency/witness_db.h"

/* What a scripted witness does with one request. */
struct step {
    bool real;        /* judged by a true witness first */
    const char *body; /* in place of its answer */
    int status;
    enum err_code fails; /* the answer is lost */
};

struct script {
    struct witness_db *db;
    const struct step *steps;
    size_t n, at;
};

static struct note_signer cosigner;
static struct tlog_policy_witness witness;

static struct err play(void *context, int *status, struct buf *answer, struct bytes body)
{
    struct script *s = context;
    assert_true(s->at < s->n);
    const struct step *step = &s->steps[s->at++];
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    if (step->real)
        assert_ok(witness_db_add_checkpoint(s->db, &reply, body, 1700000000));
    if (step->fails != ERR_NONE)
        return err_set(step->fails, "the network broke");
    *status = step->status != 0 ? step->status : (int)reply.status;
    if (step->body != NULL)
        buf_append_str(answer, step->body);
    else
        buf_append_bytes(answer, buf_bytes(&reply.body));
    return err_ok();
}

struct scene {
    struct store *log;
    struct witness_client client;
    struct script script;
    char path[120];
};

static void open_scene(struct scene *s, const struct step *steps, size_t n)
{
    struct witness_log known = {.key = signer.key};
    uint8_t seed[ED25519_SEED_LEN] = {9};
    memset(s, 0, sizeof *s);
    memcpy(known.origin, signer.key.name, sizeof known.origin);
    assert_ok(note_signer_init(&cosigner, "witness.example", NOTE_COSIGNATURE, seed));
    witness = (struct tlog_policy_witness){.key = cosigner.key, .name = "w"};
    snprintf(s->path, sizeof s->path, "%s/witness.db", folder);
    assert_ok(witness_db_create(s->path));
    assert_ok(witness_db_open(&s->script.db, s->path, &cosigner, &known, 1));
    s->log = fixture_open();
    fixture_fill(s->log, 0, 3);
    s->client = (struct witness_client){.log = s->log, .witness = &witness};
    s->script.steps = steps;
    s->script.n = n;
}

/* Every step of the script was asked for. */
static void close_scene(struct scene *s)
{
    assert_int_equal(s->script.at, s->script.n);
    witness_db_close(s->script.db);
    store_close(s->log);
}

static struct err ask(struct scene *s)
{
    struct witness_line line = {0};
    struct err e = witness_client_ask(&s->client, &line, play, &s->script);
    if (!is_err(e)) {
        struct checkpoint c;
        assert_ok(store_checkpoint(s->log, NULL, &c));
        assert_int_equal(line.size, c.size);
        assert_ok(store_add_cosignature(s->log, line.size, &witness.key, buf_bytes(&line.line)));
    }
    buf_cleanup(&line.line);
    return e;
}

#define SCENE(s, ...)                                                                              \
    static const struct step steps[] = {__VA_ARGS__};                                              \
    struct scene s;                                                                                \
    open_scene(&s, steps, sizeof steps / sizeof *steps)
#define REAL                                                                                       \
    {                                                                                              \
        .real = true                                                                               \
    }

static void a_growing_log_is_cosigned_at_each_size(void **state)
{
    (void)state;
    SCENE(s, REAL, REAL, REAL);
    assert_ok(ask(&s));
    fixture_fill(s.log, 3, 4);
    assert_ok(ask(&s));
    fixture_fill(s.log, 4, 9);
    assert_ok(ask(&s));
    close_scene(&s);
}

static void a_409_is_answered_once_with_a_proof_from_the_told_size(void **state)
{
    (void)state;
    SCENE(s, REAL, REAL, REAL, {.status = 409, .body = "3\n"}, {.status = 409, .body = "3\n"});
    assert_ok(ask(&s));
    fixture_fill(s.log, 3, 5);
    s.client.known_size = 0; /* a new start */
    assert_ok(ask(&s));      /* 409, then 200 */
    assert_refused(ask(&s), ERR_BUSY, "409 twice");
    close_scene(&s);
}

static void an_answer_that_was_lost_after_it_was_kept_is_asked_for_again(void **state)
{
    (void)state;
    SCENE(s, {.fails = ERR_IO}, {.real = true, .fails = ERR_IO}, REAL, REAL);
    assert_refused(ask(&s), ERR_IO, "network");
    assert_refused(ask(&s), ERR_IO, "network"); /* the witness has kept it */
    assert_ok(ask(&s));                         /* 409 3, then 200 from 3 to 3 */
    close_scene(&s);
}

static void a_witness_that_knows_a_larger_log_raises_an_alarm(void **state)
{
    (void)state;
    SCENE(s, {.status = 409, .body = "4\n"}, {.status = 409, .body = ""},
          {.status = 409, .body = "3"}, {.status = 409, .body = "3\n\n"},
          {.status = 409, .body = "03\n"}, {.status = 422, .body = "no\n"});
    assert_refused(ask(&s), ERR_UNTRUE, "older copy");
    for (int i = 0; i < 4; i++)
        assert_refused(ask(&s), ERR_UNTRUE, "another history");
    assert_refused(ask(&s), ERR_UNTRUE, "another history");
    close_scene(&s);
}

static void a_200_without_a_line_that_verifies_is_a_failure(void **state)
{
    (void)state;
    SCENE(s, {.status = 200, .body = ""}, {.status = 200, .body = "ok\n"},
          {.status = 200, .body = "\xe2\x80\x94 witness.example AAAAAAAA\n"},
          {.status = 200, .body = "\xe2\x80\x94 somebody.else AAAAAAAA\n"}, REAL);
    for (int i = 0; i < 4; i++)
        assert_refused(ask(&s), ERR_MALFORMED, "it says 200, but");
    assert_ok(ask(&s));
    close_scene(&s);
}

static void lines_of_other_keys_are_passed_over(void **state)
{
    (void)state;
    static const char other[] = "\xe2\x80\x94 another.example AAAAAAAA\n";
    static char both[1024];
    static struct step steps[] = {{.status = 200, .body = both}};
    struct scene s;
    open_scene(&s, steps, 1);
    static struct note note;
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO line = BUF_INIT;
    assert_ok(store_checkpoint(s.log, &text, NULL));
    assert_ok(note_parse(&note, buf_bytes(&text)));
    buf_append_str(&line, other);
    assert_ok(note_cosign(&line, note.text, &cosigner, 5));
    snprintf(both, sizeof both, "%s", buf_str(&line));
    assert_ok(ask(&s));
    close_scene(&s);
}

static void a_line_over_another_checkpoint_is_no_cosignature(void **state)
{
    (void)state;
    static char body[1024];
    static struct step steps[] = {{.status = 200, .body = body}};
    struct scene s;
    open_scene(&s, steps, 1);
    static struct note note;
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO line = BUF_INIT;
    assert_ok(store_checkpoint_at(s.log, 2, &text));
    assert_ok(note_parse(&note, buf_bytes(&text)));
    assert_ok(note_cosign(&line, note.text, &cosigner, 5));
    snprintf(body, sizeof body, "%s", buf_str(&line));
    assert_refused(ask(&s), ERR_MALFORMED, "does not verify");
    close_scene(&s);
}

/* An empty line in the answer would make the checkpoint's signature a part of the text. */
static void a_line_over_a_longer_text_is_no_cosignature(void **state)
{
    (void)state;
    static char body[1024];
    static struct step steps[] = {{.status = 200, .body = body}};
    struct scene s;
    open_scene(&s, steps, 1);
    BUF_AUTO whole = BUF_INIT;
    BUF_AUTO line = BUF_INIT;
    assert_ok(store_checkpoint(s.log, &whole, NULL));
    buf_append_str(&line, "\n");
    assert_ok(note_cosign(&line, buf_bytes(&whole), &cosigner, 5));
    snprintf(body, sizeof body, "%s", buf_str(&line));
    assert_refused(ask(&s), ERR_MALFORMED, "it says 200, but");
    close_scene(&s);
}

static void other_answers_are_failures_to_try_again_after(void **state)
{
    (void)state;
    SCENE(s, {.status = 403}, {.status = 404}, {.status = 500, .body = "\x1b[31m"}, {.status = 429},
          {.status = 301});
    assert_refused(ask(&s), ERR_IO, "does not know this log");
    assert_refused(ask(&s), ERR_IO, "does not know this log");
    for (int i = 0; i < 3; i++)
        assert_refused(ask(&s), ERR_IO, "it answers");
    assert_null(strchr(err_message(), '\x1b'));
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_growing_log_is_cosigned_at_each_size),
        TEST(a_409_is_answered_once_with_a_proof_from_the_told_size),
        TEST(an_answer_that_was_lost_after_it_was_kept_is_asked_for_again),
        TEST(a_witness_that_knows_a_larger_log_raises_an_alarm),
        TEST(a_200_without_a_line_that_verifies_is_a_failure),
        TEST(lines_of_other_keys_are_passed_over),
        TEST(a_line_over_another_checkpoint_is_no_cosignature),
        TEST(a_line_over_a_longer_text_is_no_cosignature),
        TEST(other_answers_are_failures_to_try_again_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
