/* Tokenizers give the ids that the `tokenizers` library gives, and users' text never makes a
 * special token. */
#include <pthread.h>
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

static const char *const styles[] = {"gpt2", "llama3", "qwen2", "smol"};
enum { N_STYLES = 4 };

static struct tokenizer *load(const char *style)
{
    char name[64];
    BUF_AUTO json = BUF_INIT;
    struct tokenizer *t = NULL;
    snprintf(name, sizeof name, "tokenizer_%s.json", style);
    golden_read(&json, name);
    if (is_err(tokenizer_new(&t, buf_bytes(&json))))
        fail_msg("%s: %s", name, err_message());
    return t;
}

static struct bytes text_of(const json_t *string)
{
    return bytes_of(json_string_value(string), json_string_length(string));
}

static void assert_ids(const struct buf *ids, const json_t *expected, const char *what,
                       const json_t *text)
{
    if (ids->len / 4 != json_array_size(expected))
        fail_msg("%s of %s: %zu ids instead of %zu", what, json_string_value(text), ids->len / 4,
                 json_array_size(expected));
    for (size_t i = 0; i < ids->len / 4; i++) {
        uint32_t id = ((const uint32_t *)(void *)ids->data)[i];
        if (id != (uint32_t)json_integer_value(json_array_get(expected, i)))
            fail_msg("%s of %s: id %zu is %u", what, json_string_value(text), i, id);
    }
}

static void check_encode(const struct tokenizer *t, const json_t *c, const char *what,
                         bool specials, bool post)
{
    const json_t *expected = json_object_get(c, what);
    BUF_AUTO ids = BUF_INIT;
    assert_false(
        is_err(tokenizer_encode(t, &ids, text_of(json_object_get(c, "text")), specials, post)));
    assert_ids(&ids, expected != NULL ? expected : json_object_get(c, "ids"), what,
               json_object_get(c, "text"));
}

static void check_decode(const struct tokenizer *t, const json_t *c)
{
    const json_t *expected = json_object_get(c, "decoded"), *ids = json_object_get(c, "ids");
    struct detokenizer d = {0};
    BUF_AUTO out = BUF_INIT;
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_false(is_err(
            detokenizer_next(&d, t, (uint32_t)json_integer_value(json_array_get(ids, i)), &out)));
    detokenizer_finish(&d, &out);
    assert_true(bytes_equal(buf_bytes(&out),
                            text_of(expected != NULL ? expected : json_object_get(c, "text"))));
}

static void agrees_with_the_library_on_every_golden_text(void **state)
{
    (void)state;
    json_t *golden = golden_json("tokenizer_cases.json");
    for (size_t s = 0; s < N_STYLES; s++) {
        struct tokenizer *t = load(styles[s]);
        const json_t *cases = json_object_get(golden, styles[s]);
        assert_true(json_array_size(cases) > 50);
        for (size_t i = 0; i < json_array_size(cases); i++) {
            const json_t *c = json_array_get(cases, i);
            check_encode(t, c, "ids", true, false);
            check_encode(t, c, "post", true, true);
            check_encode(t, c, "plain", false, false);
            check_decode(t, c);
        }
        tokenizer_free(t);
    }
    json_decref(golden);
}

static size_t count_id(const struct buf *ids, uint32_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->len / 4; i++)
        n += ((const uint32_t *)(void *)ids->data)[i] == id;
    return n;
}

