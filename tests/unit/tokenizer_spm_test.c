/* Tokenizers over characters, as conversions from SentencePiece ship them, give the ids and texts
 * that the `tokenizers` library gives, and users' text never makes a special token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/tokenizer.h"

#include "text_golden.h"

static const char *const styles[] = {"llama2", "phi3", "mistral", "never", "metaspace", "legacy"};
enum { N_STYLES = 6 };

static struct tokenizer *load(const char *style)
{
    char name[64];
    BUF_AUTO json = BUF_INIT;
    struct tokenizer *t = NULL;
    snprintf(name, sizeof name, "tokenizer_spm_%s.json", style);
    golden_read(&json, name);
    if (is_err(tokenizer_new(&t, buf_bytes(&json))))
        fail_msg("%s: %s", name, err_message());
    return t;
}

static struct bytes text_of(const json_t *string)
{
    return bytes_of(json_string_value(string), json_string_length(string));
}

static uint32_t id_at(const struct buf *ids, size_t i)
{
    return ((const uint32_t *)(void *)ids->data)[i];
}

/* `prefix` is an id that comes before the expected ones, or -1. */
static void assert_encodes(const struct tokenizer *t, struct bytes text, const json_t *expected,
                           bool specials, bool post, long prefix)
{
    BUF_AUTO ids = BUF_INIT;
    size_t n_prefix = prefix >= 0;
    assert_false(is_err(tokenizer_encode(t, &ids, text, specials, post)));
    if (ids.len / 4 != json_array_size(expected) + n_prefix)
        fail_msg("\"%.*s\": %zu ids instead of %zu", (int)text.len, (const char *)text.data,
                 ids.len / 4, json_array_size(expected) + n_prefix);
    for (size_t i = 0; i < ids.len / 4; i++) {
        json_int_t want =
            i < n_prefix ? prefix : json_integer_value(json_array_get(expected, i - n_prefix));
        if (id_at(&ids, i) != (uint32_t)want)
            fail_msg("\"%.*s\": id %zu is %u", (int)text.len, (const char *)text.data, i,
                     id_at(&ids, i));
    }
}

static void assert_decodes(const struct tokenizer *t, const json_t *ids, struct bytes expected)
{
    struct detokenizer d = {0};
    BUF_AUTO out = BUF_INIT;
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_false(is_err(
            detokenizer_next(&d, t, (uint32_t)json_integer_value(json_array_get(ids, i)), &out)));
    detokenizer_finish(&d, &out);
    if (!bytes_equal(buf_bytes(&out), expected))
        fail_msg("\"%s\" instead of \"%.*s\"", buf_str(&out), (int)expected.len,
                 (const char *)expected.data);
}

static void check_case(const struct tokenizer *t, struct bytes text, const json_t *c)
{
    const json_t *ids = json_object_get(c, "ids"), *post = json_object_get(c, "post");
    const json_t *plain = json_object_get(c, "plain"), *decoded = json_object_get(c, "decoded");
    assert_encodes(t, text, ids, true, false, -1);
    assert_encodes(t, text, post != NULL ? post : ids, true, true, post != NULL ? -1 : 1);
    assert_encodes(t, text, plain != NULL ? plain : ids, false, false, -1);
    assert_decodes(t, ids, decoded != NULL ? text_of(decoded) : text);
}

static void agrees_with_the_library_on_every_golden_text(void **state)
{
    (void)state;
    json_t *golden = golden_json("tokenizer_spm_cases.json");
    const json_t *texts = json_object_get(golden, "texts");
    assert_true(json_array_size(texts) > 80);
    for (size_t s = 0; s < N_STYLES; s++) {
        struct tokenizer *t = load(styles[s]);
        const json_t *style = json_object_get(golden, styles[s]);
        const json_t *cases = json_object_get(style, "cases");
        const json_t *streams = json_object_get(style, "streams");
        assert_int_equal(json_array_size(cases), json_array_size(texts));
        for (size_t i = 0; i < json_array_size(cases); i++)
            check_case(t, text_of(json_array_get(texts, i)), json_array_get(cases, i));
        assert_true(json_array_size(streams) > 0);
        for (size_t i = 0; i < json_array_size(streams); i++) {
            const json_t *c = json_array_get(streams, i);
            assert_decodes(t, json_object_get(c, "ids"), text_of(json_object_get(c, "decoded")));
        }
        tokenizer_free(t);
    }
    json_decref(golden);
}

static size_t count_id(const struct buf *ids, uint32_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->len / 4; i++)
        n += id_at(ids, i) == id;
    return n;
}

