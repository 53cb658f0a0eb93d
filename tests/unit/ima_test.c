/* IMA lists in both forms: every template hash checked, replayed until a quoted PCR 10. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "attest/ima.h"
#include "common/text.h"
#include "tests/unit/eventlog_make.h"
#include "tests/unit/tpm_data.h"

static const struct pcr_bank *sha1_bank, *sha256_bank;
static json_t *expected;

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void refuses(struct bytes data, enum err_code code, const char *reason)
{
    struct ima_result result;
    struct err e = ima_replay(&result, data, sha256_bank, NULL);
    assert_int_equal(e.code, code);
    if (strstr(err_message(), reason) == NULL)
        fail_msg("'%s' does not say '%s'", err_message(), reason);
}

static void append_field(struct buf *out, const void *data, size_t len)
{
    append_u32le(out, (uint32_t)len);
    buf_append(out, data, len);
}

/* d-ng of SHA-256 (32 times `fill`), n-ng, and for ima-sig a third field. */
static void make_data(struct buf *out, uint8_t fill, const char *path, const char *third)
{
    uint8_t digest[8 + 32] = "sha256:";
    memset(digest + 8, fill, 32);
    append_field(out, digest, sizeof digest);
    append_field(out, path, strlen(path) + 1);
    if (third != NULL)
        append_field(out, third, strlen(third));
}

static void make_record(struct buf *out, uint32_t pcr, const char *name, struct bytes data)
{
    uint8_t hash[IMA_SHA1_LEN];
    pcr_bank_hash(sha1_bank, hash, data);
    append_u32le(out, pcr);
    buf_append(out, hash, sizeof hash);
    append_field(out, name, strlen(name));
    append_field(out, data.data, data.len);
}

static void make_ng(struct buf *out, uint8_t fill, const char *path)
{
    BUF_AUTO data = BUF_INIT;
    make_data(&data, fill, path, NULL);
    make_record(out, 10, "ima-ng", buf_bytes(&data));
}

static void make_line(struct buf *out, const char *name, struct bytes data, const char *shown)
{
    uint8_t hash[IMA_SHA1_LEN];
    pcr_bank_hash(sha1_bank, hash, data);
    buf_append_str(out, "10 ");
    buf_append_hex(out, bytes_of(hash, sizeof hash));
    buf_printf(out, " %s %s\n", name, shown);
}

static const char fives[] = "sha256:"
                            "0505050505050505050505050505050505050505050505050505050505050505";

/* Two kinds of entry, in both forms, with the values extended by hand. */
static void make_both(struct buf *binary, struct buf *ascii, uint8_t pcr[SHA256_LEN])
{
    BUF_AUTO ng = BUF_INIT, sig = BUF_INIT, shown = BUF_INIT;
    make_data(&ng, 5, "/bin/a b", NULL);
    make_data(&sig, 5, "/bin/c", "SIG");
    make_record(binary, 10, "ima-ng", buf_bytes(&ng));
    make_record(binary, 10, "ima-sig", buf_bytes(&sig));
    buf_printf(&shown, "%s /bin/a b", fives);
    make_line(ascii, "ima-ng", buf_bytes(&ng), buf_str(&shown));
    buf_clear(&shown);
    buf_printf(&shown, "%s /bin/c 534947", fives);
    make_line(ascii, "ima-sig", buf_bytes(&sig), buf_str(&shown));
    uint8_t hash[SHA256_LEN];
    memset(pcr, 0, SHA256_LEN);
    sha256(hash, buf_bytes(&ng));
    sha256_3(pcr, bytes_of(pcr, SHA256_LEN), bytes_of(hash, SHA256_LEN), (struct bytes){0});
    sha256(hash, buf_bytes(&sig));
    sha256_3(pcr, bytes_of(pcr, SHA256_LEN), bytes_of(hash, SHA256_LEN), (struct bytes){0});
}