static void recognises_specials_only_inside_one_trusted_span(void **state)
{
    (void)state;
    struct tokenizer *t = load("llama3");
    uint32_t eot = 0;
    assert_false(is_err(tokenizer_id(t, "<|eot|>", &eot)));
    struct bytes text = bytes_of_str("<|eot|>hi <|eot|> there<|eot|>"); /* at 0, 10 and 23 */
    const struct {
        struct text_span spans[3];
        size_t n, expected;
    } cases[] = {
        {{{0, 30}}, 1, 3},           {{{0, 0}}, 0, 0},  {{{0, 7}, {23, 7}}, 2, 2},
        {{{0, 10}, {17, 13}}, 2, 2}, {{{1, 29}}, 1, 2}, {{{0, 6}, {24, 6}}, 2, 0},
        {{{10, 3}, {13, 4}}, 2, 0}, /* across two spans */
        {{{0, 12}, {12, 18}}, 2, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        BUF_AUTO ids = BUF_INIT;
        assert_false(is_err(tokenizer_encode_spans(t, &ids, text, cases[i].spans, cases[i].n)));
        assert_int_equal(count_id(&ids, eot), cases[i].expected);
    }
    tokenizer_free(t);
}

static void an_untrusted_beginning_cannot_hide_a_trusted_special(void **state)
{
    (void)state;
    /* "<|lo" is the user's, "<|eot|>" the template's. A forbidden or partial token before it must
     * not swallow it. */
    struct tokenizer *t = load("qwen2");
    uint32_t eot = 0;
    assert_false(is_err(tokenizer_id(t, "<|eot|>", &eot)));
    const char *const before[] = {"<|lo", "<", "<|eot|", "<|longer|", "<|longer|>", "<|eot|>"};
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        BUF_AUTO text = BUF_INIT, ids = BUF_INIT;
        buf_printf(&text, "%s<|eot|>", before[i]);
        struct text_span span = {strlen(before[i]), 7};
        assert_false(is_err(tokenizer_encode_spans(t, &ids, buf_bytes(&text), &span, 1)));
        assert_int_equal(count_id(&ids, eot), 1);
    }
    tokenizer_free(t);
}

static void spans_follow_the_text_through_normalization(void **state)
{
    (void)state;
    /* "<right>" is special and searched for after NFC, which shortens what stands before it. */
    struct tokenizer *t = load("qwen2");
    uint32_t right = 0;
    assert_false(is_err(tokenizer_id(t, "<right>", &right)));
    struct bytes text = bytes_of_str("e\xcc\x81<right>e\xcc\x81<right>");
    for (size_t i = 0; i < 4; i++) {
        const struct text_span spans[2] = {{3, 7}, {13, 7}};
        BUF_AUTO ids = BUF_INIT;
        assert_false(is_err(tokenizer_encode_spans(t, &ids, text, spans + (i == 2),
                                                   i == 0   ? 0
                                                   : i == 3 ? 2
                                                            : 1)));
        assert_int_equal(count_id(&ids, right), i == 0 ? 0 : i == 3 ? 2 : 1);
    }
    tokenizer_free(t);
}

