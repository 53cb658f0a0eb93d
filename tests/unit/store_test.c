/* The log on disk: what is appended is read back, provable and never changed. */
#include "store_fixture.h"

static void what_is_appended_is_read_back_and_provable(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    assert_string_equal(store_origin(s), "example.org/log");
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &signer.key);
    assert_string_equal(store_vkey(s), buf_str(&vkey));
    fixture_fill(s, 0, 40);
    assert_ok(fixture_check(s, 40));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
}

static void every_size_is_continued_after_a_restart(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 19; i++) {
        struct store *s = fixture_open();
        assert_ok(fixture_append(s, i));
        store_close(s);
    }
    struct store *s = fixture_open();
    assert_ok(fixture_check(s, 19));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    for (uint64_t old = 0; old <= 19; old++) {
        BUF_AUTO note = BUF_INIT;
        struct checkpoint a, b;
        struct merkle_proof p;
        assert_ok(store_checkpoint_at(s, old, &note));
        assert_ok(checkpoint_verify(&a, buf_bytes(&note), "example.org/log", &signer.key));
        assert_int_equal(a.size, old);
        assert_ok(store_checkpoint(s, NULL, &b));
        assert_ok(store_prove_consistency(s, &p, old, 19));
        assert_ok(merkle_verify_consistency(old, &a.root, 19, &b.root, &p));
        assert_ok(store_check_extends(s, &a));
    }
    store_close(s);
}

static void a_batch_is_one_checkpoint(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    struct store_entry entries[300];
    for (size_t i = 0; i < 300; i++)
        entries[i] = (struct store_entry){.bytes = bytes_of("0123456789", 1 + i % 10)};
    uint64_t first = 7;
    assert_ok(store_append(s, &first, entries, 300));
    assert_int_equal(first, 0);
    BUF_AUTO note = BUF_INIT;
    assert_int_equal(store_checkpoint_at(s, 299, &note).code, ERR_NOT_FOUND);
    assert_ok(store_checkpoint_at(s, 300, &note));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
}

static struct err count_visit(void *context, uint64_t index, struct bytes entry,
                              const struct merkle_hash *leaf, const uint8_t *head)
{
    uint64_t *n = context;
    assert_int_equal(index, *n);
    assert_non_null(head); /* a checkpoint an entry */
    BUF_AUTO wanted = BUF_INIT;
    fixture_entry(&wanted, index);
    assert_true(bytes_equal(entry, buf_bytes(&wanted)));
    struct merkle_hash h = merkle_leaf(entry);
    assert_true(merkle_equal(&h, leaf));
    if (++*n == 5)
        return err_set(ERR_UNTRUE, "the visitor has seen enough");
    return err_ok();
}

static void a_replay_visits_every_entry_in_order_and_stops_at_the_visitors_error(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 4);
    uint64_t n = 0;
    assert_ok(store_fsck(s, &signer.key, count_visit, &n));
    assert_int_equal(n, 4);
    fixture_fill(s, 4, 8);
    n = 0;
    assert_refused(store_fsck(s, &signer.key, count_visit, &n), ERR_UNTRUE, "seen enough");
    assert_ok(fixture_append(s, 8)); /* the store is as usable as before */
    store_close(s);
}