static void both_forms_replay_to_the_same_value(void **state)
{
    (void)state;
    BUF_AUTO binary = BUF_INIT, ascii = BUF_INIT;
    uint8_t pcr[SHA256_LEN];
    struct ima_result a, b;
    make_both(&binary, &ascii, pcr);
    must(ima_replay(&a, buf_bytes(&binary), sha256_bank, pcr));
    must(ima_replay(&b, buf_bytes(&ascii), sha256_bank, pcr));
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(a.pcr, pcr, SHA256_LEN);
    assert_int_equal(a.n_entries, 2);
    assert_int_equal(a.n_attested, 2);
}

static void shows_the_fields_of_known_templates(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT, ascii = BUF_INIT;
    uint8_t pcr[SHA256_LEN];
    make_both(&data, &ascii, pcr);
    struct ima_list list;
    struct ima_entry e;
    must(ima_list_init(&list, buf_bytes(&data)));
    must(ima_next(&list, &e));
    must(ima_next(&list, &e));
    assert_true(ima_list_at_end(&list));
    assert_true(e.has_fields);
    assert_true(bytes_equal(e.digest_alg, bytes_of_str("sha256")));
    assert_int_equal(e.digest.len, 32);
    assert_true(bytes_equal(e.path, bytes_of_str("/bin/c")));
    assert_true(bytes_equal(e.extra, bytes_of_str("SIG")));
    ima_list_cleanup(&list);
}

static void an_empty_signature_keeps_its_space(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT, ascii = BUF_INIT, shown = BUF_INIT;
    make_data(&data, 5, "/bin/c", "");
    buf_printf(&shown, "%s /bin/c ", fives);
    make_line(&ascii, "ima-sig", buf_bytes(&data), buf_str(&shown));
    struct ima_result result;
    must(ima_replay(&result, buf_bytes(&ascii), sha256_bank, NULL));
    ascii.data[ascii.len - 2] = '\n';
    refuses(bytes_of(ascii.data, ascii.len - 1), ERR_MALFORMED, "as Linux writes it");
}

/* `ima` hashes its digest and its path padded to 256 bytes. */
static void replays_the_legacy_template(void **state)
{
    (void)state;
    uint8_t measured[20 + 256] = {0}, hash[IMA_SHA1_LEN];
    memset(measured, 0x11, 20);
    strcpy((char *)measured + 20, "/bin/old one");
    pcr_bank_hash(sha1_bank, hash, bytes_of(measured, sizeof measured));
    BUF_AUTO binary = BUF_INIT, ascii = BUF_INIT;
    append_u32le(&binary, 10);
    buf_append(&binary, hash, sizeof hash);
    append_field(&binary, "ima", 3);
    buf_append(&binary, measured, 20);
    append_field(&binary, "/bin/old one", 12);
    make_line(&ascii, "ima", bytes_of(measured, sizeof measured),
              "1111111111111111111111111111111111111111 /bin/old one");
    struct ima_result a, b;
    must(ima_replay(&a, buf_bytes(&binary), sha1_bank, NULL));
    must(ima_replay(&b, buf_bytes(&ascii), sha1_bank, NULL));
    assert_memory_equal(&a, &b, sizeof a);
    uint8_t pcr[IMA_SHA1_LEN] = {0};
    pcr_bank_extend(sha1_bank, pcr, hash);
    assert_memory_equal(a.pcr, pcr, sizeof pcr);
}

static void a_violation_extends_ones_and_is_counted(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_ng(&data, 0, "/bin/open");
    memset(data.data + 4, 0, IMA_SHA1_LEN);
    struct ima_result result;
    must(ima_replay(&result, buf_bytes(&data), sha256_bank, NULL));
    assert_int_equal(result.n_violations, 1);
    uint8_t pcr[SHA256_LEN] = {0}, ones[SHA256_LEN];
    memset(ones, 0xff, sizeof ones);
    pcr_bank_extend(sha256_bank, pcr, ones);
    assert_memory_equal(result.pcr, pcr, sizeof pcr);
}

