/* Checkpoints: origin, size, root, signature, each needed; and what witnesses were shown. */
#include "tlog_vectors.h"
#include "transparency/checkpoint.h"

static size_t n_skipped;
static struct note_signer signer;
#define ROOT "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static int setup(void **state)
{
    (void)state;
    uint8_t seed[ED25519_SEED_LEN] = {7};
    return is_err(note_signer_init(&signer, "example.org/log", NOTE_ED25519, seed));
}

static void a_checkpoint_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct checkpoint c = {
        .origin = "example.org/log", .size = MERKLE_SIZE_MAX, .root = {{1, 2, 3}}};
    struct checkpoint back;
    BUF_AUTO text = BUF_INIT;
    checkpoint_format(&text, &c);
    assert_false(is_err(checkpoint_parse(&back, buf_bytes(&text))));
    assert_memory_equal(&back, &c, sizeof c);
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(checkpoint_sign(&note, &c, &signer)));
    memset(&back, 0, sizeof back);
    assert_false(is_err(checkpoint_verify(&back, buf_bytes(&note), c.origin, &signer.key)));
    assert_memory_equal(&back, &c, sizeof c);
}

static void origins_may_hold_spaces_and_extensions_are_read_over(void **state)
{
    (void)state;
    struct checkpoint c;
    struct bytes text = bytes_of_str("go.sum database tree\n0\n" ROOT "\nan extension\nmore\n");
    assert_false(is_err(checkpoint_parse(&c, text)));
    assert_string_equal(c.origin, "go.sum database tree");
    assert_int_equal(c.size, 0);
}

static void malformed_checkpoints_are_refused(void **state)
{
    (void)state;
    const char *bad[] = {
        "",
        "o\n",
        "o\n1\n",
        "o\n1\n" ROOT,
        "\n1\n" ROOT "\n",
        "o\n01\n" ROOT "\n",
        "o\n+1\n" ROOT "\n",
        "o\n-1\n" ROOT "\n",
        "o\n\n" ROOT "\n",
        "o\n1 \n" ROOT "\n",
        "o\n4611686018427387905\n" ROOT "\n",
        "o\n18446744073709551616\n" ROOT "\n",
        "o\n1\nAAAA\n",
        "o\n1\n" ROOT ROOT "\n",
        "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        "o\n1\n" ROOT "\n\n",
        "o\n1\n" ROOT "\nunfinished",
        "o\n0x1\n" ROOT "\n",
    };
    struct checkpoint c = {.size = 17};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!is_err(checkpoint_parse(&c, bytes_of_str(bad[i]))))
            fail_msg("checkpoint %zu is read", i);
    assert_int_equal(c.size, 17); /* untouched */
    char long_origin[NOTE_NAME_MAX + 64];
    memset(long_origin, 'o', NOTE_NAME_MAX + 1);
    strcpy(long_origin + NOTE_NAME_MAX + 1, "\n0\n" ROOT "\n");
    assert_int_equal(checkpoint_parse(&c, bytes_of_str(long_origin)).code, ERR_MALFORMED);
    assert_false(is_err(checkpoint_parse(&c, bytes_of_str(long_origin + 1))));
}

static void one_wrong_thing_makes_a_checkpoint_untrue(void **state)
{
    (void)state;
    struct checkpoint c = {.origin = "example.org/log", .size = 5}, out = {.size = 17};
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(checkpoint_sign(&note, &c, &signer)));
    struct note_signer other;
    uint8_t seed[ED25519_SEED_LEN] = {8};
    assert_false(is_err(note_signer_init(&other, "example.org/log", NOTE_ED25519, seed)));
    struct bytes data = buf_bytes(&note);
    assert_int_equal(checkpoint_verify(&out, data, c.origin, &other.key).code, ERR_UNTRUE);
    assert_int_equal(checkpoint_verify(&out, data, "example.org/log2", &signer.key).code,
                     ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "example.org/log2"));
    for (size_t i = 0; i < note.len; i++) {
        note.data[i] ^= 1;
        assert_true(is_err(checkpoint_verify(&out, data, c.origin, &signer.key)));
        note.data[i] ^= 1;
    }
    assert_int_equal(out.size, 17); /* untouched */
    assert_false(is_err(checkpoint_verify(&out, data, c.origin, &signer.key)));
}

static void a_signed_note_that_is_no_checkpoint_is_malformed(void **state)
{
    (void)state;
    struct checkpoint c;
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(note_sign(&note, bytes_of_str("example.org/log\nhello\n"), &signer)));
    assert_int_equal(checkpoint_verify(&c, buf_bytes(&note), "example.org/log", &signer.key).code,
                     ERR_MALFORMED);
}

static void an_impossible_checkpoint_is_not_signed(void **state)
{
    (void)state;
    struct checkpoint c = {.origin = "two\nlines", .size = 5};
    BUF_AUTO note = BUF_INIT;
    assert_true(is_err(checkpoint_sign(&note, &c, &signer)));
    strcpy(c.origin, "");
    assert_true(is_err(checkpoint_sign(&note, &c, &signer)));
    strcpy(c.origin, "o");
    c.size = MERKLE_SIZE_MAX + 1;
    assert_true(is_err(checkpoint_sign(&note, &c, &signer)));
    assert_int_equal(note.len, 0);
}

