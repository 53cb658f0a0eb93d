/*
 * Hard texts through every kind of tokenizer: the ids and the decoded text are those of the
 * `tokenizers` library (tests/golden/make_hard_golden.py). And whatever tokens come, the pieces
 * that a stream gives are whole characters and together what decoding all of them at once gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/hash.h"
#include "common/text.h"
#include "engine/tokenizer.h"

#include "text_golden.h"

static const char *const styles[] = {"gpt2",        "llama3",    "qwen2",         "smol",
                                     "o200k",       "cl100k",    "spm_llama2",    "spm_phi3",
                                     "spm_mistral", "spm_never", "spm_metaspace", "spm_legacy"};
enum { N_STYLES = sizeof styles / sizeof styles[0] };

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

static size_t n_ids(const struct buf *ids)
{
    return ids->len / sizeof(uint32_t);
}

static uint32_t id_at(const struct buf *ids, size_t i)
{
    return ((const uint32_t *)(void *)ids->data)[i];
}

/* The text of the case: one of the list, or a unit many times over. */
static void text_of(struct buf *out, const json_t *golden, size_t i)
{
    const json_t *texts = json_object_get(golden, "texts");
    if (i < json_array_size(texts)) {
        const json_t *text = json_array_get(texts, i);
        buf_append(out, json_string_value(text), json_string_length(text));
        return;
    }
    const json_t *many =
        json_array_get(json_object_get(golden, "long"), i - json_array_size(texts));
    for (json_int_t n = json_integer_value(json_array_get(many, 1)); n > 0; n--)
        buf_append_str(out, json_string_value(json_array_get(many, 0)));
}

/* The first 16 hex digits of the SHA-256, as the golden data has it. */
static bool digest_is(struct bytes data, const json_t *expected)
{
    uint8_t hash[SHA256_LEN];
    uint8_t want[8];
    assert_false(is_err(hex_decode(
        want, sizeof want, bytes_of(json_string_value(expected), json_string_length(expected)))));
    sha256(hash, data);
    return memcmp(hash, want, sizeof want) == 0;
}

static void decode(const struct tokenizer *t, const struct buf *ids, struct buf *out)
{
    struct detokenizer d = {0};
    for (size_t i = 0; i < n_ids(ids); i++)
        assert_false(is_err(detokenizer_next(&d, t, id_at(ids, i), out)));
    detokenizer_finish(&d, out);
}

/* `c`: number and digest of the ids with specials, the same without, digest of the text decoded. */
static void check(const char *style, const struct tokenizer *t, struct bytes text, const json_t *c)
{
    BUF_AUTO ids = BUF_INIT, plain = BUF_INIT, decoded = BUF_INIT;
    assert_false(is_err(tokenizer_encode(t, &ids, text, true, false)));
    assert_false(is_err(tokenizer_encode(t, &plain, text, false, false)));
    decode(t, &plain, &decoded);
    const char *wrong =
        n_ids(&ids) != (size_t)json_integer_value(json_array_get(c, 0))     ? "number of ids"
        : !digest_is(buf_bytes(&ids), json_array_get(c, 1))                 ? "ids"
        : n_ids(&plain) != (size_t)json_integer_value(json_array_get(c, 2)) ? "number, plain"
        : !digest_is(buf_bytes(&plain), json_array_get(c, 3))               ? "plain ids"
        : !digest_is(buf_bytes(&decoded), json_array_get(c, 4))             ? "decoded text"
                                                                            : NULL;
    if (wrong != NULL)
        fail_msg("%s: %s of \"%.*s\"", style, wrong, text.len < 200 ? (int)text.len : 200,
                 (const char *)text.data);
}

static void agrees_with_the_library_on_hard_texts(void **state)
{
    (void)state;
    json_t *golden = golden_json("tokenizer_hard_cases.json");
    size_t n = json_array_size(json_object_get(golden, "texts")) +
               json_array_size(json_object_get(golden, "long"));
    assert_true(n > 200);
    for (size_t s = 0; s < N_STYLES; s++) {
        struct tokenizer *t = load(styles[s]);
        const json_t *cases = json_object_get(golden, styles[s]);
        assert_int_equal(json_array_size(cases), n);
        for (size_t i = 0; i < n; i++) {
            BUF_AUTO text = BUF_INIT;
            text_of(&text, golden, i);
            check(styles[s], t, buf_bytes(&text), json_array_get(cases, i));
        }
        tokenizer_free(t);
    }
    json_decref(golden);
}

/* --- streams --- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Random ids; with `bytes_mostly` from those of one byte, so that broken characters abound. */
static void random_ids(const struct tokenizer *t, uint64_t *state, bool bytes_mostly,
                       struct buf *out)
{
    size_t want = 1 + next_random(state) % 60;
    while (n_ids(out) < want) {
        uint32_t id = (uint32_t)(next_random(state) % tokenizer_n_tokens(t));
        BUF_AUTO bytes = BUF_INIT;
        if (is_err(tokenizer_token_bytes(t, id, &bytes)))
            continue; /* a hole among the ids */
        if (!bytes_mostly || (bytes.len == 1 && bytes.data[0] >= 0x80) ||
            next_random(state) % 16 == 0)
            buf_append(out, &id, sizeof id);
    }
}

