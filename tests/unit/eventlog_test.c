/* Event logs: parsed whole or refused, and replayed by their digests alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/eventlog_make.h"

enum { EV_SEPARATOR = 4, EV_IPL = 13 };

static const struct pcr_bank *bank(const char *name)
{
    return pcr_bank_named(bytes_of_str(name));
}

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static void refuses(const struct buf *data, enum err_code code, const char *reason)
{
    struct eventlog log;
    struct err e = eventlog_parse(&log, buf_bytes(data));
    if (!is_err(e))
        eventlog_cleanup(&log);
    assert_int_equal(e.code, code);
    if (strstr(err_message(), reason) == NULL)
        fail_msg("'%s' does not say '%s'", err_message(), reason);
}

static struct eventlog_pcrs replayed(const struct buf *data, const char *name)
{
    struct eventlog log;
    struct eventlog_pcrs pcrs;
    must(eventlog_parse(&log, buf_bytes(data)));
    must(eventlog_replay(&pcrs, &log, bank(name)));
    eventlog_cleanup(&log);
    return pcrs;
}

/* H(start || H(data)), computed here without the code under test's loop. */
static void expect_one_extend(const uint8_t *value, const char *name, const uint8_t *start,
                              struct bytes data)
{
    const struct pcr_bank *b = bank(name);
    uint8_t both[2 * PCR_DIGEST_MAX], expected[PCR_DIGEST_MAX];
    memcpy(both, start, b->len);
    assert_int_equal(EVP_Digest(data.data, data.len, both + b->len, NULL, b->md(), NULL), 1);
    assert_int_equal(EVP_Digest(both, 2 * b->len, expected, NULL, b->md(), NULL), 1);
    assert_memory_equal(value, expected, b->len);
}

static const uint8_t zero[PCR_DIGEST_MAX];

static void replays_every_bank_of_an_agile_log(void **state)
{
    (void)state;
    const uint16_t algs[] = {TPM_ALG_SHA1_ID, TPM_ALG_SHA256_ID, TPM_ALG_SHA384_ID,
                             TPM_ALG_SHA512_ID};
    const char *const names[] = {"sha1", "sha256", "sha384", "sha512"};
    BUF_AUTO data = BUF_INIT;
    make_spec_id(&data, algs, 4, bytes_of_str("vendor"));
    make_agile_record(&data, 4, EV_IPL, algs, 4, bytes_of_str("kernel"), bytes_of_str("a name"));
    for (size_t i = 0; i < 4; i++) {
        struct eventlog_pcrs pcrs = replayed(&data, names[i]);
        assert_int_equal(pcrs.extended, 1 << 4);
        expect_one_extend(pcrs.values[4], names[i], zero, bytes_of_str("kernel"));
    }
}

static void replays_a_legacy_log_in_sha1_only(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_legacy_event(&data, 7, EV_SEPARATOR, bytes_of("\0\0\0", 4));
    struct eventlog_pcrs pcrs = replayed(&data, "sha1");
    expect_one_extend(pcrs.values[7], "sha1", zero, bytes_of("\0\0\0", 4));
    struct eventlog log;
    must(eventlog_parse(&log, buf_bytes(&data)));
    assert_false(log.agile);
    assert_int_equal(eventlog_replay(&pcrs, &log, bank("sha256")).code, ERR_NOT_FOUND);
    eventlog_cleanup(&log);
}

static void reads_over_digests_of_other_algorithms(void **state)
{
    (void)state;
    const uint16_t sm3 = 0x0012;
    const uint16_t algs[] = {sm3, TPM_ALG_SHA256_ID};
    BUF_AUTO data = BUF_INIT;
    make_spec_id(&data, algs, 2, (struct bytes){0});
    make_agile_record(&data, 1, EV_IPL, algs, 2, bytes_of_str("x"), bytes_of_str("x"));
    struct eventlog_pcrs pcrs = replayed(&data, "sha256");
    expect_one_extend(pcrs.values[1], "sha256", zero, bytes_of_str("x"));
}

static void no_action_events_are_not_extended(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_sha256_header(&data);
    make_sha256_event(&data, 4, EV_NO_ACTION, bytes_of_str("nothing"));
    make_sha256_event(&data, UINT32_MAX, EV_NO_ACTION, bytes_of_str("nowhere"));
    make_sha256_event(&data, 4, EV_IPL, bytes_of_str("kernel"));
    struct eventlog_pcrs pcrs = replayed(&data, "sha256");
    assert_int_equal(pcrs.extended, 1 << 4);
    expect_one_extend(pcrs.values[4], "sha256", zero, bytes_of_str("kernel"));
}

