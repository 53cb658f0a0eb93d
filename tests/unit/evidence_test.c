/* Evidence survives the way to JSON and back, and foreign JSON is read strictly and within bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attest/evidence.h"

static void fill_proof(struct merkle_proof *p, size_t n, uint8_t fill)
{
    p->n_hashes = n;
    memset(p->hashes, fill, sizeof p->hashes);
}

static void make(struct evidence *e)
{
    struct merkle_proof proof;
    *e = EVIDENCE_INIT;
    evidence_set_checkpoint(e, bytes_of_str("origin\n3\nroot\n\n\xe2\x80\x94 name sig\n"));
    fill_proof(&proof, 2, 0x55);
    evidence_add_statement(e, 7, bytes_of_str("line \"one\"\nline \\ two\n"), &proof);
    fill_proof(&proof, 0, 0);
    evidence_add_statement(e, 0, bytes_of_str("x\n"), &proof);
    fill_proof(&proof, MERKLE_PROOF_MAX, 0xff);
    evidence_add_head(e, bytes_of_str("head\n"), &proof);
    evidence_add_blob(e, bytes_of("\0\1\2\3", 4));
    evidence_add_blob(e, bytes_of_str(""));
    evidence_add_blob(e, bytes_of("\0\1\2\3", 4)); /* once per content */
    fill_proof(&proof, 1, 0x77);
    evidence_set_quote(e, bytes_of_str("quote\n"), 2, &proof);
}

static void comes_back_from_json_as_it_was(void **state)
{
    (void)state;
    struct evidence e, back;
    make(&e);
    BUF_AUTO json = BUF_INIT, again = BUF_INIT;
    evidence_format(&json, &e);
    struct err err = evidence_parse(&back, buf_bytes(&json));
    if (is_err(err))
        fail_msg("%s", err_message());
    assert_int_equal(back.n_statements, 2);
    assert_int_equal(back.statements[0].index, 7);
    assert_int_equal(back.statements[0].proof.n_hashes, 2);
    assert_true(bytes_equal(buf_bytes(&back.statements[0].text), buf_bytes(&e.statements[0].text)));
    assert_int_equal(back.heads[0].proof.n_hashes, MERKLE_PROOF_MAX);
    assert_int_equal(back.n_blobs, 2);
    assert_int_equal(back.blobs[1].len, 0);
    assert_int_equal(back.nonce_index, 2);
    evidence_format(&again, &back);
    assert_true(bytes_equal(buf_bytes(&json), buf_bytes(&again)));
    evidence_cleanup(&e);
    evidence_cleanup(&back);
}

static void finds_a_blob_only_by_size_and_hash(void **state)
{
    (void)state;
    struct evidence e;
    make(&e);
    struct blob_ref ref;
    struct bytes found;
    blob_ref_of(&ref, bytes_of("\0\1\2\3", 4));
    assert_false(is_err(evidence_blob(&e, &ref, &found)));
    assert_int_equal(found.len, 4);
    ref.size = 5;
    assert_int_equal(evidence_blob(&e, &ref, &found).code, ERR_NOT_FOUND);
    ref.size = 4;
    ref.sha256[0] ^= 1;
    assert_int_equal(evidence_blob(&e, &ref, &found).code, ERR_NOT_FOUND);
    evidence_cleanup(&e);
}

#define BASE                                                                                       \
    "{\"format\":\"blindllama-evidence/v1\",\"checkpoint\":\"c\",\"statements\":[{\"index\":1,"    \
    "\"text\":\"t\",\"proof\":[]}],\"heads\":[{\"note\":\"n\",\"proof\":[]}],\"blobs\":[\"AAE=\"]" \
    ","                                                                                            \
    "\"quote\":\"q\",\"nonce\":{\"index\":0,\"proof\":[]}}"

/* BASE with the first `from` replaced. */
static struct err parse_changed(struct evidence *out, const char *from, const char *to)
{
    const char *at = strstr(BASE, from);
    assert_non_null(at);
    BUF_AUTO text = BUF_INIT;
    buf_append(&text, BASE, (size_t)(at - BASE));
    buf_append_str(&text, to);
    buf_append_str(&text, at + strlen(from));
    return evidence_parse(out, buf_bytes(&text));
}

static void takes_the_smallest_bundle(void **state)
{
    (void)state;
    struct evidence e;
    struct err err = evidence_parse(&e, bytes_of_str(BASE));
    if (is_err(err))
        fail_msg("%s", err_message());
    evidence_cleanup(&e);
}