static void refuses_spans_out_of_order_or_outside(void **state)
{
    (void)state;
    struct tokenizer *t = load("gpt2");
    BUF_AUTO ids = BUF_INIT;
    const struct text_span bad[][2] = {
        {{2, 2}, {0, 1}}, {{0, 3}, {2, 1}}, {{0, 1}, {4, 2}}, {{6, 0}, {6, 0}}, {{1, SIZE_MAX}}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(tokenizer_encode_spans(t, &ids, bytes_of_str("abcde"), bad[i], 2).code,
                         ERR_USAGE);
    assert_int_equal(ids.len, 0);
    tokenizer_free(t);
}

static void the_spans_of_a_whole_text_give_what_encode_gives(void **state)
{
    (void)state;
    struct tokenizer *t = load("qwen2");
    struct bytes text = bytes_of_str("<|eot|>a <mask> <|pad|>  sub <tool_call>");
    struct text_span all = {0, text.len};
    BUF_AUTO a = BUF_INIT, b = BUF_INIT;
    assert_false(is_err(tokenizer_encode(t, &a, text, true, false)));
    assert_false(is_err(tokenizer_encode_spans(t, &b, text, &all, 1)));
    assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
    tokenizer_free(t);
}

/* --- decoding --- */

static void streams_whole_characters_only(void **state)
{
    (void)state;
    struct tokenizer *t = load("gpt2");
    /* The vocabulary has every byte: feed a smiley's four bytes, then a broken one and an end. */
    static const char *const bytes[] = {"\xc3\xb0", "\xc5\x81", "\xc4\xbb", "\xc4\xa2"};
    const uint8_t smiley[] = {0xf0, 0x9f, 0x99, 0x80};
    struct detokenizer d = {0};
    BUF_AUTO out = BUF_INIT;
    uint32_t id = 0;
    for (size_t i = 0; i < 4; i++) {
        BUF_AUTO one = BUF_INIT;
        assert_false(is_err(tokenizer_id(t, bytes[i], &id)));
        assert_false(is_err(tokenizer_token_bytes(t, id, &one)));
        assert_int_equal(one.len, 1);
        assert_int_equal(one.data[0], smiley[i]);
        assert_int_equal(out.len, 0);
        assert_false(is_err(detokenizer_next(&d, t, id, &out)));
    }
    assert_string_equal(buf_str(&out), "\xf0\x9f\x99\x80");
    buf_clear(&out);
    assert_false(is_err(tokenizer_id(t, bytes[0], &id)));
    assert_false(is_err(detokenizer_next(&d, t, id, &out)));
    assert_int_equal(out.len, 0);
    assert_false(is_err(tokenizer_id(t, "a", &id)));
    assert_false(is_err(detokenizer_next(&d, t, id, &out)));
    assert_string_equal(buf_str(&out), "\xef\xbf\xbd"
                                       "a");
    assert_false(is_err(tokenizer_id(t, bytes[0], &id)));
    assert_false(is_err(detokenizer_next(&d, t, id, &out)));
    detokenizer_finish(&d, &out);
    detokenizer_finish(&d, &out);
    assert_string_equal(buf_str(&out), "\xef\xbf\xbd"
                                       "a"
                                       "\xef\xbf\xbd");
    tokenizer_free(t);
}

static void specials_are_skipped_in_streams_and_have_their_content(void **state)
{
    (void)state;
    struct tokenizer *t = load("llama3");
    struct detokenizer d = {0};
    BUF_AUTO out = BUF_INIT, bytes = BUF_INIT;
    uint32_t id = 0;
    assert_false(is_err(tokenizer_id(t, "<|eot|>", &id)));
    assert_true(tokenizer_is_special(t, id));
    assert_false(is_err(detokenizer_next(&d, t, id, &out)));
    assert_int_equal(out.len, 0);
    assert_false(is_err(tokenizer_token_bytes(t, id, &bytes)));
    assert_string_equal(buf_str(&bytes), "<|eot|>");
    assert_false(is_err(tokenizer_id(t, "a", &id)));
    assert_false(tokenizer_is_special(t, id));
    assert_false(tokenizer_is_special(t, UINT32_MAX));
    assert_int_equal(tokenizer_id(t, "<|nothing|>", &id).code, ERR_NOT_FOUND);
    assert_int_equal(tokenizer_token_bytes(t, tokenizer_n_tokens(t), &bytes).code, ERR_USAGE);
    assert_int_equal(detokenizer_next(&d, t, UINT32_MAX, &out).code, ERR_USAGE);
    tokenizer_free(t);
}

/* --- limits --- */

static void refuses_text_that_is_not_utf8_or_too_long(void **state)
{
    (void)state;
    struct tokenizer *t = load("llama3");
    BUF_AUTO ids = BUF_INIT;
    assert_int_equal(tokenizer_encode(t, &ids, bytes_of("a\xff", 2), true, true).code,
                     ERR_MALFORMED);
    assert_int_equal(tokenizer_encode(t, &ids, bytes_of("\xed\xa0\x80", 3), true, true).code,
                     ERR_MALFORMED);
    assert_int_equal(
        tokenizer_encode(t, &ids, bytes_of(NULL, TOKENIZER_TEXT_MAX + 1), true, true).code,
        ERR_LIMIT);
    assert_int_equal(ids.len, 0);
    struct tokenizer *none = NULL;
    assert_int_equal(tokenizer_new(&none, bytes_of(NULL, TOKENIZER_JSON_MAX + 1)).code, ERR_LIMIT);
    tokenizer_free(t);
    tokenizer_free(NULL);
}

static void long_pieces_take_no_quadratic_time(void **state)
{
    (void)state;
    /* Combining marks in falling order too: canonical ordering must not be quadratic either. */
    static const char *const units[] = {"a",        "ab",      " ", "\xe6\xb5\x8b", "1", "<",
                                        "\xcc\x81", "<|eot|>", "\n"};
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    struct tokenizer *t = load("qwen2");
    BUF_AUTO marks = BUF_INIT, mark_ids = BUF_INIT;
    for (size_t i = 0; i < 2 * 50000; i++)
        buf_append_str(&marks, i < 50000 ? "\xcc\x81" : "\xcc\xa3");
    assert_false(is_err(tokenizer_encode(t, &mark_ids, buf_bytes(&marks), true, false)));
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        BUF_AUTO text = BUF_INIT, ids = BUF_INIT;
        while (text.len < 200000)
            buf_append_str(&text, units[u]);
        assert_false(is_err(tokenizer_encode(t, &ids, buf_bytes(&text), false, false)));
        assert_true(ids.len > 0);
    }
    tokenizer_free(t);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    assert_true(end.tv_sec - start.tv_sec < 30); /* quadratic: hours under a sanitizer */
}