static void pcr_0_begins_with_the_startup_locality(void **state)
{
    (void)state;
    for (uint8_t locality = 0; locality < 6; locality++) {
        BUF_AUTO data = BUF_INIT;
        uint8_t start[PCR_DIGEST_MAX] = {0};
        make_sha256_header(&data);
        make_locality(&data, locality);
        make_sha256_event(&data, 0, EV_IPL, bytes_of_str("firmware"));
        if (locality != 0 && locality != 3 && locality != 4) {
            refuses(&data, ERR_MALFORMED, "startup locality");
            continue;
        }
        start[31] = locality;
        expect_one_extend(replayed(&data, "sha256").values[0], "sha256", start,
                          bytes_of_str("firmware"));
    }
}

static void a_locality_cannot_be_stated_after_the_fact(void **state)
{
    (void)state;
    BUF_AUTO late = BUF_INIT, twice = BUF_INIT, same = BUF_INIT, other = BUF_INIT;
    make_sha256_header(&late);
    make_sha256_event(&late, 0, EV_IPL, bytes_of_str("firmware"));
    make_locality(&late, 3);
    refuses(&late, ERR_MALFORMED, "after PCR 0 began");
    make_sha256_header(&twice);
    make_locality(&twice, 3);
    make_locality(&twice, 0);
    refuses(&twice, ERR_MALFORMED, "after PCR 0 began");
    make_sha256_header(&same);
    make_locality(&same, 3);
    make_locality(&same, 3);
    assert_int_equal(replayed(&same, "sha256").values[0][31], 3);
    make_sha256_header(&other);
    make_sha256_event(&other, 0, EV_NO_ACTION, bytes_of("StartupLocality\0\3\3", 18));
    refuses(&other, ERR_MALFORMED, "18 bytes, not 17");
}

static void pcr_0_begins_at_locality_4_after_an_hcrtm(void **state)
{
    (void)state;
    const uint8_t start[PCR_DIGEST_MAX] = {[31] = 4};
    BUF_AUTO data = BUF_INIT, late = BUF_INIT, other = BUF_INIT;
    make_sha256_header(&data);
    make_sha256_event(&data, 0, EV_EFI_HCRTM_EVENT, bytes_of_str("HCRTM"));
    make_locality(&data, 3); /* of TPM2_Startup, which came later */
    expect_one_extend(replayed(&data, "sha256").values[0], "sha256", start, bytes_of_str("HCRTM"));
    make_sha256_header(&late);
    make_sha256_event(&late, 0, EV_IPL, bytes_of_str("firmware"));
    make_sha256_event(&late, 0, EV_EFI_HCRTM_EVENT, bytes_of_str("HCRTM"));
    refuses(&late, ERR_MALFORMED, "not the first");
    make_sha256_header(&other);
    make_sha256_event(&other, 1, EV_EFI_HCRTM_EVENT, bytes_of_str("HCRTM"));
    refuses(&other, ERR_MALFORMED, "not the first");
}

static void pcrs_17_to_22_begin_with_ones(void **state)
{
    (void)state;
    uint8_t ones[PCR_DIGEST_MAX];
    memset(ones, 0xff, sizeof ones);
    for (uint32_t pcr = 15; pcr < 25; pcr++) {
        BUF_AUTO data = BUF_INIT;
        make_sha256_header(&data);
        make_sha256_event(&data, pcr, EV_IPL, bytes_of_str("launch"));
        if (pcr == 24) {
            refuses(&data, ERR_MALFORMED, "it extends PCR 24");
            continue;
        }
        expect_one_extend(replayed(&data, "sha256").values[pcr], "sha256",
                          pcr >= 17 && pcr <= 22 ? ones : zero, bytes_of_str("launch"));
    }
}

static void a_second_header_is_no_event(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_sha256_header(&data);
    make_sha256_event(&data, 4, EV_IPL, bytes_of_str("first"));
    make_sha256_header(&data);
    make_sha256_event(&data, 5, EV_IPL, bytes_of_str("second"));
    struct eventlog log;
    must(eventlog_parse(&log, buf_bytes(&data)));
    assert_int_equal(log.n_events, 2);
    eventlog_cleanup(&log);
    expect_one_extend(replayed(&data, "sha256").values[5], "sha256", zero, bytes_of_str("second"));
    const uint16_t others[] = {TPM_ALG_SHA384_ID};
    make_spec_id(&data, others, 1, (struct bytes){0});
    refuses(&data, ERR_MALFORMED, "second Spec ID header with other algorithms");
}

