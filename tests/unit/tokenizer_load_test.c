/* What a tokenizer.json may hold: what is not supported is refused by its name, contradictions are
 * refused, and small vocabularies merge as they must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/tokenizer.h"

#include "text_golden.h"

/* tokenizer_llama3.json with one value replaced, by a path such as "model/type". */
static enum err_code load_with(const char *path, const char *replacement)
{
    json_t *root = golden_json("tokenizer_llama3.json"), *at = root;
    json_t *value = json_loads(replacement, JSON_DECODE_ANY, NULL);
    char copy[128], *name = copy, *slash = NULL;
    assert_non_null(value);
    snprintf(copy, sizeof copy, "%s", path);
    for (; (slash = strchr(name, '/')) != NULL; name = slash + 1) {
        *slash = '\0';
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(name)) : json_object_get(at, name);
        assert_non_null(at);
    }
    if (json_is_array(at))
        json_array_set(at, (size_t)atoi(name), value);
    else
        json_object_set(at, name, value);
    char *text = json_dumps(root, JSON_COMPACT);
    struct tokenizer *t = NULL;
    struct err e = tokenizer_new(&t, bytes_of_str(text));
    if (is_err(e))
        assert_null(t);
    tokenizer_free(t);
    free(text);
    json_decref(value);
    json_decref(root);
    return e.code;
}

static void loads_what_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(load_with("version", "\"1.0\""), ERR_NONE);
    assert_int_equal(load_with("model/dropout", "0.0"), ERR_NONE);
    assert_int_equal(load_with("model/continuing_subword_prefix", "\"\""), ERR_NONE);
    assert_int_equal(load_with("truncation", "null"), ERR_NONE);
    assert_int_equal(load_with("decoder", "{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
                                          "\"ByteLevel\"}]}"),
                     ERR_NONE);
}

static void refuses_what_it_does_not_support_by_name(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"model/type", "\"Unigram\"", "model.type"},
        {"model/byte_fallback", "true", "byte_fallback"},
        {"model/dropout", "0.1", "dropout"},
        {"model/continuing_subword_prefix", "\"##\"", "continuing_subword_prefix"},
        {"model/end_of_word_suffix", "\"</w>\"", "end_of_word_suffix"},
        {"model/novelty", "1", "model.novelty"},
        {"novelty", "1", "novelty"},
        {"truncation", "{\"max_length\":5}", "truncation"},
        {"padding", "{\"strategy\":\"BatchLongest\"}", "padding"},
        {"normalizer", "{\"type\":\"NFKC\"}", "normalizer"},
        {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}",
         "Lowercase"},
        {"normalizer", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"\"}",
         "Replace.pattern"},
        {"normalizer", "{\"type\":\"Prepend\"}", "Prepend.prepend"},
        {"pre_tokenizer", "null", "decoder"}, /* then characters are symbols */
        {"pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "decoder"},
        {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[]}", "ByteLevel"},
        {"pre_tokenizer/pretokenizers/0/behavior", "\"MergedWithNext\"", "MergedWithNext"},
        {"pre_tokenizer/pretokenizers/0/pattern", "{\"Regex\":\"[a-z&&b]\"}", "intersection"},
        {"pre_tokenizer/pretokenizers/0/pattern", "{\"Regex\":\"\\\\h\"}", "escape"},
        {"pre_tokenizer/pretokenizers/0/pattern", "{\"Regex\":\"(?x)a\"}", "group"},
        {"pre_tokenizer/pretokenizers/0/pattern", "{\"Regex\":\"a{1,3}+\"}", "quantifier"},
        {"pre_tokenizer/pretokenizers/0/pattern", "{\"Regex\":\"(a\"}", "regular expression"},
        {"pre_tokenizer/pretokenizers/0/pattern", "{\"Regex\":\"\\\\p{Nonsense}\"}", "Nonsense"},
        {"post_processor", "{\"type\":\"BertProcessing\"}", "BertProcessing"},
        {"post_processor/processors/1/single", "[]", "post_processor.single"},
        {"decoder", "null", "decoder"},
        {"decoder", "{\"type\":\"Metaspace\"}", "Metaspace"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (load_with(cases[i][0], cases[i][1]) != ERR_UNSUPPORTED ||
            strstr(err_message(), cases[i][2]) == NULL)
            fail_msg("%s = %s: %s", cases[i][0], cases[i][1], err_message());
    }
}

