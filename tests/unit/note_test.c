/* Notes and keys: the published ones verify; a flaw anywhere is refused. */
#include "tlog_vectors.h"
#include "transparency/note.h"

static size_t n_skipped;
static struct note note; /* large */
static struct note_signer signer;
static const char text[] = "a text\nof two lines\n";

static int setup(void **state)
{
    (void)state;
    uint8_t seed[ED25519_SEED_LEN] = {7};
    return is_err(note_signer_init(&signer, "example.org/log", NOTE_ED25519, seed));
}

static struct err parse(const struct buf *b)
{
    return note_parse(&note, buf_bytes(b));
}

static struct err parse_and_verify(struct bytes data, const struct note_key *key)
{
    TRY(note_parse(&note, data));
    return note_verify(&note, key);
}

static void what_is_signed_verifies_and_no_changed_byte_does(void **state)
{
    (void)state;
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    assert_false(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
    assert_true(bytes_equal(note.text, bytes_of_str(text)));
    for (size_t i = 0; i < b.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.data[i] ^= (uint8_t)(1 << bit);
            assert_true(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
            b.data[i] ^= (uint8_t)(1 << bit);
        }
    for (size_t len = 0; len < b.len; len++)
        assert_true(is_err(parse_and_verify(bytes_of(b.data, len), &signer.key)));
}

static void lines_by_others_are_skipped_of_whatever_type_and_length(void **state)
{
    (void)state;
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    BUF_AUTO big = BUF_INIT; /* as of ML-DSA-44: 4 + 8 + 2,420 bytes */
    for (size_t i = 0; i < 2432; i++)
        buf_append_u8(&big, (uint8_t)i);
    buf_append_str(&b, "\xe2\x80\x94 w\xc3\xaftness.example ");
    buf_append_base64(&b, buf_bytes(&big));
    buf_append_str(&b,
                   "\n\xe2\x80\x94 example.org/log AAAAAAA=\n"); /* our name, another key's id */
    assert_false(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
    assert_int_equal(note.n_signatures, 3);
    assert_int_equal(note.signatures[1].signature_len, 512);
    assert_int_equal(note.signatures[2].id, 0);
}

static void a_bad_line_by_the_known_key_makes_the_note_untrue(void **state)
{
    (void)state;
    BUF_AUTO other = BUF_INIT;
    assert_false(is_err(note_sign(&other, bytes_of_str("another text\n"), &signer)));
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    assert_false(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
    const char *line = strstr(buf_str(&other), "\xe2\x80\x94");
    buf_append_str(&b, line);
    assert_false(is_err(parse(&b)));
    assert_int_equal(note_verify(&note, &signer.key).code, ERR_UNTRUE);
}

static void a_note_without_the_key_is_untrue(void **state)
{
    (void)state;
    uint8_t seed[ED25519_SEED_LEN] = {8};
    struct note_signer other;
    assert_false(is_err(note_signer_init(&other, "example.org/log", NOTE_ED25519, seed)));
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    assert_int_equal(parse_and_verify(buf_bytes(&b), &other.key).code, ERR_UNTRUE);
}

static void up_to_a_hundred_signatures_are_read(void **state)
{
    (void)state;
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    for (int i = 0; i < NOTE_SIGNATURES_MAX - 1; i++)
        buf_append_str(&b, "\xe2\x80\x94 other AAAAAAA=\n");
    assert_false(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
    assert_int_equal(note.n_signatures, NOTE_SIGNATURES_MAX);
    buf_append_str(&b, "\xe2\x80\x94 other AAAAAAA=\n");
    assert_int_equal(parse(&b).code, ERR_MALFORMED);
}

static void malformed_notes_are_refused(void **state)
{
    (void)state;
#define DASH "\xe2\x80\x94 "
    const char *bad[] = {
        "",
        "\n",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n" DASH "n AAAAAAA=\n",    /* no empty line */
        "text\n\n" DASH "n AAAAAAA=",    /* no newline */
        "text\n\n" DASH "n AAAAAAA\n",   /* no padding */
        "text\n\n" DASH "n AAAAAA==\n",  /* an id and nothing else */
        "text\n\n" DASH "n AAAAAAB=\n",  /* unused bits */
        "text\n\n" DASH "n  AAAAAAA=\n", /* two spaces */
        "text\n\n" DASH " AAAAAAA=\n",   /* no name */
        "text\n\n" DASH "AAAAAAA=\n",    /* no name at all */
        "text\n\n" DASH "a+b AAAAAAA=\n",
        "text\n\n" DASH "a\xc2\xa0"
        "b AAAAAAA=\n",
        "text\n\n" DASH "a\xe3\x80\x80 AAAAAAA=\n",
        "text\n\n- n AAAAAAA=\n",            /* a hyphen */
        "text\n\n\xe2\x80\x93 n AAAAAAA=\n", /* another dash */
        "text\n\n" DASH "n AAAAAAA=\nmore\n",
        "te\rxt\n\n" DASH "n AAAAAAA=\n",
        "te\txt\n\n" DASH "n AAAAAAA=\n",
        "\xff\n\n" DASH "n AAAAAAA=\n",
        "\xed\xa0\x80\n\n" DASH "n AAAAAAA=\n", /* a surrogate */
        "\xc0\x80\n\n" DASH "n AAAAAAA=\n",     /* an overlong NUL */
    };
    assert_false(is_err(note_parse(&note, bytes_of_str("text\n\n" DASH "n AAAAAAA=\n"))));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (note_parse(&note, bytes_of_str(bad[i])).code != ERR_MALFORMED)
            fail_msg("note %zu was accepted: %s", i, bad[i]);
    static const char nul[] = "te\0xt\n\n" DASH "n AAAAAAA=\n";
    assert_int_equal(note_parse(&note, bytes_of(nul, sizeof nul - 1)).code, ERR_MALFORMED);
    uint8_t *big = calloc(1, NOTE_MAX + 1);
    assert_int_equal(note_parse(&note, bytes_of(big, NOTE_MAX + 1)).code, ERR_LIMIT);
    free(big);
}

static void the_last_empty_line_ends_the_text(void **state)
{
    (void)state;
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str("a\n\n" DASH "b AAAAAAA=\n\n\n"), &signer)));
    assert_false(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
    assert_true(bytes_equal(note.text, bytes_of_str("a\n\n" DASH "b AAAAAAA=\n\n\n")));
    assert_int_equal(note.n_signatures, 1);
}

static void what_cannot_be_a_text_is_not_signed(void **state)
{
    (void)state;
    const char *bad[] = {"", "no newline", "tab\t\n", "\xff\n"};
    for (size_t i = 0; i < 4; i++) {
        BUF_AUTO b = BUF_INIT;
        assert_int_equal(note_sign(&b, bytes_of_str(bad[i]), &signer).code, ERR_USAGE);
        assert_int_equal(b.len, 0);
    }
}

static void names_are_strict(void **state)
{
    (void)state;
    const char *bad[] = {"",         "a b",          "a\tb",         "a+b",          "a\nb",
                         "\xff",     "a\xc2\x85",    "a\xc2\xa0",    "\xe1\x9a\x80", "\xe2\x80\x80",
                         "a\x7f",    "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xaf", "\xe2\x81\x9f",
                         "a\xc2\x9b"};
    struct note_key key;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(note_key_init(&key, bad[i], NOTE_ED25519, signer.key.public_key).code,
                         ERR_USAGE);
    char name[NOTE_NAME_MAX + 2] = {0};
    memset(name, 'n', NOTE_NAME_MAX + 1);
    assert_int_equal(note_key_init(&key, name, NOTE_ED25519, signer.key.public_key).code,
                     ERR_USAGE);
    name[NOTE_NAME_MAX] = 0;
    assert_false(is_err(note_key_init(&key, name, NOTE_ED25519, signer.key.public_key)));
    assert_false(is_err(note_key_init(&key, "bl\xc3\xa4tt.example/\xe2\x80\x8b\xf0\x9f\x8d\x83",
                                      NOTE_ED25519, signer.key.public_key)));
    assert_int_equal(note_key_init(&key, "n", 0x06, signer.key.public_key).code, ERR_USAGE);
}

static void keys_have_one_text(void **state)
{
    (void)state;
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &signer.key);
    struct note_key key;
    assert_false(is_err(note_vkey_parse(&key, buf_bytes(&vkey))));
    assert_memory_equal(&key, &signer.key, sizeof key);
    for (size_t i = 0; i < vkey.len; i++) {
        vkey.data[i] ^= 1;
        assert_true(is_err(note_vkey_parse(&key, buf_bytes(&vkey))));
        vkey.data[i] ^= 1;
        assert_true(is_err(note_vkey_parse(&key, bytes_of(vkey.data, i))));
    }
    BUF_AUTO skey = BUF_INIT;
    note_skey_format(&skey, &signer);
    struct note_signer again;
    assert_false(is_err(note_skey_parse(&again, buf_bytes(&skey))));
    assert_memory_equal(&again, &signer, sizeof again);
    skey.data[skey.len - 9] ^= 1; /* another seed under the same id */
    assert_int_equal(note_skey_parse(&again, buf_bytes(&skey)).code, ERR_MALFORMED);
}

static void a_cosignature_has_its_time_under_its_signature(void **state)
{
    (void)state;
    uint8_t seed[ED25519_SEED_LEN] = {9};
    struct note_signer witness;
    uint64_t time_s = 5;
    assert_false(is_err(note_signer_init(&witness, "w.example", NOTE_COSIGNATURE, seed)));
    BUF_AUTO b = BUF_INIT;
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    assert_false(is_err(parse(&b)));
    assert_int_equal(note_verify_cosignature(&note, &witness.key, &time_s).code, ERR_NOT_FOUND);
    assert_false(is_err(note_cosign(&b, bytes_of_str(text), &witness, 2000)));
    assert_false(is_err(note_cosign(&b, bytes_of_str(text), &witness, 1000)));
    assert_false(is_err(parse_and_verify(buf_bytes(&b), &signer.key)));
    assert_false(is_err(note_verify_cosignature(&note, &witness.key, &time_s)));
    assert_int_equal(time_s, 1000); /* the earliest */
    for (size_t i = 0; i < 72; i++) {
        note.signatures[1].signature[i] ^= 1;
        assert_int_equal(note_verify_cosignature(&note, &witness.key, &time_s).code, ERR_UNTRUE);
        note.signatures[1].signature[i] ^= 1;
    }
    note.signatures[1].signature_len = 71;
    assert_int_equal(note_verify_cosignature(&note, &witness.key, &time_s).code, ERR_UNTRUE);
    assert_int_equal(time_s, 1000); /* untouched */
}

static void the_kinds_of_keys_do_not_stand_in_for_each_other(void **state)
{
    (void)state;
    struct note_signer witness;
    assert_false(
        is_err(note_signer_init(&witness, "example.org/log", NOTE_COSIGNATURE, signer.seed)));
    assert_int_not_equal(witness.key.id, signer.key.id);
    BUF_AUTO b = BUF_INIT;
    uint64_t time_s;
    assert_int_equal(note_sign(&b, bytes_of_str(text), &witness).code, ERR_USAGE);
    assert_int_equal(note_cosign(&b, bytes_of_str(text), &signer, 1).code, ERR_USAGE);
    assert_int_equal(note_cosign(&b, bytes_of_str(text), &witness, 0).code, ERR_USAGE);
    assert_false(is_err(note_sign(&b, bytes_of_str(text), &signer)));
    assert_false(is_err(parse(&b)));
    assert_int_equal(note_verify(&note, &witness.key).code, ERR_USAGE);
    assert_int_equal(note_verify_cosignature(&note, &signer.key, &time_s).code, ERR_USAGE);
}

/* What others published. */

static void check_note(const json_t *n)
{
    const char *name = vector_text(n, "name");
    struct note_key key;
    assert_false(is_err(note_vkey_parse(&key, bytes_of_str(vector_text(n, "vkey")))));
    BUF_AUTO data = BUF_INIT;
    if (json_object_get(n, "note_b64") != NULL)
        assert_false(
            is_err(base64_decode(&data, bytes_of_str(vector_text(n, "note_b64")), NOTE_MAX)));
    else
        buf_append_str(&data, vector_text(n, "note"));
    bool good = !is_err(parse_and_verify(buf_bytes(&data), &key));
    if (good != (strcmp(vector_text(n, "expect"), "valid") == 0))
        fail_msg("%s: %s", name, good ? "verifies" : err_message());
    struct note_signer s;
    uint8_t seed[ED25519_SEED_LEN];
    const char *hex = vector_text(n, "ed25519_seed_hex");
    if (json_object_get(n, "skey") != NULL)
        assert_false(is_err(note_skey_parse(&s, bytes_of_str(vector_text(n, "skey")))));
    else if (!is_err(hex_decode(seed, sizeof seed, bytes_of_str(hex))))
        assert_false(is_err(note_signer_init(&s, key.name, NOTE_ED25519, seed)));
    else
        return;
    BUF_AUTO again = BUF_INIT; /* Ed25519 is deterministic: we sign the same bytes */
    assert_false(is_err(note_sign(&again, note.text, &s)));
    assert_true(bytes_equal(buf_bytes(&again), buf_bytes(&data)));
}

static void published_notes_verify_or_are_refused(void **state)
{
    (void)state;
    json_t *j = vectors_load("signed-note/notes.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    size_t i;
    json_t *n;
    assert_true(json_array_size(json_object_get(j, "notes")) >= 17);
    json_array_foreach(json_object_get(j, "notes"), i, n) check_note(n);
    json_decref(j);
}

static void published_keys_are_read_or_refused(void **state)
{
    (void)state;
    json_t *j = vectors_load("signed-note/notes.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    size_t i;
    json_t *n;
    struct note_key key;
    json_array_foreach(json_object_get(j, "vkeys_valid_keyid"), i, n)
    {
        if (is_err(note_vkey_parse(&key, bytes_of_str(json_string_value(n)))))
            fail_msg("%s: %s", json_string_value(n), err_message());
        BUF_AUTO again = BUF_INIT;
        note_vkey_format(&again, &key);
        assert_string_equal(buf_str(&again), json_string_value(n));
    }
    json_array_foreach(json_object_get(j, "vkeys_reject"), i,
                       n) if (!is_err(note_vkey_parse(&key, bytes_of_str(json_string_value(n)))))
        fail_msg("%s is read", json_string_value(n));
    json_decref(j);
}

static void published_cosignatures_verify_or_are_passed_over(void **state)
{
    (void)state;
    json_t *j = vectors_load("cosignature/sigsum_witness_lines.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    static const enum err_code wanted[] = {ERR_NOT_FOUND, ERR_NONE, ERR_NOT_FOUND, ERR_UNTRUE};
    struct bytes body = bytes_of_str(vector_text(j, "checkpoint_body"));
    struct note_key key;
    assert_false(is_err(note_vkey_parse(&key, bytes_of_str(vector_text(j, "witness_vkey")))));
    const json_t *lines = json_object_get(j, "signature_lines");
    for (size_t i = 0; i < 4; i++) {
        BUF_AUTO data = BUF_INIT;
        buf_append_bytes(&data, body);
        buf_printf(&data, "\n%s\n", json_string_value(json_array_get(lines, i)));
        assert_false(is_err(parse(&data)));
        uint64_t time_s = 0;
        assert_int_equal(note_verify_cosignature(&note, &key, &time_s).code, wanted[i]);
        assert_int_equal(time_s, wanted[i] == ERR_NONE ? 1234 : 0);
    }
    uint8_t seed[ED25519_SEED_LEN];
    struct note_signer s;
    BUF_AUTO line = BUF_INIT;
    assert_false(is_err(hex_decode(seed, 32, bytes_of_str(vector_text(j, "witness_seed_hex")))));
    assert_false(is_err(note_signer_init(&s, key.name, NOTE_COSIGNATURE, seed)));
    assert_false(is_err(note_cosign(&line, body, &s, 1234)));
    line.len--;
    assert_string_equal(buf_str(&line), json_string_value(json_array_get(lines, 1)));
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_signed_verifies_and_no_changed_byte_does),
        cmocka_unit_test(lines_by_others_are_skipped_of_whatever_type_and_length),
        cmocka_unit_test(a_bad_line_by_the_known_key_makes_the_note_untrue),
        cmocka_unit_test(a_note_without_the_key_is_untrue),
        cmocka_unit_test(up_to_a_hundred_signatures_are_read),
        cmocka_unit_test(malformed_notes_are_refused),
        cmocka_unit_test(the_last_empty_line_ends_the_text),
        cmocka_unit_test(what_cannot_be_a_text_is_not_signed),
        cmocka_unit_test(names_are_strict),
        cmocka_unit_test(keys_have_one_text),
        cmocka_unit_test(a_cosignature_has_its_time_under_its_signature),
        cmocka_unit_test(the_kinds_of_keys_do_not_stand_in_for_each_other),
        cmocka_unit_test(published_notes_verify_or_are_refused),
        cmocka_unit_test(published_keys_are_read_or_refused),
        cmocka_unit_test(published_cosignatures_verify_or_are_passed_over),
    };
    int n_failed = cmocka_run_group_tests(tests, setup, NULL);
    return vectors_exit_code(n_failed, sizeof tests / sizeof tests[0], n_skipped);
}