/* What the tokens' bytes are in one piece, with U+FFFD for each maximal part that is no character:
 * written without the streaming decoder's states. */
static void replace_broken(struct bytes in, struct buf *out)
{
    for (size_t i = 0; i < in.len;) {
        size_t len = 0, best = 0;
        for (len = 1; len <= 4 && i + len <= in.len && best == 0; len++)
            if (utf8_valid(bytes_of(in.data + i, len)))
                best = len;
        if (best > 0) {
            buf_append(out, in.data + i, best);
            i += best;
            continue;
        }
        /* The longest beginning of some character: those that a continuation can complete. */
        size_t part = 1;
        for (len = 2; len <= 3 && i + len <= in.len; len++) {
            bool can = false;
            uint8_t whole[4];
            memcpy(whole, in.data + i, len);
            for (unsigned a = 0x80; a < 0xc0 && !can; a++) {
                whole[len] = (uint8_t)a;
                for (unsigned b = 0x80; len == 2 && b < 0xc0 && !can; b++) {
                    whole[3] = (uint8_t)b;
                    can = utf8_valid(bytes_of(whole, 4));
                }
                can = can || utf8_valid(bytes_of(whole, len + 1));
            }
            if (!can)
                break;
            part = len;
        }
        buf_append_str(out, "\xef\xbf\xbd");
        i += part;
    }
}

static void check_stream(const struct tokenizer *t, const struct buf *ids)
{
    struct detokenizer d = {.started = true}; /* in the middle of a text nothing is stripped */
    BUF_AUTO streamed = BUF_INIT, bytes = BUF_INIT, expected = BUF_INIT;
    for (size_t i = 0; i < n_ids(ids); i++) {
        BUF_AUTO piece = BUF_INIT;
        assert_false(is_err(detokenizer_next(&d, t, id_at(ids, i), &piece)));
        assert_true(utf8_valid(buf_bytes(&piece)));
        assert_true(d.n_pending < 4);
        buf_append_bytes(&streamed, buf_bytes(&piece));
        if (!tokenizer_is_special(t, id_at(ids, i)))
            assert_false(is_err(tokenizer_token_bytes(t, id_at(ids, i), &bytes)));
    }
    detokenizer_finish(&d, &streamed);
    replace_broken(buf_bytes(&bytes), &expected);
    if (!bytes_equal(buf_bytes(&streamed), buf_bytes(&expected)))
        fail_msg("\"%s\" instead of \"%s\"", buf_str(&streamed), buf_str(&expected));
}

static void pieces_of_random_tokens_are_whole_characters_and_the_whole_text(void **state)
{
    (void)state;
    uint64_t random = 0x9e3779b97f4a7c15;
    for (size_t s = 0; s < N_STYLES; s++) {
        struct tokenizer *t = load(styles[s]);
        bool has_bytes = strcmp(styles[s], "spm_metaspace") != 0;
        for (size_t i = 0; i < 400; i++) {
            BUF_AUTO ids = BUF_INIT;
            random_ids(t, &random, has_bytes && i % 2 == 0, &ids);
            check_stream(t, &ids);
        }
        tokenizer_free(t);
    }
}

/* At the start of a text, too, and for texts that were encoded. */
static void a_stream_of_an_encoded_text_is_that_text(void **state)
{
    (void)state;
    json_t *golden = golden_json("tokenizer_hard_cases.json");
    const json_t *texts = json_object_get(golden, "texts");
    struct tokenizer *t = load("llama3"); /* neither normalizes nor strips */
    for (size_t i = 0; i < json_array_size(texts); i++) {
        BUF_AUTO text = BUF_INIT, ids = BUF_INIT, decoded = BUF_INIT;
        text_of(&text, golden, i);
        assert_false(is_err(tokenizer_encode(t, &ids, buf_bytes(&text), false, false)));
        decode(t, &ids, &decoded);
        assert_true(bytes_equal(buf_bytes(&decoded), buf_bytes(&text)));
    }
    tokenizer_free(t);
    json_decref(golden);
}

static void text_that_is_not_utf8_is_refused_by_every_tokenizer(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\xff",         "a\x80",    "\xc3",         "\xe2\x82",
        "\xf0\x9f\x99", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "ok \xc3(x"};
    for (size_t s = 0; s < N_STYLES; s++) {
        struct tokenizer *t = load(styles[s]);
        for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
            BUF_AUTO ids = BUF_INIT;
            struct err e = tokenizer_encode(t, &ids, bytes_of_str(broken[i]), i % 2 == 0, true);
            assert_int_equal(e.code, ERR_MALFORMED);
            assert_int_equal(ids.len, 0);
        }
        tokenizer_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_library_on_hard_texts),
        cmocka_unit_test(pieces_of_random_tokens_are_whole_characters_and_the_whole_text),
        cmocka_unit_test(a_stream_of_an_encoded_text_is_that_text),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_by_every_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
