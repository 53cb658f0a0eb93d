/* What an auditor may be handed: files damaged by chance, and files made to deceive. Either what is
 * read is what was logged, or there is an error that names the place. */
#include "store_fixture.h"

/* Writes the file anew with byte `at` changed by `mask`. */
static void flip(const char *to, const struct buf *original, size_t at, uint8_t mask)
{
    original->data[at] ^= mask;
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(original->data, 1, original->len, f), original->len);
    fclose(f);
    original->data[at] ^= mask;
}

/* Everything that the log says, as one text. */
static struct err read_all(struct buf *out, const char *path)
{
    struct store *s;
    TRY(store_open_readonly(&s, path));
    struct err e = store_fsck(s, &signer.key, NULL, NULL);
    struct checkpoint c = {.size = 0};
    if (!is_err(e))
        e = store_checkpoint(s, out, &c);
    for (uint64_t i = 0; i < c.size && !is_err(e); i++)
        e = store_entry_read(s, i, out);
    for (uint64_t i = 0; i < c.size && !is_err(e); i += 2) {
        uint8_t name[SHA256_LEN];
        char text[32];
        snprintf(text, sizeof text, "blob %llu", (unsigned long long)i / 2);
        sha256(name, bytes_of_str(text));
        e = store_blob_read(s, name, out);
    }
    for (uint64_t i = 0; i <= c.size && !is_err(e); i++)
        e = store_checkpoint_at(s, i, out);
    struct merkle_proof p = {.n_hashes = 0};
    if (!is_err(e))
        e = store_prove_consistency(s, &p, 5, c.size);
    buf_append(out, p.hashes, p.n_hashes * SHA256_LEN);
    store_close(s);
    return e;
}

static void no_flipped_byte_is_ever_read_as_other_content(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 12);
    store_close(s);
    BUF_AUTO original = BUF_INIT;
    assert_ok(file_read(&original, log_path, 1 << 24));
    char path[128];
    strcpy(path, fixture_path("damaged.db"));
    fixture_copy(path, log_path);
    BUF_AUTO wanted = BUF_INIT;
    assert_ok(read_all(&wanted, path));
    srand(20);
    unsigned n_found = 0, n_harmless = 0;
    for (int i = 0; i < 340; i++) {
        /* Every second one in the header or the first page's cells, where each byte counts. */
        size_t at = i < 40 ? (size_t)i * 3 : (size_t)rand() % original.len;
        flip(path, &original, at, (uint8_t)(i % 3 == 0 ? 1 << rand() % 8 : 1 + rand() % 255));
        BUF_AUTO got = BUF_INIT;
        if (is_err(read_all(&got, path)))
            n_found++;
        else if (bytes_equal(buf_bytes(&got), buf_bytes(&wanted)))
            n_harmless++;
        else
            fail_msg("byte %zu of %zu changed and the log reads differently", at, original.len);
    }
    assert_true(n_found > 60); /* the file is not mostly padding, so many must be found */
    printf("%u flips found, %u without meaning\n", n_found, n_harmless);
}

static void no_cut_file_is_read_as_a_shorter_log(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 12);
    store_close(s);
    BUF_AUTO original = BUF_INIT;
    assert_ok(file_read(&original, log_path, 1 << 24));
    const char *path = fixture_path("damaged.db");
    for (size_t len = 0; len < original.len; len += 2048) {
        BUF_AUTO got = BUF_INIT;
        assert_ok(file_write_durable(path, bytes_of(original.data, len), 0644));
        assert_true(is_err(read_all(&got, path)));
    }
}

/* A log of 8 entries, changed by `sql` without triggers, then opened and checked. */
static struct err check_after(const char *sql)
{
    char path[128];
    strcpy(path, fixture_path("hostile.db"));
    unlink(path);
    fixture_copy(path, log_path);
    if (fixture_sql(path, sql, false) != SQLITE_OK)
        fail_msg("cannot run %s", sql);
    struct store *s;
    TRY(store_open_readonly(&s, path));
    struct err e = store_fsck(s, &signer.key, NULL, NULL);
    store_close(s);
    return e;
}

static void make_log_of(uint64_t n)
{
    struct store *s = fixture_open();
    fixture_fill(s, 0, n);
    store_close(s);
    assert_int_equal(fixture_sql(log_path, "PRAGMA journal_mode=DELETE", false), SQLITE_OK);
}

static void make_log(void)
{
    make_log_of(8);
}

enum { MORE_THAN_A_TILE = 258 };