static void stops_where_the_quoted_value_is_met(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    struct ima_result first, result;
    make_ng(&data, 1, "/bin/a");
    must(ima_replay(&first, buf_bytes(&data), sha256_bank, NULL));
    make_ng(&data, 2, "/bin/b");
    make_ng(&data, 3, "/bin/c");
    must(ima_replay(&result, buf_bytes(&data), sha256_bank, first.pcr));
    assert_int_equal(result.n_attested, 1);
    assert_int_equal(result.n_entries, 3);
    first.pcr[0] ^= 1;
    assert_int_equal(ima_replay(&result, buf_bytes(&data), sha256_bank, first.pcr).code,
                     ERR_UNTRUE);
    static const uint8_t zero[PCR_DIGEST_MAX];
    assert_int_equal(ima_replay(&result, buf_bytes(&data), sha256_bank, zero).code, ERR_UNTRUE);
}

static void never_believes_a_sha1_value(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    struct ima_result result;
    make_ng(&data, 1, "/bin/a");
    must(ima_replay(&result, buf_bytes(&data), sha1_bank, NULL));
    assert_int_equal(ima_replay(&result, buf_bytes(&data), sha1_bank, result.pcr).code,
                     ERR_UNSUPPORTED);
}

static void checks_only_the_hash_of_other_templates(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_record(&data, 10, "evm-sig", bytes_of_str("whatever it holds"));
    struct ima_list list;
    struct ima_entry e;
    must(ima_list_init(&list, buf_bytes(&data)));
    must(ima_next(&list, &e));
    assert_false(e.has_fields);
    ima_list_cleanup(&list);
    BUF_AUTO ascii = BUF_INIT;
    make_line(&ascii, "evm-sig", bytes_of_str("x"), fives);
    refuses(buf_bytes(&ascii), ERR_UNSUPPORTED, "take the binary list");
}

static void refuses_a_template_hash_of_other_data(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_ng(&data, 1, "/bin/a");
    make_ng(&data, 2, "/bin/b");
    data.data[data.len - 2] ^= 1; /* in the last path */
    refuses(buf_bytes(&data), ERR_UNTRUE, "entry 2: its template hash");
}

static void refuses_another_pcr(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT, ascii = BUF_INIT, more = BUF_INIT;
    uint8_t pcr[SHA256_LEN];
    make_both(&data, &ascii, pcr);
    make_data(&more, 1, "/bin/a", NULL);
    make_record(&data, 11, "ima-ng", buf_bytes(&more));
    refuses(buf_bytes(&data), ERR_UNTRUE, "entry 3: it names PCR 11");
    ascii.data[1] = '1';
    refuses(buf_bytes(&ascii), ERR_UNTRUE, "entry 1: it names PCR 11");
}

/* What is left when a list is cut between two entries is a list of fewer entries. */
static void refuses_a_list_cut_inside_an_entry(void **state)
{
    (void)state;
    BUF_AUTO binary = BUF_INIT, ascii = BUF_INIT;
    uint8_t pcr[SHA256_LEN];
    make_both(&binary, &ascii, pcr);
    const struct buf *const lists[] = {&binary, &ascii};
    for (size_t k = 0; k < 2; k++) {
        size_t n_good = 0;
        for (size_t len = 1; len < lists[k]->len; len++) {
            struct ima_result result;
            struct err e = ima_replay(&result, bytes_of(lists[k]->data, len), sha256_bank, NULL);
            n_good += !is_err(e);
            struct err met = ima_replay(&result, bytes_of(lists[k]->data, len), sha256_bank, pcr);
            assert_true(is_err(met));
        }
        assert_int_equal(n_good, 1);
    }
}

