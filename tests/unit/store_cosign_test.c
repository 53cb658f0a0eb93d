/* Cosignatures in the log's file: only what verifies is kept, the newest checkpoint with a quorum
 * is found, an auditor sees each spoilt bit, and a log of format 1 is read as it is and written
 * as 2. */
#include "store_fixture.h"

static struct note_signer witnesses[3];

static int setup(void **state)
{
    fixture_setup(state);
    for (uint8_t i = 0; i < 3; i++) {
        uint8_t seed[ED25519_SEED_LEN] = {(uint8_t)(i + 1), 77};
        char name[32];
        snprintf(name, sizeof name, "witness.example/%u", i);
        assert_ok(note_signer_init(&witnesses[i], name, NOTE_COSIGNATURE, seed));
    }
    return 0;
}

static void append(struct store *s, const char *text)
{
    uint64_t index;
    struct store_entry entry = {.bytes = bytes_of_str(text)};
    assert_ok(store_append(s, &index, &entry, 1));
}

/* A witness's line over the checkpoint of that size. */
static void line_of(struct buf *line, struct store *s, uint64_t size, unsigned witness)
{
    static struct note note;
    BUF_AUTO text = BUF_INIT;
    assert_ok(store_checkpoint_at(s, size, &text));
    assert_ok(note_parse(&note, buf_bytes(&text)));
    assert_ok(note_cosign(line, note.text, &witnesses[witness], 1000 + witness));
}

static void cosign(struct store *s, uint64_t size, unsigned witness)
{
    BUF_AUTO line = BUF_INIT;
    line_of(&line, s, size, witness);
    assert_ok(store_add_cosignature(s, size, &witnesses[witness].key, buf_bytes(&line)));
}

static void policy_of(struct tlog_policy *p, const char *quorum)
{
    BUF_AUTO text = BUF_INIT;
    for (unsigned i = 0; i < 3; i++) {
        buf_printf(&text, "witness w%u ", i);
        note_vkey_format(&text, &witnesses[i].key);
        buf_append_str(&text, "\n");
    }
    buf_append_str(&text, quorum);
    assert_ok(tlog_policy_parse(p, buf_bytes(&text)));
}

static void a_cosignature_is_kept_and_served_behind_its_checkpoint(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    append(s, "one");
    cosign(s, 1, 0);
    cosign(s, 1, 2);
    cosign(s, 1, 0); /* a second of one witness is no error */
    store_close(s);
    s = fixture_open();
    BUF_AUTO note = BUF_INIT;
    BUF_AUTO bare = BUF_INIT;
    assert_ok(store_cosigned(s, 1, &note));
    assert_ok(store_checkpoint(s, &bare, NULL));
    static struct note parsed;
    assert_ok(note_parse(&parsed, buf_bytes(&note)));
    assert_int_equal(parsed.n_signatures, 3);
    assert_memory_equal(note.data, bare.data, bare.len);
    uint64_t time_s;
    assert_ok(note_verify_cosignature(&parsed, &witnesses[2].key, &time_s));
    assert_int_equal(time_s, 1002);
    assert_refused(note_verify_cosignature(&parsed, &witnesses[1].key, &time_s), ERR_NOT_FOUND, "");
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
}