/* A change, and what the auditor is told of it. */
static const struct change {
    const char *sql, *told;
} changes[] = {
    {"UPDATE entry SET bytes = x'00' WHERE idx = 7", "checkpoint 8: the entries' root is"},
    {"UPDATE entry SET bytes = CAST(bytes || ' ' AS BLOB) WHERE idx = 0",
     "checkpoint 1: the entries' root is"},
    {"INSERT INTO tile VALUES (0, 0, zeroblob(32), zeroblob(16320))", "1 tiles are stored"},
    {"INSERT INTO tile VALUES (6, 9, zeroblob(32), zeroblob(16320))", "1 tiles are stored"},
    {"DELETE FROM entry WHERE idx = 3", "entry 3 is missing"},
    {"DELETE FROM entry WHERE idx = 7", "checkpoint 8, but the log has 7 entries"},
    {"INSERT INTO entry VALUES (8, x'00')", "entry 8 is under no checkpoint"},
    {"DELETE FROM checkpoint WHERE size = 8", "entry 7 is under no checkpoint"},
    {"DELETE FROM checkpoint WHERE size = 0", "the checkpoint of the empty log is missing"},
    {"UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 4) WHERE size = 5",
     "checkpoint 5 is signed for size 4"},
    {"UPDATE checkpoint SET note = CAST(note || char(10) AS BLOB) WHERE size = 5", "checkpoint 5"},
    {"UPDATE checkpoint SET note = x'00' WHERE size = 5", "checkpoint 5"},
    {"UPDATE checkpoint SET note = CAST(note || '\xe2\x80\x94 other AAAAAAA=' || char(10) AS "
     "BLOB) "
     "WHERE size = 5",
     "checkpoint 5 holds more than the log signs"},
    {"UPDATE checkpoint SET size = 9 WHERE size = 8", "checkpoint 9 is signed for size 8"},
    {"UPDATE blob SET bytes = x'00' WHERE bytes = CAST('blob 2' AS BLOB)", ": its bytes hash to"},
    {"UPDATE blob SET sha256 = zeroblob(32) WHERE bytes = CAST('blob 2' AS BLOB)", "blob 00000000"},
    {"UPDATE meta SET origin = 'example.org/log2'", "its origin is not its key's name"},
    {"UPDATE meta SET vkey = 'x'", "the log's key"},
    {"DELETE FROM meta", "whose it is"},
    {"DELETE FROM checkpoint", "the log has no checkpoint"},
};

/* The same where a tile is full. */
static const struct change changes_of_tiles[] = {
    {"UPDATE entry SET bytes = x'00' WHERE idx = 255", "entry 255 hashes to"},
    {"UPDATE entry SET bytes = x'00' WHERE idx = 256", "checkpoint 257: the entries' root is"},
    {"UPDATE tile SET hashes = zeroblob(16320)", "its tile says 0000"},
    {"UPDATE tile SET hashes = CAST(substr(hashes, 1, 96) || zeroblob(16224) AS BLOB)",
     "entry 3 hashes to"},
    {"UPDATE tile SET hashes = CAST(substr(hashes, 1, 16288) || zeroblob(32) AS BLOB)",
     "tile 0 of level 0 holds other hashes"},
    {"UPDATE tile SET root = zeroblob(32)", "tile 0 of level 0 holds other hashes"},
    {"UPDATE tile SET idx = 1", "tile 0 of level 0 is missing"},
    {"UPDATE tile SET level = 1", "tile 0 of level 0 is missing"},
    {"DELETE FROM tile", "tile 0 of level 0 is missing"},
    {"INSERT INTO tile SELECT 0, 1, root, hashes FROM tile", "2 tiles are stored"},
};

static void find_each(const struct change *all, size_t n)
{
    assert_ok(check_after("SELECT 1"));
    for (size_t i = 0; i < n; i++) {
        struct err e = check_after(all[i].sql);
        if (!is_err(e) || strstr(err_message(), all[i].told) == NULL)
            fail_msg("%s: %s", all[i].sql, is_err(e) ? err_message() : "is accepted");
    }
}

static void every_changed_row_is_named(void **state)
{
    (void)state;
    make_log();
    find_each(changes, sizeof changes / sizeof changes[0]);
}

static void every_change_of_a_full_tile_is_named(void **state)
{
    (void)state;
    make_log_of(MORE_THAN_A_TILE);
    find_each(changes_of_tiles, sizeof changes_of_tiles / sizeof changes_of_tiles[0]);
}