static void a_missing_digest_fails_that_bank_alone(void **state)
{
    (void)state;
    const uint16_t algs[] = {TPM_ALG_SHA256_ID, TPM_ALG_SHA384_ID};
    BUF_AUTO data = BUF_INIT;
    make_spec_id(&data, algs, 2, (struct bytes){0});
    make_agile_record(&data, 4, EV_IPL, algs, 2, bytes_of_str("a"), bytes_of_str("a"));
    make_agile_record(&data, 5, EV_IPL, algs, 1, bytes_of_str("b"), bytes_of_str("b"));
    struct eventlog log;
    struct eventlog_pcrs pcrs;
    must(eventlog_parse(&log, buf_bytes(&data)));
    must(eventlog_replay(&pcrs, &log, bank("sha256")));
    assert_int_equal(eventlog_replay(&pcrs, &log, bank("sha384")).code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "event 2 "));
    assert_int_equal(eventlog_replay(&pcrs, &log, bank("sha512")).code, ERR_NOT_FOUND);
    eventlog_cleanup(&log);
}

static void data_counts_only_where_its_hash_is_the_digest(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_sha256_header(&data);
    make_sha256_event(&data, 4, EV_IPL, bytes_of_str("kernel"));
    make_agile_record(&data, 4, EV_IPL, sha256_only, 1, bytes_of_str("kernel"), bytes_of_str("k"));
    make_sha256_event(&data, 4, EV_NO_ACTION, bytes_of_str("kernel"));
    make_sha256_event(&data, 4, EV_SEPARATOR, (struct bytes){0});
    struct eventlog log;
    must(eventlog_parse(&log, buf_bytes(&data)));
    assert_true(eventlog_data_verified(&log, &log.events[0], bank("sha256")));
    assert_false(eventlog_data_verified(&log, &log.events[0], bank("sha384")));
    assert_false(eventlog_data_verified(&log, &log.events[1], bank("sha256")));
    assert_false(eventlog_data_verified(&log, &log.events[2], bank("sha256")));
    assert_true(eventlog_data_verified(&log, &log.events[3], bank("sha256")));
    eventlog_cleanup(&log);
}

static void a_relabelled_event_replays_to_the_same_value(void **state)
{
    (void)state;
    BUF_AUTO one = BUF_INIT, other = BUF_INIT;
    make_sha256_header(&one);
    make_sha256_event(&one, 4, EV_IPL, bytes_of_str("kernel"));
    make_sha256_header(&other);
    make_sha256_event(&other, 4, EV_SEPARATOR, bytes_of_str("kernel"));
    struct eventlog_pcrs a = replayed(&one, "sha256"), b = replayed(&other, "sha256");
    assert_memory_equal(&a, &b, sizeof a);
    assert_string_equal(eventlog_type_name(EV_SEPARATOR), "EV_SEPARATOR");
    assert_string_equal(eventlog_type_name(0x7fffffff), "unknown");
}

static void make_full(struct buf *data)
{
    const uint16_t algs[] = {TPM_ALG_SHA1_ID, TPM_ALG_SHA256_ID};
    make_spec_id(data, algs, 2, bytes_of_str("v"));
    make_agile_record(data, 0, EV_IPL, algs, 2, bytes_of_str("aaa"), bytes_of_str("aaa"));
    make_agile_record(data, 7, EV_SEPARATOR, algs, 2, bytes_of_str("bb"), bytes_of_str("b"));
}

static void refuses_every_truncation_inside_an_event(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_full(&data);
    struct eventlog log;
    must(eventlog_parse(&log, buf_bytes(&data)));
    size_t second = log.events[1].offset;
    eventlog_cleanup(&log);
    for (size_t len = 0; len < data.len; len++) {
        uint8_t *copy = malloc(len + 1); /* exact, so that a read past the end is seen */
        assert_non_null(copy);
        memcpy(copy, data.data, len);
        struct err e = eventlog_parse(&log, bytes_of(copy, len));
        assert_int_equal(is_err(e), len != second);
        if (!is_err(e))
            eventlog_cleanup(&log);
        free(copy);
    }
}

static void refuses_hostile_counts_and_sizes(void **state)
{
    (void)state;
    BUF_AUTO many = BUF_INIT, size = BUF_INIT, large = BUF_INIT;
    make_sha256_header(&many);
    make_agile_head(&many, 0, EV_IPL, UINT32_MAX);
    refuses(&many, ERR_MALFORMED, "digests where the header lists 1");
    make_sha256_header(&size);
    make_agile_head(&size, 0, EV_IPL, 0);
    append_u32le(&size, 1000);
    refuses(&size, ERR_MALFORMED, "truncated");
    make_sha256_header(&large);
    make_agile_head(&large, 0, EV_IPL, 0);
    append_u32le(&large, UINT32_MAX);
    refuses(&large, ERR_LIMIT, "an event's data");
    static const uint8_t byte;
    struct eventlog log;
    assert_int_equal(eventlog_parse(&log, bytes_of(&byte, EVENTLOG_MAX + 1)).code, ERR_LIMIT);
}