static void refuses_each_single_flaw(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } flaws[] = {
        {"{\"format\"", "[{\"format\"", "not JSON"},
        {"}}", "}} x", "not JSON"},
        {"}}", "}", "not JSON"},
        {"\"c\"", "\"\xff\"", "not JSON"},
        {"\"c\"", "\"\\u0000\"", "not JSON"},
        {"\"c\"", "7", "'checkpoint' is not a string"},
        {"\"c\"", "\"\"", "'checkpoint' is empty"},
        {"evidence/v1", "evidence/v2", "'format' is not"},
        {"\"format\":\"blindllama-evidence/v1\",", "", "no key 'format'"},
        {"\"quote\":\"q\",", "", "no key 'quote'"},
        {"\"quote\":\"q\",", "\"quote\":\"q\",\"quote\":\"q\",", "not JSON: duplicate"},
        {"\"quote\":\"q\",", "\"quote\":\"q\",\"extra\":1,", "keys that the format does not know"},
        {"\"text\":\"t\"", "\"text\":\"t\",\"more\":1", "keys that the format does not know"},
        {"\"index\":1", "\"index\":-1", "'index' is not a whole number"},
        {"\"index\":1", "\"index\":1.0", "'index' is not a whole number"},
        {"\"index\":1", "\"index\":\"1\"", "'index' is not a whole number"},
        {"\"index\":1", "\"index\":01", "not JSON"},
        {"\"index\":1", "\"index\":4611686018427387904", "larger than any log"},
        {"\"index\":1", "\"index\":18446744073709551616", "not JSON"},
        {"\"proof\":[]}],\"heads\"", "\"proof\":{}}],\"heads\"", "'proof' is not a list"},
        {"\"proof\":[]}],\"heads\"", "\"proof\":[\"AAAA\"]}],\"heads\"",
         "proof: base64 of 3 bytes"},
        {"\"proof\":[]}],\"heads\"", "\"proof\":[1]}],\"heads\"", "'proof' is not a string"},
        {"[{\"index\"", "[7,{\"index\"", "not an object"},
        {"[\"AAE=\"]", "[\"AAF=\"]", "blob 0"},
        {"[\"AAE=\"]", "[\"AAE\"]", "blob 0"},
        {"[\"AAE=\"]", "[\"AAE=\\n\"]", "blob 0"},
        {"[\"AAE=\"]", "[\"AAE=\",\"AAE=\"]", "blob 1 is there twice"},
        {"[\"AAE=\"]", "\"AAE=\"", "'blobs' is not a list"},
        {"\"nonce\":{\"index\":0", "\"nonce\":{\"index\":null", "nonce index"},
        {"{\"index\":0,\"proof\":[]}", "[]", "'nonce' is not an object"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        struct evidence e;
        struct err err = parse_changed(&e, flaws[i].from, flaws[i].to);
        if (!is_err(err) || strstr(err_message(), flaws[i].says) == NULL)
            fail_msg("case %zu: '%s' where '%s' is expected", i,
                     is_err(err) ? err_message() : "taken", flaws[i].says);
    }
}

static struct err parse_with_list(const char *from, const char *open, const char *item, size_t n,
                                  const char *close)
{
    BUF_AUTO list = BUF_INIT;
    buf_append_str(&list, open);
    for (size_t i = 0; i < n; i++)
        buf_printf(&list, "%s%s", i > 0 ? "," : "", item);
    buf_append_str(&list, close);
    struct evidence e;
    struct err err = parse_changed(&e, from, buf_str(&list));
    if (!is_err(err))
        evidence_cleanup(&e);
    return err;
}

static void refuses_more_than_the_limits(void **state)
{
    (void)state;
    const char statement[] = "{\"index\":1,\"text\":\"t\",\"proof\":[]}";
    const char head[] = "{\"note\":\"n\",\"proof\":[]}";
    const char hash[] = "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"";
    assert_false(is_err(parse_with_list(statement, "", statement, EVIDENCE_STATEMENTS_MAX, "")));
    assert_int_equal(
        parse_with_list(statement, "", statement, EVIDENCE_STATEMENTS_MAX + 1, "").code, ERR_LIMIT);
    assert_false(is_err(parse_with_list(head, "", head, EVIDENCE_HEADS_MAX, "")));
    assert_int_equal(parse_with_list(head, "", head, EVIDENCE_HEADS_MAX + 1, "").code, ERR_LIMIT);
    assert_false(is_err(parse_with_list("[]", "[", hash, MERKLE_PROOF_MAX, "]")));
    assert_int_equal(parse_with_list("[]", "[", hash, MERKLE_PROOF_MAX + 1, "]").code, ERR_LIMIT);
    assert_int_equal(parse_with_list("[\"AAE=\"]", "[", "\"\"", EVIDENCE_BLOBS_MAX + 1, "]").code,
                     ERR_LIMIT);
    assert_int_equal(parse_with_list("[]", "[", "[]", 40000, "]").code, ERR_LIMIT);
}

static void refuses_more_than_eight_mib(void **state)
{
    (void)state;
    BUF_AUTO json = BUF_INIT;
    buf_append_str(&json, BASE);
    while (json.len < EVIDENCE_MAX)
        buf_append_str(&json, "\n");
    struct evidence e;
    assert_false(is_err(evidence_parse(&e, buf_bytes(&json))));
    evidence_cleanup(&e);
    buf_append_str(&json, "\n");
    assert_int_equal(evidence_parse(&e, buf_bytes(&json)).code, ERR_LIMIT);
}

static void refuses_a_statement_that_is_too_long(void **state)
{
    (void)state;
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "\"text\":\"");
    for (int i = 0; i < STATEMENT_MAX + 1; i++)
        buf_append_u8(&text, 'a');
    buf_append_str(&text, "\"");
    struct evidence e;
    assert_int_equal(parse_changed(&e, "\"text\":\"t\"", buf_str(&text)).code, ERR_LIMIT);
}

static void refuses_deep_nesting(void **state)
{
    (void)state;
    BUF_AUTO json = BUF_INIT;
    for (int i = 0; i < 30000; i++)
        buf_append_str(&json, "[");
    struct evidence e;
    assert_int_equal(evidence_parse(&e, buf_bytes(&json)).code, ERR_MALFORMED);
    assert_int_equal(evidence_parse(&e, bytes_of(NULL, 0)).code, ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_from_json_as_it_was),
        cmocka_unit_test(finds_a_blob_only_by_size_and_hash),
        cmocka_unit_test(takes_the_smallest_bundle),
        cmocka_unit_test(refuses_each_single_flaw),
        cmocka_unit_test(refuses_more_than_the_limits),
        cmocka_unit_test(refuses_more_than_eight_mib),
        cmocka_unit_test(refuses_a_statement_that_is_too_long),
        cmocka_unit_test(refuses_deep_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