static void a_changed_row_is_not_read_even_unchecked(void **state)
{
    (void)state;
    make_log();
    assert_int_equal(fixture_sql(log_path,
                                 "UPDATE entry SET bytes = x'00' WHERE idx = 3;"
                                 "UPDATE blob SET bytes = x'00'",
                                 false),
                     SQLITE_OK);
    struct store *s;
    BUF_AUTO out = BUF_INIT;
    uint8_t name[SHA256_LEN];
    sha256(name, bytes_of_str("blob 1"));
    assert_ok(store_open_readonly(&s, log_path));
    struct merkle_proof p;
    assert_refused(store_entry_read(s, 3, &out), ERR_UNTRUE, "not the one its newest");
    assert_refused(store_entry_read(s, 4, &out), ERR_UNTRUE, "not the one its newest");
    assert_refused(store_prove_inclusion(s, &p, 4, 8), ERR_UNTRUE, "not the one its newest");
    assert_refused(store_blob_read(s, name, &out), ERR_UNTRUE, "other bytes");
    assert_int_equal(store_tile(s, &(struct tile){TILE_LEVEL_ENTRIES, 0, 4}, &out).code,
                     ERR_UNTRUE);
    assert_int_equal(out.len, 0);
    store_close(s);
}

static void a_changed_entry_of_a_full_tile_alone_is_not_read(void **state)
{
    (void)state;
    make_log_of(MORE_THAN_A_TILE);
    assert_int_equal(fixture_sql(log_path, "UPDATE entry SET bytes = x'00' WHERE idx = 3", false),
                     SQLITE_OK);
    struct store *s;
    BUF_AUTO out = BUF_INIT;
    assert_ok(store_open_readonly(&s, log_path));
    assert_refused(store_entry_read(s, 3, &out), ERR_UNTRUE, "entry 3 is not the one");
    assert_refused(store_tile(s, &(struct tile){TILE_LEVEL_ENTRIES, 0, 256}, &out), ERR_UNTRUE,
                   "entry 3 is not the one");
    assert_int_equal(out.len, 0);
    assert_ok(store_entry_read(s, 4, &out));
    assert_ok(store_entry_read(s, 257, &out));
    store_close(s);
}

/* The first key that divides the pages of the entries' tree; its lookups go by it, a scan does not.
 */
static uint8_t *first_divider(struct buf *file)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open(log_path, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_schema WHERE name = 'entry'", -1, &st,
                       NULL);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    size_t root = (size_t)sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    uint8_t *page = file->data + (root - 1) * 4096;
    assert_int_equal(page[0], 5); /* an interior page of a table */
    return page + (page[12] << 8 | page[13]) + 4;
}

static void damage_that_only_hides_rows_is_found(void **state)
{
    (void)state;
    struct store_entry entries[400];
    for (size_t i = 0; i < 400; i++)
        entries[i] = (struct store_entry){.bytes = bytes_of(log_path, 40)};
    struct store *s = fixture_open();
    uint64_t index;
    assert_ok(store_append(s, &index, entries, 400));
    store_close(s);
    assert_int_equal(fixture_sql(log_path, "PRAGMA journal_mode=DELETE", false), SQLITE_OK);
    BUF_AUTO file = BUF_INIT;
    BUF_AUTO out = BUF_INIT;
    assert_ok(file_read(&file, log_path, 1 << 24));
    uint8_t *divider = first_divider(&file);
    size_t hidden = *divider;
    assert_true(hidden > 1 && hidden < 128); /* a number of one byte */
    (*divider)--;
    char path[128];
    strcpy(path, fixture_path("hiding.db"));
    assert_ok(file_write_durable(path, buf_bytes(&file), 0644));
    assert_ok(store_open_readonly(&s, path));
    assert_int_equal(store_entry_read(s, hidden, &out).code, ERR_NOT_FOUND);
    assert_refused(store_fsck(s, &signer.key, NULL, NULL), ERR_MALFORMED, "structure is damaged");
    store_close(s);
}

static void a_history_rewritten_without_the_key_is_refused(void **state)
{
    (void)state;
    make_log();
    struct note_signer forger;
    uint8_t seed[ED25519_SEED_LEN] = {44};
    assert_ok(note_signer_init(&forger, "example.org/log", NOTE_ED25519, seed));
    const char *path = fixture_path("forged.db");
    assert_ok(store_create(path, &forger));
    struct store *s;
    assert_ok(store_open(&s, path, &forger));
    fixture_fill(s, 0, 8);
    store_close(s);
    assert_ok(store_open_readonly(&s, path)); /* it is a log, but of another key */
    assert_ok(store_fsck(s, &forger.key, NULL, NULL));
    assert_refused(store_fsck(s, &signer.key, NULL, NULL), ERR_UNTRUE, "not of the key");
    store_close(s);
}