static void refuses_fields_that_do_not_fill_the_data(void **state)
{
    (void)state;
    BUF_AUTO good = BUF_INIT, list = BUF_INIT;
    make_data(&good, 1, "/bin/a", NULL);
    buf_append_u8(&good, 0);
    make_record(&list, 10, "ima-ng", buf_bytes(&good));
    refuses(buf_bytes(&list), ERR_MALFORMED, "the fields of template 'ima-ng'");
    buf_clear(&list);
    make_record(&list, 10, "ima-ng", bytes_of_str("\xff\xff\xff\xff"));
    refuses(buf_bytes(&list), ERR_MALFORMED, "the fields of template 'ima-ng'");
    buf_clear(&list);
    buf_clear(&good);
    append_field(&good, "sha256", 7);
    append_field(&good, "/a", 3);
    make_record(&list, 10, "ima-ng", buf_bytes(&good));
    refuses(buf_bytes(&list), ERR_MALFORMED, "the fields of template 'ima-ng'");
}

static void refuses_what_is_no_list(void **state)
{
    (void)state;
    refuses(bytes_of_str(""), ERR_MALFORMED, "neither");
    refuses(bytes_of_str("\x0b\0\0\0"), ERR_MALFORMED, "neither");
    refuses(bytes_of_str("ten"), ERR_MALFORMED, "neither");
    refuses(bytes_of_str("10\n"), ERR_MALFORMED, "as Linux writes it");
    refuses(bytes_of_str("10 00 ima-ng x y\n"), ERR_MALFORMED, "entry 1");
    refuses(bytes_of_str("10 "), ERR_MALFORMED, "does not end in a newline");
    struct ima_result result;
    static const uint8_t byte;
    assert_int_equal(ima_replay(&result, bytes_of(&byte, IMA_MAX + 1), sha256_bank, NULL).code,
                     ERR_LIMIT);
}

static void check_value(const json_t *wanted, const char *key, struct bytes data,
                        const struct pcr_bank *bank)
{
    struct ima_result result;
    BUF_AUTO hex = BUF_INIT;
    must(ima_replay(&result, data, bank, NULL));
    buf_append_hex(&hex, bytes_of(result.pcr, bank->len));
    assert_string_equal(buf_str(&hex), json_string_value(json_object_get(wanted, key)));
    assert_int_equal(result.n_entries, json_integer_value(json_object_get(wanted, "entries")));
    assert_int_equal(result.n_violations,
                     json_integer_value(json_object_get(wanted, "violations")));
}

static void replays_real_lists_to_the_values_that_others_state(void **state)
{
    (void)state;
    const char *path;
    json_t *wanted;
    size_t n = 0;
    if (expected == NULL)
        skip();
    json_object_foreach(json_object_get(expected, "ima"), path, wanted)
    {
        BUF_AUTO data = BUF_INIT;
        tpm_data_file(&data, path);
        check_value(wanted, "pcr10_sha1", buf_bytes(&data), sha1_bank);
        check_value(wanted, "pcr10_sha256", buf_bytes(&data), sha256_bank);
        n++;
    }
    assert_int_equal(n, 2);
}

static int set_up(void **state)
{
    (void)state;
    sha1_bank = pcr_bank_of(TPM_ALG_SHA1_ID);
    sha256_bank = pcr_bank_of(TPM_ALG_SHA256_ID);
    expected = tpm_data_there() ? tpm_data_expected() : NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(expected);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_replay_to_the_same_value),
        cmocka_unit_test(shows_the_fields_of_known_templates),
        cmocka_unit_test(an_empty_signature_keeps_its_space),
        cmocka_unit_test(replays_the_legacy_template),
        cmocka_unit_test(a_violation_extends_ones_and_is_counted),
        cmocka_unit_test(stops_where_the_quoted_value_is_met),
        cmocka_unit_test(never_believes_a_sha1_value),
        cmocka_unit_test(checks_only_the_hash_of_other_templates),
        cmocka_unit_test(refuses_a_template_hash_of_other_data),
        cmocka_unit_test(refuses_another_pcr),
        cmocka_unit_test(refuses_a_list_cut_inside_an_entry),
        cmocka_unit_test(refuses_fields_that_do_not_fill_the_data),
        cmocka_unit_test(refuses_what_is_no_list),
        cmocka_unit_test(replays_real_lists_to_the_values_that_others_state),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