/* Two checkpoints of one log, signed by others, and the proof that one grew into the other. */
static void a_published_log_grew_from_5_to_8(void **state)
{
    (void)state;
    json_t *j = vectors_load("tlog-witness/tdev_witness_monkeys.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    struct note_key key;
    struct checkpoint old, new;
    assert_false(is_err(note_vkey_parse(&key, bytes_of_str(vector_text(j, "log_vkey")))));
    assert_false(
        is_err(checkpoint_verify(&old, bytes_of_str(vector_text(j, "old")), "monkeys", &key)));
    assert_false(
        is_err(checkpoint_verify(&new, bytes_of_str(vector_text(j, "new")), "monkeys", &key)));
    struct merkle_proof p = {.n_hashes = 4};
    for (size_t i = 0; i < 4; i++) {
        const char *hex = json_string_value(json_array_get(json_object_get(j, "proof_hex"), i));
        assert_false(is_err(hex_decode(p.hashes[i].bytes, 32, bytes_of_str(hex))));
    }
    assert_int_equal(old.size, 5);
    assert_int_equal(new.size, 8);
    assert_false(is_err(merkle_verify_consistency(5, &old.root, 8, &new.root, &p)));
    assert_true(is_err(merkle_verify_consistency(4, &old.root, 8, &new.root, &p)));
    json_decref(j);
}

/* One request of a witness' transcript: "old N", hashes, empty line, checkpoint; then the code. */
struct request {
    uint64_t old;
    struct merkle_proof proof;
    struct bytes checkpoint;
    unsigned status;
};

/* Finds the next ``` block after *at, and the "HTTP nnn" behind it. */
static bool next_request(struct request *out, const char **at)
{
    const char *start = strstr(*at, "\n```\nold ");
    const char *end = start != NULL ? strstr(start + 5, "```") : NULL;
    if (end == NULL)
        return false;
    *at = end + 3;
    out->status = (unsigned)strtoul(strstr(end, "HTTP ") + 5, NULL, 10);
    struct reader r = reader_of(bytes_of(start + 5, (size_t)(end - start - 5)));
    struct bytes line = read_line(&r);
    assert_false(is_err(decimal_decode(&out->old, bytes_of(line.data + 4, line.len - 4), 1000)));
    out->proof.n_hashes = 0;
    while ((line = read_line(&r)).len > 0) {
        struct merkle_hash *h = &out->proof.hashes[out->proof.n_hashes++];
        assert_false(is_err(base64_decode_exact(h->bytes, SHA256_LEN, line)));
    }
    out->checkpoint = read_bytes(&r, reader_left(&r));
    return true;
}

/* What a witness of this library would answer (C2SP tlog-witness), knowing `known`. */
static unsigned answer(struct checkpoint *known, const struct request *q, const char *origin,
                       const struct note_key *key)
{
    struct checkpoint c;
    if (is_err(checkpoint_verify(&c, q->checkpoint, origin, key)))
        return 403;
    if (q->old > c.size)
        return 400;
    if (q->old != known->size)
        return 409;
    if (is_err(merkle_verify_consistency(q->old, &known->root, c.size, &c.root, &q->proof)))
        return 422;
    *known = c;
    return 200;
}

static void replay_transcript(const char *name, const char *origin, const struct note_key *key,
                              unsigned n_wanted)
{
    char path[512];
    snprintf(path, sizeof path, "%s/vectors/tlog-witness/torchwood/%s", BL_SHARED_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char text[32768];
    size_t len = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[len] = 0;
    const char *at = text;
    struct checkpoint known = {.root = merkle_empty()};
    struct request q;
    unsigned n = 0;
    for (; next_request(&q, &at); n++)
        assert_int_equal(answer(&known, &q, origin, key), q.status);
    assert_int_equal(n, n_wanted);
}

static void a_witness_transcript_gets_the_same_answers(void **state)
{
    (void)state;
    json_t *j = vectors_load("tlog-witness/tdev_witness_monkeys.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    json_decref(j);
    struct note_key key;
    uint8_t public_key[ED25519_PUBLIC_LEN];
    const char *origin =
        "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
    struct bytes hex =
        bytes_of_str("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f");
    assert_false(is_err(hex_decode(public_key, 32, hex)));
    assert_false(is_err(note_key_init(&key, origin, NOTE_ED25519, public_key)));
    replay_transcript("litewitness.txt", origin, &key, 9);
    struct bytes vkey =
        bytes_of_str("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8");
    assert_false(is_err(note_vkey_parse(&key, vkey)));
    replay_transcript("sumdb.txt", "go.sum database tree", &key, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_is_read_as_it_was_written),
        cmocka_unit_test(origins_may_hold_spaces_and_extensions_are_read_over),
        cmocka_unit_test(malformed_checkpoints_are_refused),
        cmocka_unit_test(one_wrong_thing_makes_a_checkpoint_untrue),
        cmocka_unit_test(a_signed_note_that_is_no_checkpoint_is_malformed),
        cmocka_unit_test(an_impossible_checkpoint_is_not_signed),
        cmocka_unit_test(a_published_log_grew_from_5_to_8),
        cmocka_unit_test(a_witness_transcript_gets_the_same_answers),
    };
    int n_failed = cmocka_run_group_tests(tests, setup, NULL);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