static void a_schema_that_is_not_exactly_ours_is_refused(void **state)
{
    (void)state;
    make_log();
    const char *bad[] = {
        "CREATE TABLE more (a)",
        "CREATE INDEX i ON entry (bytes)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON entry BEGIN SELECT 1; END",
        "CREATE TEMP TABLE t (a); DROP TRIGGER entry_guard",
        "ALTER TABLE entry ADD COLUMN more BLOB",
        "ALTER TABLE entry RENAME COLUMN bytes TO octets",
        "DROP TABLE blob",
        "DROP TABLE blob; CREATE VIEW blob AS SELECT x'00' AS sha256, x'00' AS bytes",
        "ANALYZE",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'entry'",
        ("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (idx >= "
         "0)', "
         "'CHECK (abs(idx))') WHERE name = 'entry'"),
        ("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM "
         "sqlite_schema WHERE name = 'entry') WHERE name = 'checkpoint'"),
        "PRAGMA application_id=1",
        "PRAGMA user_version=2",
        "PRAGMA user_version=4",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = check_after(bad[i]);
        if (e.code != ERR_MALFORMED && e.code != ERR_UNSUPPORTED)
            fail_msg("%s: %s", bad[i], is_err(e) ? err_message() : "is accepted");
    }
}

/* Bytes of another type than bytes: only a damaged file can hold them, as the schema is STRICT. */
static void a_text_in_place_of_bytes_is_malformed(void **state)
{
    (void)state;
    make_log();
    BUF_AUTO data = BUF_INIT;
    char path[128];
    strcpy(path, fixture_path("typed.db"));
    assert_ok(file_read(&data, log_path, 1 << 24));
    BUF_AUTO entry = BUF_INIT;
    fixture_entry(&entry, 0); /* "entry 0 ": 8 bytes, its type code 12 + 2 * 8 just before it */
    uint8_t *at = memmem(data.data, data.len, entry.data, entry.len);
    assert_non_null(at);
    assert_int_equal(at[-1], 12 + 2 * 8);
    at[-1]++; /* the same bytes as a text */
    assert_ok(file_write_durable(path, buf_bytes(&data), 0644));
    struct store *s;
    BUF_AUTO out = BUF_INIT;
    assert_ok(store_open_readonly(&s, path));
    assert_int_equal(store_entry_read(s, 0, &out).code, ERR_MALFORMED);
    assert_int_equal(store_fsck(s, &signer.key, NULL, NULL).code, ERR_MALFORMED);
    store_close(s);
}

static void a_writer_refuses_a_damaged_right_edge(void **state)
{
    (void)state;
    const char *bad[] = {
        "UPDATE entry SET bytes = x'00' WHERE idx = 257",
        "UPDATE entry SET bytes = x'00' WHERE idx = 254",
        "UPDATE tile SET root = zeroblob(32)",
        "UPDATE tile SET hashes = zeroblob(16320)",
        "INSERT INTO entry VALUES (258, x'00')",
        "DELETE FROM checkpoint WHERE size = 258",
        "DELETE FROM entry WHERE idx = 257",
        "DELETE FROM tile",
    };
    make_log_of(MORE_THAN_A_TILE);
    char path[128];
    strcpy(path, fixture_path("hostile.db"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct store *s = NULL;
        unlink(path);
        fixture_copy(path, log_path);
        assert_int_equal(fixture_sql(path, bad[i], false), SQLITE_OK);
        if (!is_err(store_open(&s, path, &signer)))
            fail_msg("opened for writing after %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_flipped_byte_is_ever_read_as_other_content),
        TEST(no_cut_file_is_read_as_a_shorter_log),
        TEST(every_changed_row_is_named),
        TEST(every_change_of_a_full_tile_is_named),
        TEST(a_changed_row_is_not_read_even_unchecked),
        TEST(a_changed_entry_of_a_full_tile_alone_is_not_read),
        TEST(damage_that_only_hides_rows_is_found),
        TEST(a_history_rewritten_without_the_key_is_refused),
        TEST(a_schema_that_is_not_exactly_ours_is_refused),
        TEST(a_text_in_place_of_bytes_is_malformed),
        TEST(a_writer_refuses_a_damaged_right_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
