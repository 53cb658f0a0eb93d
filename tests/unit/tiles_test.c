/* Tiles have one path each, and the widths that C2SP's worked example gives. */
#include "tlog_vectors.h"
#include "transparency/tiles.h"

static size_t n_skipped;

static void assert_path(int level, uint64_t index, unsigned width, const char *path)
{
    struct tile t = {level, index, width}, back = {0};
    BUF_AUTO b = BUF_INIT;
    tile_format(&b, &t);
    assert_string_equal(buf_str(&b), path);
    assert_false(is_err(tile_parse(&back, bytes_of_str(path))));
    assert_int_equal(back.level, level);
    assert_int_equal(back.index, index);
    assert_int_equal(back.width, width);
}

static void paths_are_formatted_and_read_back(void **state)
{
    (void)state;
    assert_path(0, 0, 256, "tile/0/000");
    assert_path(0, 999, 256, "tile/0/999");
    assert_path(0, 1000, 256, "tile/0/x001/000");
    assert_path(3, 1234067, 1, "tile/3/x001/x234/067.p/1");
    assert_path(63, 999999999999999999, 255, "tile/63/x999/x999/x999/x999/x999/999.p/255");
    assert_path(TILE_LEVEL_ENTRIES, 5, 256, "tile/entries/005");
}

static void any_other_spelling_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/Entries/000",
        "tile//000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/x001",
        "tile/0/x001/",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000/",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/",
        "tile/0/000.P/1",
        "tile/0/00a",
        "tile/0/+00",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000 ",
        "tile/entries",
    };
    struct tile t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (tile_parse(&t, bytes_of_str(bad[i])).code != ERR_MALFORMED)
            fail_msg("%s is read as a path", bad[i]);
}

static void widths_follow_the_size(void **state)
{
    (void)state;
    assert_int_equal(tile_width_at(0, 0, 0), 0);
    assert_int_equal(tile_width_at(0, 0, 1), 1);
    assert_int_equal(tile_width_at(0, 0, 256), 256);
    assert_int_equal(tile_width_at(0, 1, 256), 0); /* empty tiles do not exist */
    assert_int_equal(tile_width_at(TILE_LEVEL_ENTRIES, 1, 257), 1);
    assert_int_equal(tile_width_at(1, 0, 255), 0);
    assert_int_equal(tile_width_at(8, 0, UINT64_MAX), 0);
    assert_int_equal(tile_width_at(63, 0, UINT64_MAX), 0);
    assert_int_equal(tile_width_at(0, UINT64_MAX, UINT64_MAX), 0);
    assert_int_equal(tile_width_at(0, UINT64_MAX / 256, UINT64_MAX), 255);
}

static void the_published_example_has_these_widths(void **state)
{
    (void)state;
    json_t *j = vectors_load("tlog-tiles/spec_facts.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    const json_t *f = json_object_get(j, "tree_size_70000");
    uint64_t full = vector_number(f, "level0_full");
    assert_int_equal(tile_width_at(0, full - 1, 70000), 256);
    assert_int_equal(tile_width_at(0, full, 70000), vector_number(f, "level0_partial_width"));
    assert_int_equal(tile_width_at(0, full + 1, 70000), 0);
    full = vector_number(f, "level1_full");
    assert_int_equal(tile_width_at(1, full - 1, 70000), 256);
    assert_int_equal(tile_width_at(1, full, 70000), vector_number(f, "level1_partial_width"));
    assert_int_equal(tile_width_at(2, 0, 70000), vector_number(f, "level2_partial_width"));
    f = json_object_get(j, "tree_size_256");
    assert_int_equal(tile_width_at(1, 0, 256), vector_number(f, "level1_partial_width"));
    json_decref(j);
}

static unsigned width_of(const json_t *c, const char *name)
{
    unsigned p = (unsigned)vector_number(c, name);
    return p == 0 ? TILE_WIDTH : p;
}

static void check_parse_case(const json_t *c)
{
    BUF_AUTO path = BUF_INIT;
    buf_printf(&path, "tile/%s/%s", vector_text(c, "pathLevel"), vector_text(c, "pathIndex"));
    struct tile t;
    struct err e = tile_parse(&t, buf_bytes(&path));
    if (is_err(e) != json_is_true(json_object_get(c, "wantErr")))
        fail_msg("%s: %s", buf_str(&path), is_err(e) ? err_message() : "is read");
    if (is_err(e))
        return;
    assert_int_equal(t.level, vector_number(c, "wantLevel"));
    assert_int_equal(t.width, width_of(c, "wantP"));
    /* The JSON reader's doubles are exact up to 2^53; one index here is 10^18 - 1. */
    assert_true((double)t.index == (double)vector_number(c, "wantIndex"));
}

static void published_paths_are_ours(void **state)
{
    (void)state;
    json_t *j = vectors_load("tlog-tiles/paths.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(j, "TestEntriesPathForLogIndex"), i, c)
    {
        uint64_t index = vector_number(c, "seq") / TILE_WIDTH;
        assert_path(TILE_LEVEL_ENTRIES, index,
                    tile_width_at(TILE_LEVEL_ENTRIES, index, vector_number(c, "logSize")),
                    vector_text(c, "wantPath"));
    }
    json_array_foreach(json_object_get(j, "TestEntriesPath"), i, c) assert_path(
        TILE_LEVEL_ENTRIES, vector_number(c, "N"), width_of(c, "p"), vector_text(c, "wantPath"));
    json_array_foreach(json_object_get(j, "TestTilePath"), i, c)
        assert_path((int)vector_number(c, "level"), vector_number(c, "index"), width_of(c, "p"),
                    vector_text(c, "wantPath"));
    assert_int_equal(json_array_size(json_object_get(j, "TestParseTileLevelIndexPartial")), 19);
    json_array_foreach(json_object_get(j, "TestParseTileLevelIndexPartial"), i, c)
        check_parse_case(c);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_formatted_and_read_back),
        cmocka_unit_test(any_other_spelling_is_refused),
        cmocka_unit_test(widths_follow_the_size),
        cmocka_unit_test(the_published_example_has_these_widths),
        cmocka_unit_test(published_paths_are_ours),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