static void recognises_specials_only_inside_one_trusted_span(void **state)
{
    (void)state;
    struct bytes text = bytes_of_str("</s>hi </s> there</s>"); /* at 0, 7 and 17 */
    const struct {
        struct text_span spans[3];
        size_t n, expected;
    } cases[] = {
        {{{0, 21}}, 1, 3},          {{{0, 0}}, 0, 0},          {{{0, 4}, {17, 4}}, 2, 2},
        {{{0, 7}, {11, 10}}, 2, 2}, {{{1, 20}}, 1, 2},         {{{0, 3}, {18, 3}}, 2, 0},
        {{{7, 2}, {9, 2}}, 2, 0},   {{{0, 8}, {8, 13}}, 2, 2},
    };
    struct tokenizer *t = load("llama2");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        BUF_AUTO ids = BUF_INIT;
        assert_false(is_err(tokenizer_encode_spans(t, &ids, text, cases[i].spans, cases[i].n)));
        assert_int_equal(count_id(&ids, 2), cases[i].expected);
    }
    tokenizer_free(t);
}

/* The JSON of a tiny model; every text in it is plain ASCII but the mark. */
#define TINY(parts, vocab, merges, extra, added)                                                   \
    "{\"added_tokens\":[" added "]," parts "\"model\":{\"type\":\"BPE\"," extra                    \
    "\"vocab\":{" vocab "},\"merges\":[" merges "]}}"
#define FUSE "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"}]},"
#define MARKS                                                                                      \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"    \
    "\"_\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"}]},"
#define BYTES_DECODER                                                                              \
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":"      \
    "\"Fuse\"}]},"

static struct tokenizer *tiny(const char *json)
{
    struct tokenizer *t = NULL;
    if (is_err(tokenizer_new(&t, bytes_of_str(json))))
        fail_msg("%s", err_message());
    return t;
}