static void tiles_hold_the_tree_and_the_entries(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    struct store_entry entries[520];
    struct merkle_hash leaves[520];
    for (size_t i = 0; i < 520; i++) {
        entries[i] = (struct store_entry){.bytes = bytes_of("0123456789", 1 + i % 10)};
        leaves[i] = merkle_leaf(entries[i].bytes);
    }
    uint64_t first;
    assert_ok(store_append(s, &first, entries, 520));
    BUF_AUTO b = BUF_INIT;
    assert_ok(store_tile(s, &(struct tile){0, 1, 256}, &b));
    assert_int_equal(b.len, 256 * SHA256_LEN);
    assert_memory_equal(b.data, leaves + 256, b.len);
    buf_clear(&b);
    assert_ok(store_tile(s, &(struct tile){0, 2, 8}, &b));
    assert_memory_equal(b.data, leaves + 512, 8 * SHA256_LEN);
    buf_clear(&b);
    assert_ok(store_tile(s, &(struct tile){1, 0, 2}, &b));
    assert_int_equal(b.len, 2 * SHA256_LEN);
    struct merkle_hash root = merkle_root(leaves + 256, 256);
    assert_memory_equal(b.data + SHA256_LEN, &root, SHA256_LEN);
    buf_clear(&b);
    assert_ok(store_tile(s, &(struct tile){TILE_LEVEL_ENTRIES, 2, 3}, &b));
    static const uint8_t bundle[] = "\0\3"
                                    "012"
                                    "\0\4"
                                    "0123"
                                    "\0\5"
                                    "01234";
    assert_true(bytes_equal(buf_bytes(&b), bytes_of(bundle, sizeof bundle - 1)));
    const struct tile beyond[] = {{0, 2, 9},  {0, 2, 256},        {0, 3, 1},
                                  {1, 0, 3},  {2, 0, 1},          {0, 0, 0},
                                  {63, 0, 1}, {0, UINT64_MAX, 1}, {TILE_LEVEL_ENTRIES, 2, 9}};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
        assert_int_equal(store_tile(s, &beyond[i], &b).code, ERR_NOT_FOUND);
    store_close(s);
}

/* Appends of all shapes: rows go in one by one or many to a statement, subtrees are completed by
 * old and new ones. */
static void every_batch_gives_the_tree_of_its_entries(void **state)
{
    (void)state;
    static const size_t batches[] = {1, 1, 62, 63, 64, 65, 1, 127, 128, 129, 3, 400, 256, 7};
    enum { MOST = 400 };
    struct store *s = fixture_open();
    struct store_entry entries[MOST];
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    char texts[MOST][24];
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        uint64_t first, size = edge.size;
        for (size_t i = 0; i < batches[b]; i++) {
            snprintf(texts[i], sizeof texts[i], "entry %llu", (unsigned long long)(size + i));
            entries[i] = (struct store_entry){.bytes = bytes_of_str(texts[i])};
            struct merkle_hash leaf = merkle_leaf(entries[i].bytes);
            merkle_edge_append(&edge, &leaf);
        }
        assert_ok(store_append(s, &first, entries, batches[b]));
        assert_int_equal(first, size);
        struct checkpoint newest;
        struct merkle_hash root = merkle_edge_root(&edge);
        assert_ok(store_checkpoint(s, NULL, &newest));
        assert_int_equal(newest.size, edge.size);
        assert_true(merkle_equal(&newest.root, &root));
    }
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
}

/* A tile of tiles is full, and its successor has begun. */
enum { MANY = 65536 + 600 };

static void append_many(struct store *s, struct merkle_hash *leaves)
{
    struct store_entry *entries = calloc(MANY, sizeof *entries);
    char(*texts)[8] = calloc(MANY, sizeof *texts);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "%u", i);
        entries[i] = (struct store_entry){.bytes = bytes_of_str(texts[i])};
        leaves[i] = merkle_leaf(entries[i].bytes);
    }
    uint64_t index;
    assert_ok(store_append(s, &index, entries, 65000));
    assert_ok(store_append(s, &index, entries + 65000, MANY - 65000));
    free(texts);
    free(entries);
}