/* --- threads --- */

struct worker {
    const struct tokenizer *t;
    struct buf ids;
};

static void *encode_often(void *context)
{
    struct worker *w = context;
    for (size_t i = 0; i < 50; i++) {
        buf_clear(&w->ids);
        if (is_err(tokenizer_encode(w->t, &w->ids,
                                    bytes_of_str("The host measures what it runs <|eot|> 123"),
                                    true, true)))
            buf_clear(&w->ids);
    }
    return NULL;
}

static void encodes_from_several_threads(void **state)
{
    (void)state;
    struct tokenizer *t = load("llama3");
    struct worker workers[4] = {{t, BUF_INIT}, {t, BUF_INIT}, {t, BUF_INIT}, {t, BUF_INIT}};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &workers[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(workers[0].ids.len > 0);
    for (size_t i = 0; i < 4; i++)
        assert_true(bytes_equal(buf_bytes(&workers[i].ids), buf_bytes(&workers[0].ids)));
    for (size_t i = 0; i < 4; i++)
        buf_cleanup(&workers[i].ids);
    tokenizer_free(t);
}

/* --- the demo model --- */

static void the_demo_model_encodes_as_expected_and_round_trips(void **state)
{
    (void)state;
    BUF_AUTO json = BUF_INIT, golden_text = BUF_INIT;
    struct tokenizer *t = NULL;
    assert_false(is_err(file_read(&json, BL_SOURCE_DIR "/models/demo/tokenizer.json", 64 << 20)));
    assert_false(
        is_err(file_read(&golden_text, BL_SOURCE_DIR "/models/demo/golden.json", 64 << 20)));
    assert_false(is_err(tokenizer_new(&t, buf_bytes(&json))));
    json_t *golden =
        json_loadb((const char *)golden_text.data, golden_text.len, JSON_ALLOW_NUL, NULL);
    assert_non_null(golden);
    const json_t *encodings = json_object_get(golden, "encodings");
    assert_true(json_array_size(encodings) > 0);
    for (size_t i = 0; i < json_array_size(encodings); i++) {
        check_encode(t, json_array_get(encodings, i), "ids", false, false);
        check_decode(t, json_array_get(encodings, i));
    }
    json_decref(golden);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_library_on_every_golden_text),
        cmocka_unit_test(recognises_specials_only_inside_one_trusted_span),
        cmocka_unit_test(an_untrusted_beginning_cannot_hide_a_trusted_special),
        cmocka_unit_test(spans_follow_the_text_through_normalization),
        cmocka_unit_test(refuses_spans_out_of_order_or_outside),
        cmocka_unit_test(the_spans_of_a_whole_text_give_what_encode_gives),
        cmocka_unit_test(streams_whole_characters_only),
        cmocka_unit_test(specials_are_skipped_in_streams_and_have_their_content),
        cmocka_unit_test(refuses_text_that_is_not_utf8_or_too_long),
        cmocka_unit_test(long_pieces_take_no_quadratic_time),
        cmocka_unit_test(encodes_from_several_threads),
        cmocka_unit_test(the_demo_model_encodes_as_expected_and_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