static void spans_follow_the_text_through_prepending_and_replacing(void **state)
{
    (void)state;
    /* "<s>" is special and searched for after the normalizer: as "_<s>". */
    struct tokenizer *t = tiny(TINY(MARKS FUSE, "\"a\":0,\"_\":1,\"<\":2,\"s\":3,\">\":4", "", "",
                                    "{\"id\":9,\"content\":\"<s>\",\"special\":true,"
                                    "\"normalized\":true}"));
    struct bytes text = bytes_of_str("<s> a a <s>"); /* marks at 3, 5 and 7; the last at 8 */
    const struct {
        struct text_span spans[2];
        size_t n, expected;
    } cases[] = {
        {{{0, 11}}, 1, 2}, {{{0, 0}}, 0, 0}, {{{0, 3}}, 1, 1}, {{{7, 4}}, 1, 1},
        {{{8, 3}}, 1, 0},  {{{1, 3}}, 1, 0}, {{{7, 3}}, 1, 0}, {{{0, 3}, {7, 4}}, 2, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        BUF_AUTO ids = BUF_INIT;
        assert_false(is_err(tokenizer_encode_spans(t, &ids, text, cases[i].spans, cases[i].n)));
        assert_int_equal(count_id(&ids, 9), cases[i].expected);
    }
    tokenizer_free(t);
}

static void assert_tiny(const char *json, const char *text, const char *expected)
{
    struct tokenizer *t = tiny(json);
    BUF_AUTO ids = BUF_INIT, shown = BUF_INIT;
    assert_false(is_err(tokenizer_encode(t, &ids, bytes_of_str(text), false, false)));
    for (size_t i = 0; i < ids.len / 4; i++)
        buf_printf(&shown, "%s%u", i > 0 ? " " : "", id_at(&ids, i));
    assert_string_equal(buf_str(&shown), expected);
    tokenizer_free(t);
}

static void characters_outside_the_vocabulary_become_bytes_unknown_or_nothing(void **state)
{
    (void)state;
#define AB "\"a\":0,\"b\":1,\"ab\":2"
#define FALLBACK "\"byte_fallback\":true,"
#define UNKNOWN "\"unk_token\":\"?\","
    assert_tiny(TINY(FUSE, AB, "\"a b\"", "", ""), "axb", "2"); /* the neighbours meet */
    assert_tiny(TINY(FUSE, AB ",\"?\":7", "\"a b\"", UNKNOWN, ""), "axyb", "0 7 7 1");
    assert_tiny(TINY(FUSE, AB ",\"?\":7", "\"a b\"", UNKNOWN "\"fuse_unk\":true,", ""), "axyb",
                "0 7 1");
    assert_tiny(TINY(FUSE, AB ",\"<0x78>\":8", "\"a b\"", FALLBACK, ""), "axyb", "0 8 1");
    assert_tiny(TINY(FUSE, AB ",\"<0x78>\":8,\"?\":7", "", UNKNOWN FALLBACK, ""), "ayxb",
                "0 8 7 1"); /* the unknown one comes late, as in the library */
    assert_tiny(TINY(FUSE, AB ",\"<0x78>\":8", "", "", ""), "axb", "0 1");
    assert_tiny(TINY(FUSE, AB ",\"<0xC3>\":8", "\"a b\"", FALLBACK, ""),
                "a\xc3\xa9"
                "b",
                "2");
    assert_tiny(TINY(FUSE, AB ",\"<0x0a>\":8", "", FALLBACK, ""), "a\nb", "0 1");
}

static void the_names_of_bytes_in_a_text_are_no_bytes(void **state)
{
    (void)state;
    assert_tiny(TINY(FUSE, "\"<\":0,\"0\":1,\"x\":2,\"4\":3,\"1\":4,\">\":5,\"<0x41>\":6", "",
                     FALLBACK, ""),
                "<0x41>A", "0 1 2 3 4 5 6");
}

static void merges_never_make_a_special_token(void **state)
{
    (void)state;
    assert_tiny(TINY(FUSE, AB ",\"aba\":3", "\"a b\",\"ab a\"", "\"ignore_merges\":true,",
                     "{\"id\":2,\"content\":\"ab\",\"special\":true}"),
                "ab", "0 1");
}

static void refuses_what_it_does_not_support_by_name(void **state)
{
    (void)state;
#define META(rest) "\"pre_tokenizer\":{\"type\":\"Metaspace\"," rest "}," FUSE
#define MARK "\\u2581"
#define DECODERS(list) "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" list "]},"
    static const char *const cases[][2] = {
        {TINY("", AB, "", "", ""), "decoder"},
        {TINY("\"decoder\":{\"type\":\"ByteLevel\"},", AB, "", "", ""), "decoder"},
        {TINY("\"decoder\":{\"type\":\"WordPiece\"},", AB, "", "", ""), "WordPiece"},
        {TINY(DECODERS("{\"type\":\"ByteFallback\"}"), AB, "", "", ""), "decoder"},
        {TINY(DECODERS("{\"type\":\"Fuse\"},{\"type\":\"Fuse\"}"), AB, "", "", ""), "decoder"},
        {TINY(DECODERS("{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":2,"
                       "\"stop\":0}"),
              AB, "", "", ""),
         "Strip"},
        {TINY(DECODERS("{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\" \"},"
                       "{\"type\":\"Fuse\"}"),
              AB, "", "", ""),
         "Replace"},
        {TINY("\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"_\"},", AB, "", "", ""),
         "decoder Metaspace.replacement"},
        {TINY(META("\"replacement\":\"_\""), AB, "", "", ""),
         "pre_tokenizer Metaspace.replacement"},
        {TINY(META("\"replacement\":\"" MARK "\",\"prepend_scheme\":\"last\""), AB, "", "", ""),
         "prepend_scheme"},
        {TINY("\"pre_tokenizer\":{\"type\":\"Whitespace\"}," FUSE, AB, "", "", ""), "Whitespace"},
        {TINY(FUSE, AB ",\"?\":7,\"a?\":8", "\"a ?\"", UNKNOWN, ""), "unknown"},
        {TINY(FUSE, AB ",\"<0x41>\":7,\"a<0x41>\":8", "\"a <0x41>\"", FALLBACK, ""), "<0x41>"},
        {TINY(FUSE, AB ",\"<0x41>\":7", "", FALLBACK, "{\"id\":7,\"content\":\"<0x41>\"}"),
         "stands for a byte"},
        {TINY(FUSE, AB, "", "", "{\"id\":0,\"content\":\"a\",\"special\":true}"), "character"},
        {TINY("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":"
              "\"\"}," FUSE,
              AB, "", "", "{\"id\":9,\"content\":\"xx\",\"normalized\":true}"),
         "leaves nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tokenizer *t = NULL;
        if (tokenizer_new(&t, bytes_of_str(cases[i][0])).code != ERR_UNSUPPORTED ||
            strstr(err_message(), cases[i][1]) == NULL)
            fail_msg("%s: %s", cases[i][0], err_message());
        assert_null(t);
    }
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&t, bytes_of_str(TINY(META("\"replacement\":\"" MARK
                                                              "\",\"prepend_scheme\":\"first\","
                                                              "\"add_prefix_space\":false"),
                                                         AB, "", "", "")))
                         .code,
                     ERR_MALFORMED);
}

/* --- decoding --- */

