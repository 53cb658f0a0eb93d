/* Ed25519 verification against Project Wycheproof: every valid signature, no invalid one. */
#include "common/sign.h"
#include "tlog_vectors.h"

static size_t n_skipped;

static void decode(struct buf *out, const char *hex)
{
    uint8_t byte;
    for (size_t i = 0; hex[i] != 0; i += 2) {
        assert_false(is_err(hex_decode(&byte, 1, bytes_of(hex + i, 2))));
        buf_append_u8(out, byte);
    }
}

static void check_case(const json_t *t, const struct buf *key)
{
    BUF_AUTO message = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    decode(&message, vector_text(t, "msg"));
    decode(&signature, vector_text(t, "sig"));
    /* Other lengths never reach the verifier: notes are refused before. */
    bool good = signature.len == ED25519_SIGNATURE_LEN &&
                !is_err(ed25519_verify(key->data, signature.data, buf_bytes(&message)));
    if (good != (strcmp(vector_text(t, "result"), "valid") == 0))
        fail_msg("case %d: %s", (int)vector_number(t, "tcId"), vector_text(t, "comment"));
}

static void every_published_case_is_judged_as_it_should(void **state)
{
    (void)state;
    json_t *j = vectors_load("wycheproof/ed25519_test.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    size_t i, k, n = 0;
    json_t *group, *t;
    json_array_foreach(json_object_get(j, "testGroups"), i, group)
    {
        BUF_AUTO key = BUF_INIT;
        decode(&key, vector_text(json_object_get(group, "publicKey"), "pk"));
        assert_int_equal(key.len, ED25519_PUBLIC_LEN);
        json_array_foreach(json_object_get(group, "tests"), k, t)
        {
            check_case(t, &key);
            n++;
        }
    }
    assert_int_equal(n, vector_number(j, "numberOfTests"));
    json_decref(j);
}

/* Contexts are kept between signatures and between verifications; nothing of one stays for the
 * next. */
static void what_was_signed_or_verified_before_changes_nothing(void **state)
{
    (void)state;
    enum { N = 3 };
    struct ed25519_key *keys[N];
    uint8_t seeds[N][ED25519_SEED_LEN] = {{1}, {2}, {3}}, public[N][ED25519_PUBLIC_LEN];
    static const uint8_t no_point[ED25519_PUBLIC_LEN] = {2}; /* on no curve: RFC 8032, 5.1.3 */
    for (size_t i = 0; i < N; i++) {
        keys[i] = ed25519_key_new(seeds[i]);
        ed25519_public(public[i], seeds[i]);
    }
    for (size_t round = 0; round < 12; round++) {
        size_t i = round % N, other = (round + 1) % N;
        uint8_t text[40] = {(uint8_t)round}, kept[ED25519_SIGNATURE_LEN], anew[sizeof kept];
        struct bytes message = bytes_of(text, 8 + 3 * round % 32);
        ed25519_key_sign(kept, keys[i], message);
        ed25519_sign(anew, seeds[i], message);
        assert_memory_equal(kept, anew, sizeof kept);
        assert_false(is_err(ed25519_verify(public[i], kept, message)));
        assert_int_equal(ed25519_verify(public[other], kept, message).code, ERR_UNTRUE);
        assert_int_equal(ed25519_verify(no_point, kept, message).code, ERR_UNTRUE);
        kept[round] ^= 1;
        assert_int_equal(ed25519_verify(public[i], kept, message).code, ERR_UNTRUE);
        assert_false(is_err(ed25519_verify(public[i], anew, message)));
    }
    for (size_t i = 0; i < N; i++)
        ed25519_key_free(keys[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_or_verified_before_changes_nothing),
        cmocka_unit_test(every_published_case_is_judged_as_it_should),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