static void refuses_more_events_than_the_limit(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_sha256_header(&data);
    for (size_t i = 0; i < EVENTLOG_EVENTS_MAX; i++) {
        make_agile_head(&data, 0, EV_NO_ACTION, 0);
        append_u32le(&data, 0);
    }
    struct eventlog log;
    must(eventlog_parse(&log, buf_bytes(&data)));
    assert_int_equal(log.n_events, EVENTLOG_EVENTS_MAX);
    eventlog_cleanup(&log);
    make_sha256_event(&data, 0, EV_IPL, bytes_of_str("x"));
    refuses(&data, ERR_LIMIT, "over 65536 events");
}

static void refuses_digests_that_the_header_does_not_list_or_twice(void **state)
{
    (void)state;
    const uint16_t other[] = {TPM_ALG_SHA384_ID};
    const uint16_t listed[] = {TPM_ALG_SHA1_ID, TPM_ALG_SHA256_ID};
    const uint16_t twice[] = {TPM_ALG_SHA256_ID, TPM_ALG_SHA256_ID};
    BUF_AUTO unlisted = BUF_INIT, repeated = BUF_INIT;
    make_sha256_header(&unlisted);
    make_agile_record(&unlisted, 0, EV_IPL, other, 1, bytes_of_str("x"), bytes_of_str("x"));
    refuses(&unlisted, ERR_MALFORMED, "algorithm 0x000c, which the header does not list");
    make_spec_id(&repeated, listed, 2, (struct bytes){0});
    make_agile_record(&repeated, 0, EV_IPL, twice, 2, bytes_of_str("x"), bytes_of_str("x"));
    refuses(&repeated, ERR_MALFORMED, "two digests of algorithm 0x000b");
}

/* The header's data, rewritten from byte `at` on. */
static void refuses_header_with(size_t at, const char *bytes, size_t len, const char *reason)
{
    const size_t record_head = 32;
    BUF_AUTO data = BUF_INIT;
    make_full(&data);
    memcpy(data.data + record_head + at, bytes, len);
    refuses(&data, ERR_MALFORMED, reason);
}

static void refuses_headers_with_a_flaw(void **state)
{
    (void)state;
    const size_t n_algs = 24, first = 28, second = 32, vendor_len = 36;
    refuses_header_with(n_algs, "\0\0\0\0", 4, "0 algorithms");
    refuses_header_with(n_algs, "\x09\0\0\0", 4, "9 algorithms");
    refuses_header_with(n_algs, "\xff\xff\xff\xff", 4, "4294967295 algorithms");
    refuses_header_with(n_algs, "\x04\0\0\0", 4, "Spec ID header");
    refuses_header_with(first + 2, "\x20\0", 2, "algorithm 0x0004 with digests of 32 bytes");
    refuses_header_with(second, "\x27\0\0\0", 4, "algorithm 0x0027 with digests of 0 bytes");
    refuses_header_with(second, "\x27\0\x41\0", 4, "algorithm 0x0027 with digests of 65 bytes");
    refuses_header_with(second, "\x04\0\x14\0", 4, "algorithm 0x0004 twice");
    refuses_header_with(vendor_len, "\2", 1, "vendor information of 2 bytes");
    refuses_header_with(vendor_len, "\0", 1, "vendor information of 0 bytes");
}

static void refuses_a_log_without_events(void **state)
{
    (void)state;
    BUF_AUTO empty = BUF_INIT, header = BUF_INIT;
    refuses(&empty, ERR_MALFORMED, "no event");
    make_sha256_header(&header);
    refuses(&header, ERR_MALFORMED, "no event");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_every_bank_of_an_agile_log),
        cmocka_unit_test(replays_a_legacy_log_in_sha1_only),
        cmocka_unit_test(reads_over_digests_of_other_algorithms),
        cmocka_unit_test(no_action_events_are_not_extended),
        cmocka_unit_test(pcr_0_begins_with_the_startup_locality),
        cmocka_unit_test(a_locality_cannot_be_stated_after_the_fact),
        cmocka_unit_test(pcr_0_begins_at_locality_4_after_an_hcrtm),
        cmocka_unit_test(pcrs_17_to_22_begin_with_ones),
        cmocka_unit_test(a_second_header_is_no_event),
        cmocka_unit_test(a_missing_digest_fails_that_bank_alone),
        cmocka_unit_test(data_counts_only_where_its_hash_is_the_digest),
        cmocka_unit_test(a_relabelled_event_replays_to_the_same_value),
        cmocka_unit_test(refuses_every_truncation_inside_an_event),
        cmocka_unit_test(refuses_hostile_counts_and_sizes),
        cmocka_unit_test(refuses_more_events_than_the_limit),
        cmocka_unit_test(refuses_digests_that_the_header_does_not_list_or_twice),
        cmocka_unit_test(refuses_headers_with_a_flaw),
        cmocka_unit_test(refuses_a_log_without_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