static void takes_one_space_from_the_start_of_a_text_only(void **state)
{
    (void)state;
    struct tokenizer *t = load("llama2");
    uint32_t mark = 0;
    assert_false(is_err(tokenizer_id(t, "\xe2\x96\x81", &mark)));
    struct detokenizer fresh = {0}, going_on = {.started = true};
    BUF_AUTO out = BUF_INIT, alone = BUF_INIT;
    assert_false(is_err(detokenizer_next(&fresh, t, 1, &out))); /* <s> is no start */
    assert_false(is_err(detokenizer_next(&fresh, t, mark, &out)));
    assert_int_equal(out.len, 0);
    assert_false(is_err(detokenizer_next(&fresh, t, mark, &out)));
    assert_string_equal(buf_str(&out), " ");
    assert_false(is_err(detokenizer_next(&going_on, t, mark, &out)));
    assert_string_equal(buf_str(&out), "  ");
    assert_false(is_err(tokenizer_token_bytes(t, mark, &alone)));
    assert_string_equal(buf_str(&alone), " ");
    tokenizer_free(t);
}

static void bytes_come_out_as_whole_characters(void **state)
{
    (void)state;
    struct tokenizer *t =
        tiny(TINY(BYTES_DECODER, "\"a\":0,\"<0xE8>\":1,\"<0xaa>\":2,\"<0x9E>\":3,\"<0x7>\":4", "",
                  FALLBACK, ""));
    static const uint32_t ids[] = {1, 2, 3, 0, 1, 2, 0, 4, 1};
    static const char *const so_far[] = {"",
                                         "",
                                         "\u8a9e",
                                         "\u8a9e"
                                         "a",
                                         "\u8a9e"
                                         "a",
                                         "\u8a9e"
                                         "a",
                                         "\u8a9e"
                                         "a\ufffd"
                                         "a",
                                         "\u8a9e"
                                         "a\ufffd"
                                         "a<0x7>",
                                         "\u8a9e"
                                         "a\ufffd"
                                         "a<0x7>"};
    struct detokenizer d = {0};
    BUF_AUTO out = BUF_INIT;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        assert_false(is_err(detokenizer_next(&d, t, ids[i], &out)));
        assert_string_equal(buf_str(&out), so_far[i]);
    }
    detokenizer_finish(&d, &out);
    assert_string_equal(buf_str(&out), "\u8a9e"
                                       "a\ufffd"
                                       "a<0x7>\ufffd");
    tokenizer_free(t);
}

/* --- long texts --- */

static void long_texts_take_no_quadratic_time(void **state)
{
    (void)state;
    static const char *const units[] = {"a",   " ", "the log ", "verify", "\xe6\xb5\x8b",
                                        "<s>", "\n"};
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    for (size_t s = 0; s < N_STYLES; s += 2) {
        struct tokenizer *t = load(styles[s]);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            BUF_AUTO text = BUF_INIT, ids = BUF_INIT;
            while (text.len < 200000)
                buf_append_str(&text, units[u]);
            assert_false(is_err(tokenizer_encode(t, &ids, buf_bytes(&text), u % 2 == 0, false)));
            assert_true(ids.len > 0);
        }
        tokenizer_free(t);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    assert_true(end.tv_sec - start.tv_sec < 30); /* quadratic: hours under a sanitizer */
}

static void refuses_text_that_the_normalizer_makes_too_long(void **state)
{
    (void)state;
    struct tokenizer *t = tiny(TINY("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":"
                                    "\"a\"},\"content\":\"bbbbbbbbbbbbbbbb\"}," FUSE,
                                    AB, "", "", ""));
    BUF_AUTO text = BUF_INIT, ids = BUF_INIT;
    while (text.len < 5 << 20)
        buf_append_str(&text, "aaaaaaaaaaaaaaaa");
    assert_int_equal(tokenizer_encode(t, &ids, buf_bytes(&text), false, false).code, ERR_LIMIT);
    assert_int_equal(ids.len, 0);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_library_on_every_golden_text),
        cmocka_unit_test(recognises_specials_only_inside_one_trusted_span),
        cmocka_unit_test(spans_follow_the_text_through_prepending_and_replacing),
        cmocka_unit_test(characters_outside_the_vocabulary_become_bytes_unknown_or_nothing),
        cmocka_unit_test(the_names_of_bytes_in_a_text_are_no_bytes),
        cmocka_unit_test(merges_never_make_a_special_token),
        cmocka_unit_test(refuses_what_it_does_not_support_by_name),
        cmocka_unit_test(takes_one_space_from_the_start_of_a_text_only),
        cmocka_unit_test(bytes_come_out_as_whole_characters),
        cmocka_unit_test(long_texts_take_no_quadratic_time),
        cmocka_unit_test(refuses_text_that_the_normalizer_makes_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