static void refuses_contradictions(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"model", "[]"},
        {"model/vocab", "[]"},
        {"model/vocab/a", "-1"},
        {"model/vocab/a", "1"}, /* two tokens with one id */
        {"model/vocab/a", "\"x\""},
        {"model/merges", "{}"},
        {"model/merges/0", "\"ab\""},
        {"model/merges/0", "[\"a\"]"},
        {"model/merges/0", "\"a b c\""},
        {"model/merges/0", "[\"a\",\"\\u4e00\"]"},
        {"model/ignore_merges", "3"},
        {"model/unk_token", "\"no such token\""},
        {"added_tokens", "{}"},
        {"added_tokens/0", "{}"},
        {"added_tokens/0/id", "1"},
        {"added_tokens/1/content", "\"<|begin_of_text|>\""},
        {"added_tokens/0/special", "\"yes\""},
        {"post_processor/processors/1/special_tokens", "{}"},
        {"post_processor/processors/1/special_tokens/<|eot|>/ids", "[99999]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (load_with(cases[i][0], cases[i][1]) != ERR_MALFORMED)
            fail_msg("%s = %s: %s", cases[i][0], cases[i][1], err_message());
    assert_int_equal(load_with("model/vocab/a", "4194304"), ERR_LIMIT);
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&t, bytes_of_str("")).code, ERR_MALFORMED);
    assert_int_equal(tokenizer_new(&t, bytes_of_str("{\"a\":1,\"a\":2}")).code, ERR_MALFORMED);
    assert_int_equal(tokenizer_new(&t, bytes_of_str("[]")).code, ERR_MALFORMED);
}

#define TINY(vocab, merges, extra, added)                                                          \
    "{\"added_tokens\":[" added "],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\"" \
    ":false,\"use_regex\":false},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"" \
    "," extra "\"vocab\":{" vocab "},\"merges\":[" merges "]}}"

static void assert_tiny(const char *json, const char *text, const char *expected)
{
    struct tokenizer *t = NULL;
    BUF_AUTO ids = BUF_INIT, shown = BUF_INIT;
    if (is_err(tokenizer_new(&t, bytes_of_str(json))))
        fail_msg("%s", err_message());
    assert_false(is_err(tokenizer_encode(t, &ids, bytes_of_str(text), false, false)));
    for (size_t i = 0; i < ids.len / 4; i++)
        buf_printf(&shown, "%s%u", i > 0 ? " " : "", ((const uint32_t *)(void *)ids.data)[i]);
    assert_string_equal(buf_str(&shown), expected);
    tokenizer_free(t);
}

static void merges_lowest_rank_first_then_leftmost(void **state)
{
    (void)state;
    static const char json[] = TINY("\"a\":0,\"b\":1,\"aa\":2,\"ab\":3,\"aab\":4",
                                    "\"a b\",\"a a\",[\"a\",\"ab\"]", "", "");
    assert_tiny(json, "aab", "4");
    assert_tiny(json, "aaa", "2 0");
    assert_tiny(json, "aaaab", "2 4");
    assert_tiny(json, "", "");
}

static void bytes_outside_the_vocabulary_become_unknown_or_nothing(void **state)
{
    (void)state;
    assert_tiny(TINY("\"a\":0,\"b\":7", "", "", ""), "axxb", "0 7");
    assert_tiny(TINY("\"a\":0,\"b\":7,\"?\":3", "", "\"unk_token\":\"?\",", ""), "axxb", "0 3 3 7");
    assert_tiny(TINY("\"a\":0,\"b\":7,\"?\":3", "", "\"unk_token\":\"?\",\"fuse_unk\":true,", ""),
                "axxb", "0 3 7");
}

static void merges_never_make_a_special_token(void **state)
{
    (void)state;
    static const char json[] =
        TINY("\"a\":0,\"b\":1,\"ab\":2,\"c\":3,\"abc\":4", "\"a b\",\"ab c\"",
             "\"ignore_merges\":true,", "{\"id\":2,\"content\":\"ab\",\"special\":true}");
    assert_tiny(json, "ab", "0 1");
    assert_tiny(json, "abc", "4"); /* a whole piece */
    struct tokenizer *t = NULL;
    assert_int_equal(
        tokenizer_new(&t, bytes_of_str(TINY("\"a\":0", "", "",
                                            "{\"id\":0,\"content\":\"a\",\"special\":true}")))
            .code,
        ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_changes_nothing),
        cmocka_unit_test(refuses_what_it_does_not_support_by_name),
        cmocka_unit_test(refuses_contradictions),
        cmocka_unit_test(merges_lowest_rank_first_then_leftmost),
        cmocka_unit_test(bytes_outside_the_vocabulary_become_unknown_or_nothing),
        cmocka_unit_test(merges_never_make_a_special_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