static void check_many(struct store *s, const struct merkle_hash *leaves)
{
    static const uint64_t sizes[] = {1, 255, 256, 257, 65000, 65535, 65536, 65537, MANY};
    struct checkpoint newest;
    struct merkle_proof p;
    assert_ok(store_checkpoint(s, NULL, &newest));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct merkle_hash root = merkle_root(leaves, sizes[i]);
        for (uint64_t at = 0; at < sizes[i]; at += 1 + sizes[i] / 37) {
            assert_ok(store_prove_inclusion(s, &p, at, sizes[i]));
            assert_ok(merkle_verify_inclusion(&leaves[at], at, sizes[i], &p, &root));
        }
        assert_ok(store_prove_consistency(s, &p, sizes[i], MANY));
        assert_ok(merkle_verify_consistency(sizes[i], &root, MANY, &newest.root, &p));
    }
    BUF_AUTO tile = BUF_INIT;
    assert_ok(store_tile(s, &(struct tile){1, 0, 256}, &tile));
    struct merkle_hash last = merkle_root(leaves + 65280, 256);
    assert_memory_equal(tile.data + 255 * SHA256_LEN, &last, SHA256_LEN);
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
}

static void a_log_goes_on_beyond_a_full_tile_of_tiles(void **state)
{
    (void)state;
    struct merkle_hash *leaves = calloc(MANY, sizeof *leaves);
    struct store *s = fixture_open();
    append_many(s, leaves);
    check_many(s, leaves);
    store_close(s);
    s = fixture_open();
    check_many(s, leaves);
    store_close(s);
    assert_ok(store_open_readonly(&s, log_path));
    check_many(s, leaves);
    store_close(s);
    free(leaves);
}

static void impossible_appends_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 3);
    uint8_t *big = calloc(1, STORE_BLOB_MAX + 1);
    struct bytes big_blob = bytes_of(big, STORE_BLOB_MAX + 1), empty_blob = {0};
    struct store_entry entry = {.bytes = bytes_of(big, STORE_ENTRY_MAX + 1)};
    uint64_t index = 99;
    assert_int_equal(store_append(s, &index, &entry, 1).code, ERR_LIMIT);
    entry.bytes.len = 0;
    assert_int_equal(store_append(s, &index, &entry, 1).code, ERR_LIMIT);
    entry = (struct store_entry){.bytes = bytes_of("x", 1), .blobs = &big_blob, .n_blobs = 1};
    assert_int_equal(store_append(s, &index, &entry, 1).code, ERR_LIMIT);
    assert_int_equal(store_append(s, &index, &entry, 0).code, ERR_USAGE);
    assert_int_equal(index, 99);
    /* The largest that are allowed. */
    big_blob.len--;
    entry.bytes = bytes_of(big, STORE_ENTRY_MAX);
    assert_ok(store_append(s, &index, &entry, 1));
    assert_int_equal(index, 3);
    entry.blobs = &empty_blob;
    assert_ok(store_append(s, &index, &entry, 1));
    free(big);
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
}

static void what_is_not_there_is_not_found(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 3);
    BUF_AUTO b = BUF_INIT;
    struct merkle_proof p;
    uint8_t name[SHA256_LEN] = {0};
    assert_int_equal(store_entry_read(s, 3, &b).code, ERR_NOT_FOUND);
    assert_int_equal(store_entry_read(s, UINT64_MAX, &b).code, ERR_NOT_FOUND);
    assert_int_equal(store_blob_read(s, name, &b).code, ERR_NOT_FOUND);
    assert_int_equal(store_checkpoint_at(s, 4, &b).code, ERR_NOT_FOUND);
    assert_int_equal(store_checkpoint_at(s, UINT64_MAX, &b).code, ERR_NOT_FOUND);
    assert_int_equal(store_prove_inclusion(s, &p, 0, 4).code, ERR_NOT_FOUND);
    assert_int_equal(store_prove_inclusion(s, &p, 3, 3).code, ERR_USAGE);
    assert_int_equal(store_prove_consistency(s, &p, 1, 4).code, ERR_NOT_FOUND);
    assert_int_equal(b.len, 0);
    store_close(s);
}

