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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_case_is_judged_as_it_should),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