static void what_does_not_verify_is_not_kept(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    append(s, "one");
    append(s, "two");
    BUF_AUTO line = BUF_INIT;
    line_of(&line, s, 1, 0);
    struct bytes good = buf_bytes(&line);
    const struct note_key *key = &witnesses[0].key;
    assert_refused(store_add_cosignature(s, 2, key, good), ERR_UNTRUE, "does not verify");
    assert_refused(store_add_cosignature(s, 3, key, good), ERR_NOT_FOUND, "no checkpoint");
    assert_refused(store_add_cosignature(s, 1, &witnesses[1].key, good), ERR_UNTRUE, "");
    BUF_AUTO two = BUF_INIT;
    buf_append_bytes(&two, good);
    buf_append_bytes(&two, good);
    assert_refused(store_add_cosignature(s, 1, key, buf_bytes(&two)), ERR_MALFORMED, "one line");
    assert_refused(store_add_cosignature(s, 1, key, bytes_of_str("")), ERR_MALFORMED, "");
    for (size_t bit = 0; bit < line.len * 8; bit++) {
        line.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(is_err(store_add_cosignature(s, 1, key, good)));
        line.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_ok(store_add_cosignature(s, 1, key, good)); /* no refusal was final */
    append(s, "three");
    store_close(s);
}

static void the_newest_checkpoint_with_a_quorum_is_found(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    TLOG_POLICY_AUTO two = TLOG_POLICY_INIT;
    TLOG_POLICY_AUTO none = TLOG_POLICY_INIT;
    policy_of(&two, "group g 2 w0 w1 w2\nquorum g\n");
    policy_of(&none, "quorum none\n");
    struct checkpoint c;
    for (int i = 0; i < 4; i++)
        append(s, "entry");
    assert_refused(store_witnessed(s, &two, NULL, &c), ERR_NOT_FOUND, "quorum");
    assert_ok(store_witnessed(s, &none, NULL, &c));
    assert_int_equal(c.size, 4);
    cosign(s, 1, 0);
    cosign(s, 1, 1);
    cosign(s, 3, 0);
    cosign(s, 4, 1);
    assert_ok(store_witnessed(s, &two, NULL, &c));
    assert_int_equal(c.size, 1);
    cosign(s, 3, 2);
    BUF_AUTO note = BUF_INIT;
    assert_ok(store_witnessed(s, &two, &note, &c));
    assert_int_equal(c.size, 3);
    BUF_AUTO same = BUF_INIT;
    assert_ok(store_cosigned(s, 3, &same));
    assert_string_equal(buf_str(&note), buf_str(&same));
    cosign(s, 4, 0);
    assert_ok(store_witnessed(s, &two, NULL, &c));
    assert_int_equal(c.size, 4);
    store_close(s);
}

/* As an operator could: triggers are no proof. */
static void raw(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(log_path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void an_auditor_sees_a_spoilt_cosignature(void **state)
{
    (void)state;
    static const char *const spoils[] = {
        "UPDATE cosignature SET line = CAST(replace(line, 'example/0', 'example/1') AS BLOB)",
        "UPDATE cosignature SET line = CAST(line || line AS BLOB)",
        "UPDATE cosignature SET public = randomblob(32)",
        "UPDATE cosignature SET size = 1",
        "UPDATE cosignature SET size = 9",
        "UPDATE cosignature SET line = randomblob(100)",
    };
    for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++) {
        if (i > 0)
            setup(NULL);
        struct store *s = fixture_open();
        append(s, "one");
        append(s, "two");
        cosign(s, 2, 0);
        assert_ok(store_fsck(s, &signer.key, NULL, NULL));
        store_close(s);
        raw(spoils[i]);
        assert_ok(store_open_readonly(&s, log_path));
        struct err e = store_fsck(s, &signer.key, NULL, NULL);
        if (e.code != ERR_UNTRUE && e.code != ERR_MALFORMED)
            fail_msg("%s: passed", spoils[i]);
        assert_non_null(strstr(err_message(), "cosignature of checkpoint"));
        store_close(s);
        if (i + 1 < sizeof spoils / sizeof *spoils)
            fixture_teardown(NULL);
    }
}

/* Anybody's keys make lines that verify: a hostile file holds as many as it likes. */
static void more_cosignatures_than_a_note_holds_are_refused(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    BUF_AUTO note = BUF_INIT;
    append(s, "one");
    store_close(s);
    raw("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100) "
        "INSERT INTO cosignature SELECT 1, randomblob(32), randomblob(1024) FROM n");
    assert_ok(store_open_readonly(&s, log_path));
    assert_refused(store_cosigned(s, 1, &note), ERR_LIMIT, "cosignatures");
    assert_int_equal(note.len, 0);
    store_close(s);
}

static void the_schema_keeps_cosignatures_as_they_are(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "UPDATE cosignature SET size = 0",
        "DELETE FROM cosignature",
        "INSERT OR REPLACE INTO cosignature SELECT size, public, randomblob(9) FROM cosignature",
        "INSERT INTO cosignature VALUES (7, randomblob(32), randomblob(9))",
        "INSERT INTO cosignature VALUES (1, randomblob(31), randomblob(9))",
    };
    struct store *s = fixture_open();
    append(s, "one");
    cosign(s, 1, 0);
    store_close(s);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        sqlite3 *db;
        assert_int_equal(sqlite3_open(log_path, &db), SQLITE_OK);
        assert_int_not_equal(sqlite3_exec(db, refused[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
    }
}

int main(void)
{
#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_cosignature_is_kept_and_served_behind_its_checkpoint),
        TEST(what_does_not_verify_is_not_kept),
        TEST(the_newest_checkpoint_with_a_quorum_is_found),
        TEST(an_auditor_sees_a_spoilt_cosignature),
        TEST(more_cosignatures_than_a_note_holds_are_refused),
        TEST(the_schema_keeps_cosignatures_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