static void an_older_copy_is_found_by_a_newer_checkpoint(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 3);
    assert_ok(store_snapshot(s, fixture_path("old.db")));
    fixture_fill(s, 3, 5);
    struct checkpoint known, fork;
    assert_ok(store_checkpoint(s, NULL, &known));
    assert_ok(store_check_extends(s, &known));
    store_close(s);
    assert_ok(store_open(&s, fixture_path("old.db"), &signer));
    assert_refused(store_check_extends(s, &known), ERR_UNTRUE, "older copy");
    struct store_entry other = {.bytes = bytes_of_str("another history")};
    uint64_t index;
    assert_ok(store_append(s, &index, &other, 1));
    assert_ok(store_append(s, &index, &other, 1));
    assert_refused(store_check_extends(s, &known), ERR_UNTRUE, "another branch");
    fork = known;
    strcpy(fork.origin, "example.org/log2");
    assert_refused(store_check_extends(s, &fork), ERR_UNTRUE, "of origin");
    store_close(s);
}

/* What the triggers and checks are there for. */
static const char *const refused[] = {
    "UPDATE entry SET bytes = x'00' WHERE idx = 1",
    "UPDATE tile SET root = zeroblob(32)",
    "UPDATE meta SET origin = 'o'",
    "UPDATE blob SET bytes = x'00'",
    "UPDATE checkpoint SET note = x'00' WHERE size = 3",
    "DELETE FROM entry WHERE idx = 2",
    "DELETE FROM tile",
    "DELETE FROM meta",
    "DELETE FROM blob",
    "DELETE FROM checkpoint WHERE size = 3",
    "INSERT OR REPLACE INTO entry VALUES (1, x'00')",
    "REPLACE INTO entry VALUES (2, x'00')",
    "INSERT OR REPLACE INTO tile SELECT level, idx, zeroblob(32), hashes FROM tile",
    "INSERT OR REPLACE INTO meta VALUES (1, 'o', 'v')",
    "INSERT OR REPLACE INTO blob SELECT sha256, x'00' FROM blob",
    "INSERT OR REPLACE INTO checkpoint VALUES (3, x'00')",
    "INSERT INTO checkpoint VALUES (2, x'00')",
    "INSERT INTO checkpoint VALUES (260, x'00')",
    "INSERT INTO entry VALUES (260, x'00')",
    "INSERT INTO entry VALUES (-1, x'00')",
    "INSERT INTO entry VALUES (259, x'')",
    "INSERT INTO entry VALUES (259, 'text')",
    "INSERT INTO entry VALUES (259, zeroblob(65536))",
    "INSERT INTO tile VALUES (0, 2, zeroblob(32), zeroblob(16320))",
    "INSERT INTO tile VALUES (0, 1, zeroblob(31), zeroblob(16320))",
    "INSERT INTO tile VALUES (0, 1, zeroblob(32), zeroblob(16352))",
    "INSERT INTO tile VALUES (7, 0, zeroblob(32), zeroblob(16320))",
    "INSERT INTO blob VALUES (zeroblob(31), x'00')",
    "INSERT OR IGNORE INTO entry VALUES (1, x'00')",
    "INSERT INTO entry (bytes) VALUES (NULL)",
    "INSERT INTO entry VALUES (1, x'00') ON CONFLICT DO UPDATE SET bytes = x'00'",
};

static void the_schema_refuses_to_change_or_skip_rows(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 259);
    store_close(s);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (fixture_sql(log_path, refused[i], true) == SQLITE_OK)
            fail_msg("went through: %s", refused[i]);
    s = fixture_open();
    assert_ok(fixture_check(s, 259));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_appended_is_read_back_and_provable),
        TEST(every_size_is_continued_after_a_restart),
        TEST(a_batch_is_one_checkpoint),
        TEST(a_replay_visits_every_entry_in_order_and_stops_at_the_visitors_error),
        TEST(tiles_hold_the_tree_and_the_entries),
        TEST(every_batch_gives_the_tree_of_its_entries),
        TEST(a_log_goes_on_beyond_a_full_tile_of_tiles),
        TEST(impossible_appends_are_refused_and_change_nothing),
        TEST(what_is_not_there_is_not_found),
        TEST(an_older_copy_is_found_by_a_newer_checkpoint),
        TEST(the_schema_refuses_to_change_or_skip_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
