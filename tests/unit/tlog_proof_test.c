/* tlog-proof@v1: what we write verifies; one flaw in entry, index, hashes, checkpoint or key does
 * not; the published forms are read or refused. */
#include "tlog_vectors.h"
#include "transparency/tlog_proof.h"

static size_t n_skipped;
static struct note_signer signer;
static struct merkle_hash leaves[11];
static struct buf proof_text;
static const char *const entries[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"};

static struct err source(void *context, unsigned level, uint64_t index, struct merkle_hash *out)
{
    (void)context;
    *out = merkle_root(leaves + (index << level), (uint64_t)1 << level);
    return err_ok();
}

static int setup(void **state)
{
    (void)state;
    uint8_t seed[ED25519_SEED_LEN] = {7};
    assert_false(is_err(note_signer_init(&signer, "example.org/log", NOTE_ED25519, seed)));
    for (size_t i = 0; i < 11; i++)
        leaves[i] = merkle_leaf(bytes_of_str(entries[i]));
    struct checkpoint c = {
        .origin = "example.org/log", .size = 11, .root = merkle_root(leaves, 11)};
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(checkpoint_sign(&note, &c, &signer)));
    struct tlog_proof p = {.index = 6, .checkpoint = buf_bytes(&note)};
    assert_false(is_err(merkle_prove_inclusion(&p.proof, 6, 11, source, NULL)));
    tlog_proof_format(&proof_text, &p);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_cleanup(&proof_text);
    return 0;
}

static struct err verify(struct checkpoint *c, const char *entry)
{
    struct tlog_proof p;
    TRY(tlog_proof_parse(&p, buf_bytes(&proof_text)));
    return tlog_proof_verify(c, &p, bytes_of_str(entry), "example.org/log", &signer.key);
}

static void what_is_written_is_read_and_verifies(void **state)
{
    (void)state;
    struct checkpoint c;
    assert_false(is_err(verify(&c, "g")));
    assert_int_equal(c.size, 11);
    struct tlog_proof p;
    assert_false(is_err(tlog_proof_parse(&p, buf_bytes(&proof_text))));
    BUF_AUTO again = BUF_INIT;
    tlog_proof_format(&again, &p);
    assert_true(bytes_equal(buf_bytes(&again), buf_bytes(&proof_text)));
}

static void no_changed_bit_verifies(void **state)
{
    (void)state;
    struct checkpoint c = {.size = 17};
    for (size_t i = 0; i < proof_text.len; i++)
        for (int bit = 0; bit < 8; bit += 2) {
            proof_text.data[i] ^= (uint8_t)(1 << bit);
            assert_true(is_err(verify(&c, "g")));
            proof_text.data[i] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(verify(&c, "h").code, ERR_UNTRUE);
    assert_int_equal(verify(&c, "").code, ERR_UNTRUE);
    assert_int_equal(c.size, 17);
}

static void another_log_or_key_is_untrue(void **state)
{
    (void)state;
    struct tlog_proof p;
    struct checkpoint c;
    struct note_signer other;
    uint8_t seed[ED25519_SEED_LEN] = {8};
    assert_false(is_err(note_signer_init(&other, "example.org/log", NOTE_ED25519, seed)));
    assert_false(is_err(tlog_proof_parse(&p, buf_bytes(&proof_text))));
    struct bytes entry = bytes_of_str("g");
    assert_int_equal(tlog_proof_verify(&c, &p, entry, "other", &signer.key).code, ERR_UNTRUE);
    assert_int_equal(tlog_proof_verify(&c, &p, entry, "example.org/log", &other.key).code,
                     ERR_UNTRUE);
    p.index = 5;
    assert_int_equal(tlog_proof_verify(&c, &p, entry, "example.org/log", &signer.key).code,
                     ERR_UNTRUE);
}

static void malformed_proofs_are_refused(void **state)
{
    (void)state;
#define FIRST "c2sp.org/tlog-proof@v1\n"
#define HASH "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    const char *bad[] = {
        "",
        FIRST,
        FIRST "index 0\n",
        FIRST "index 0\n\n",
        FIRST "index 00\n\nc",
        FIRST "index\n\nc",
        FIRST "index  0\n\nc",
        FIRST "index 0\n" HASH "c\n",
        FIRST "index 0\n" HASH "\n",
        FIRST "index 0\nextra AAAA\n\nc",
        FIRST "extra AAAA\nextra AAAA\nindex 0\n\nc",
        FIRST "extra\nindex 0\n\nc",
        FIRST "index 4611686018427387904\n\nc",
        " " FIRST "index 0\n\nc",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nc",
    };
    struct tlog_proof p;
    assert_false(is_err(tlog_proof_parse(&p, bytes_of_str(FIRST "extra \nindex 0\n" HASH "\nc"))));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!is_err(tlog_proof_parse(&p, bytes_of_str(bad[i]))))
            fail_msg("proof %zu was read", i);
    BUF_AUTO many = BUF_INIT;
    buf_append_str(&many, FIRST "index 0\n");
    for (int i = 0; i < MERKLE_PROOF_MAX; i++)
        buf_append_str(&many, HASH);
    size_t full = many.len;
    buf_append_str(&many, "\nc");
    assert_false(is_err(tlog_proof_parse(&p, buf_bytes(&many))));
    many.len = full;
    buf_append_str(&many, HASH "\nc");
    assert_int_equal(tlog_proof_parse(&p, buf_bytes(&many)).code, ERR_MALFORMED);
    uint8_t *big = calloc(1, TLOG_PROOF_MAX + 1);
    assert_int_equal(tlog_proof_parse(&p, bytes_of(big, TLOG_PROOF_MAX + 1)).code, ERR_LIMIT);
    free(big);
}

static void published_forms_are_read_or_refused(void **state)
{
    (void)state;
    json_t *j = vectors_load("tlog-proof/format_cases.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    size_t i;
    json_t *t;
    struct tlog_proof p;
    assert_int_equal(json_array_size(json_object_get(j, "valid")), 2);
    json_array_foreach(json_object_get(j, "valid"), i,
                       t) if (is_err(tlog_proof_parse(&p, bytes_of_str(json_string_value(t)))))
        fail_msg("%s: %s", json_string_value(t), err_message());
    assert_int_equal(p.index, 10);
    assert_int_equal(p.proof.n_hashes, 1);
    assert_int_equal(json_array_size(json_object_get(j, "reject")), 7);
    json_array_foreach(json_object_get(j, "reject"), i,
                       t) if (!is_err(tlog_proof_parse(&p, bytes_of_str(json_string_value(t)))))
        fail_msg("%s is read", json_string_value(t));
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_and_verifies),
        cmocka_unit_test(no_changed_bit_verifies),
        cmocka_unit_test(another_log_or_key_is_untrue),
        cmocka_unit_test(malformed_proofs_are_refused),
        cmocka_unit_test(published_forms_are_read_or_refused),
    };
    int n_failed = cmocka_run_group_tests(tests, setup, teardown);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
