/* Statements have one form each: golden texts, limits, and each line's flaws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "attest/statement.h"
#include "tests/unit/golden_texts.h"

static const char *const golden[] = {golden_host, golden_boot, golden_identity, golden_quote,
                                     golden_stop};
enum { N_GOLDEN = sizeof golden / sizeof *golden };

static void reads_and_writes_the_golden_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        struct statement s;
        if (is_err(statement_parse(&s, bytes_of_str(golden[i]))))
            fail_msg("%s", err_message());
        assert_int_equal(s.kind, i);
        BUF_AUTO again = BUF_INIT;
        statement_format(&again, &s);
        assert_string_equal(buf_str(&again), golden[i]);
    }
}

/* In place of the endorsement certificate, and with no activation beside it. */
static void a_key_may_have_a_certificate_of_its_own(void **state)
{
    (void)state;
    static const char text[] = "blindllama-host/v1\n" AK_NAME "ak-public 88 " HEX_32(
        "11") "\n"
              "ak-certificate 994 " HEX_32("22") "\n"
                                                 "ak-chain 1200 " HEX_32("33") "\n";
    struct statement s;
    if (is_err(statement_parse(&s, bytes_of_str(text))))
        fail_msg("%s", err_message());
    assert_true(s.host.ak_certified && s.host.ak_certificate.size == 994);
    assert_true(s.host.n_chain == 1 && s.host.chain[0].sha256[0] == 0x33);
    BUF_AUTO again = BUF_INIT;
    statement_format(&again, &s);
    assert_string_equal(buf_str(&again), text);
    static const struct flaw flaws[] = {
        {"ak-chain", "ek-chain", "line 5"},
        {"ak-chain", "activation", "line 5"},
        {"ak-certificate", "ek-certificate", "line 5"},
        {"ak-certificate 994 ", "ak-certificate ", "line 4"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        BUF_AUTO flawed = BUF_INIT;
        replace_once(&flawed, text, &flaws[i]);
        assert_int_equal(statement_parse(&s, buf_bytes(&flawed)).code, ERR_MALFORMED);
        if (strstr(err_message(), flaws[i].reason) == NULL)
            fail_msg("%s", err_message());
    }
}

static void reads_every_field(void **state)
{
    (void)state;
    struct statement s;
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_host))));
    assert_int_equal(s.ak_name.len, TPM_NAME_SHA256_LEN);
    assert_true(s.host.ak_public.size == 88 && s.host.ek_certificate.sha256[31] == 0x22);
    assert_int_equal(s.host.n_chain, 2);
    assert_true(s.host.chain[1].size == 1200 && s.host.chain[1].sha256[0] == 0x44);
    assert_int_equal(s.host.n_activations, 1);
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_boot))));
    assert_true(s.boot.reset_count == 2 && s.boot.restart_count == 0);
    assert_int_equal(s.boot.counter_index, 0x0180b11d);
    assert_int_equal(s.boot.attest_len, 4);
    assert_memory_equal(s.boot.attest, "\xff\x54\x43\x47", 4);
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_identity))));
    assert_true(s.identity.spki_sha256[0] == 0x66 && s.identity.runtime_log.size == 2048);
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_stop))));
    assert_true(s.quote.max_duration_s == 600 && s.quote.context.kind == QUOTE_STOP);
    assert_int_equal(s.quote.context_len, strlen(CONTEXT_WITHOUT_NONCES("stop")));
    assert_int_equal(s.quote.pcrs.values[15][31], 0);
}

/* An event log makes it version 2, and only an event log. */
static void a_boot_with_an_event_log_is_version_2(void **state)
{
    (void)state;
    struct statement s;
    BUF_AUTO again = BUF_INIT;
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_boot_v2))));
    assert_int_equal(s.kind, STATEMENT_BOOT);
    assert_true(s.boot.has_event_log && s.boot.event_log.size == 2611);
    assert_int_equal(s.boot.event_log.sha256[31], 0x88);
    statement_format(&again, &s);
    assert_string_equal(buf_str(&again), golden_boot_v2);
    for (size_t len = 0; len < strlen(golden_boot_v2); len++)
        assert_true(is_err(statement_parse(&s, bytes_of(golden_boot_v2, len))));
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_boot))));
    assert_false(s.boot.has_event_log);
}

static void expect_form(const char *text)
{
    struct statement s;
    BUF_AUTO again = BUF_INIT;
    if (is_err(statement_parse(&s, bytes_of_str(text))))
        fail_msg("%s", err_message());
    statement_format(&again, &s);
    assert_string_equal(buf_str(&again), text);
}

/* GPUs make a boot version 3, with or without an event log; reports make a quote version 2. */
static void statements_speak_of_gpus_in_their_newest_versions(void **state)
{
    (void)state;
    struct statement s;
    BUF_AUTO without = BUF_INIT;
    expect_form(golden_boot_v3);
    expect_form(golden_quote_v2);
    replace_once(&without, golden_boot_v3,
                 &(struct flaw){"event-log 2611 " HEX_32("88") "\n", "", ""});
    expect_form(buf_str(&without));
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_boot_v3))));
    assert_true(s.boot.n_gpus == 2 && s.boot.has_event_log);
    assert_string_equal(s.boot.gpu_driver, "580.95.05");
    assert_string_equal(s.boot.gpus[0].uuid, "GPU-00000000-0000-0000-0000-0000000000aa");
    assert_string_equal(s.boot.gpus[1].vbios, "96.00.9F.00.01");
    assert_string_equal(s.boot.gpus[1].name, "NVIDIA H100 80GB HBM3");
    assert_true(s.boot.gpus[0].memory == GPU_MEMORY_PROTECTED &&
                s.boot.gpus[0].chain.size == 3000 && s.boot.gpus[1].memory == GPU_MEMORY_OPEN);
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_quote_v2))));
    assert_true(s.quote.n_gpu_reports == 1 && s.quote.gpu_reports[0].size == 4117);
}

/* The most that there may be, and one more. */
static void gpus_and_reports_are_bounded(void **state)
{
    (void)state;
    struct statement boot, quote, again;
    BUF_AUTO text = BUF_INIT;
    assert_false(is_err(statement_parse(&boot, bytes_of_str(golden_boot_v3))));
    for (size_t i = 0; i < STATEMENT_GPUS_MAX; i++) {
        boot.boot.gpus[i] = boot.boot.gpus[0];
        snprintf(boot.boot.gpus[i].uuid, sizeof boot.boot.gpus[i].uuid,
                 "GPU-00000000-0000-0000-0000-%012zx", i);
    }
    boot.boot.n_gpus = STATEMENT_GPUS_MAX;
    statement_format(&text, &boot);
    assert_false(is_err(statement_parse(&again, buf_bytes(&text))));
    buf_append_str(&text, GPU_1 "open x\n");
    assert_int_equal(statement_parse(&again, buf_bytes(&text)).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "more than 16 GPUs"));
    assert_false(is_err(statement_parse(&quote, bytes_of_str(golden_quote_v2))));
    quote.quote.n_gpu_reports = STATEMENT_GPUS_MAX;
    buf_clear(&text);
    statement_format(&text, &quote);
    assert_int_equal(statement_parse(&again, buf_bytes(&text)).code, ERR_MALFORMED); /* of size 0 */
}

struct case_of {
    const char *text;
    struct flaw flaw;
    enum err_code code;
};

static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    static const struct case_of cases[] = {
        {golden_host, {"host/v1", "host/v2", "line 1"}, ERR_UNSUPPORTED},
        {golden_host, {"host/v1", "release/v1", "line 1"}, ERR_UNSUPPORTED},
        {golden_host, {"host/v1\n", "host/v1 \n", "line 1"}, ERR_UNSUPPORTED},
        {golden_host, {"ak-name 000b", "ak-name 000B", "line 2"}, ERR_MALFORMED},
        {golden_host, {"ak-public 88", "ak-public 088", "line 3"}, ERR_MALFORMED},
        {golden_host, {"ak-public 88", "ak-public 16777217", "line 3"}, ERR_MALFORMED},
        {golden_host, {"ak-public 88 ", "ak-public 88", "line 3"}, ERR_MALFORMED},
        {golden_host, {"ek-certificate", "ek-cert", "line 4"}, ERR_MALFORMED},
        {golden_host, {"ek-chain 1200 44", "ek-chain 1200 4", "line 6"}, ERR_MALFORMED},
        {golden_host, {"activation 300", "ek-chain 1 2", "line 7"}, ERR_MALFORMED},
        {golden_host, {"activation", "activations", "line 7"}, ERR_MALFORMED},
        {golden_boot, {"reset-count 2\n", "", "line 4"}, ERR_MALFORMED},
        {golden_boot, {"reset-count 2", "reset-count 4294967296", "line 4"}, ERR_MALFORMED},
        {golden_boot, {"counter-index 0180b11d", "counter-index 180b11d", "line 6"}, ERR_MALFORMED},
        {golden_boot,
         {"counter-attest /1RDRw==", "counter-attest /1RDRx==", "line 7"},
         ERR_MALFORMED},
        {golden_boot, {"counter-attest /1RDRw==", "counter-attest ", "line 7"}, ERR_MALFORMED},
        {golden_boot, {"counter-signature", "signature", "line 8"}, ERR_MALFORMED},
        {golden_boot, {"boot/v1", "boot/v4", "line 1"}, ERR_UNSUPPORTED},
        {golden_boot, {"boot/v1", "boot/v3", "line 9"}, ERR_MALFORMED},
        {golden_boot_v3, {"boot/v3", "boot/v2", "line 10"}, ERR_MALFORMED},
        {golden_boot_v3, {"gpu-driver 580.95.05", "gpu-driver 580 95", "line 10"}, ERR_MALFORMED},
        {golden_boot_v3, {"gpu-driver 580.95.05\n", "", "line 10"}, ERR_MALFORMED},
        {golden_boot_v3, {"0aa 96", "0AA 96", "line 11"}, ERR_MALFORMED},
        {golden_boot_v3, {"0000-0000000000aa", "00000000000000aa0", "line 11"}, ERR_MALFORMED},
        {golden_boot_v3, {"aa 96.00.9F.00.01 ", "aa  ", "line 11"}, ERR_MALFORMED},
        {golden_boot_v3, {"protected", "guarded", "line 11"}, ERR_MALFORMED},
        {golden_boot_v3, {"protected", "devtools", "line 12"}, ERR_MALFORMED},
        {golden_boot_v3, {"gpu-chain 3000", "gpu-chain 32769", "line 12"}, ERR_MALFORMED},
        {golden_boot_v3, {"open", "protected", "line 14"}, ERR_MALFORMED},
        {golden_boot_v3, {"00bb", "00aa", "not sorted by UUID"}, ERR_MALFORMED},
        {golden_boot_v3, {"open NVIDIA H100 80GB HBM3", "open ", "line 13"}, ERR_MALFORMED},
        {golden_quote_v2, {"quote/v2", "quote/v1", "line 6"}, ERR_MALFORMED},
        {golden_quote_v2, {"quote/v2", "quote/v3", "line 1"}, ERR_UNSUPPORTED},
        {golden_quote_v2, {"gpu-report 4117", "gpu-report 8193", "line 6"}, ERR_MALFORMED},
        {golden_quote, {"quote/v1", "quote/v2", "line 6"}, ERR_MALFORMED},
        {golden_boot, {"boot/v1", "boot/v2", "line 9"}, ERR_MALFORMED},
        {golden_boot_v2, {"boot/v2", "boot/v1", "line 9"}, ERR_MALFORMED},
        {golden_boot_v2, {"event-log 2611", "event-log 1048577", "line 9"}, ERR_MALFORMED},
        {golden_boot_v2, {"event-log", "event-logs", "line 9"}, ERR_MALFORMED},
        {golden_boot_v2, {"88\n", "88\nevent-log 1 88\n", "line 10"}, ERR_MALFORMED},
        {golden_identity, {"identity/v1", "identity/v2", "line 1"}, ERR_UNSUPPORTED},
        {golden_identity, {"runtime-log 2048", "runtime-log", "line 5"}, ERR_MALFORMED},
        {golden_quote, {"pcrs AAAA", "pcrs ", "line 3"}, ERR_MALFORMED},
        {golden_quote, {"attest /1RDRw==", "attest /1RDRw", "line 4"}, ERR_MALFORMED},
        {golden_quote, {"context\nbl", "context \nbl", "line 6"}, ERR_MALFORMED},
        {golden_quote, {"kind periodic", "kind stop", "not a quote statement's"}, ERR_MALFORMED},
        {golden_quote, {"context/v1\n", "context/v2\n", "quote context: line 1"}, ERR_MALFORMED},
        {golden_stop, {"kind stop", "kind periodic", "not a stop statement's"}, ERR_MALFORMED},
        {golden_stop, {"max-duration 600\n", "", "line 2"}, ERR_MALFORMED},
        {golden_quote, {"ak-name 000b5f", "ak-name 000b5e", "another ak-name"}, ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BUF_AUTO text = BUF_INIT;
        replace_once(&text, cases[i].text, &cases[i].flaw);
        struct statement s;
        struct err e = statement_parse(&s, buf_bytes(&text));
        if (e.code != cases[i].code || strstr(err_message(), cases[i].flaw.reason) == NULL)
            fail_msg("'%s' for '%s': %s: '%s'", cases[i].flaw.to, cases[i].flaw.from,
                     err_code_name(e.code), err_message());
    }
}

static void refuses_every_truncation_and_a_line_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        struct statement *s = calloc(1, sizeof *s); /* reads beyond it would be found */
        for (size_t len = 0; len < strlen(golden[i]); len++) {
            /* A host without its last lines is a whole statement. */
            bool whole = i == STATEMENT_HOST && len > 0 && golden[i][len - 1] == '\n' &&
                         strstr(golden[i], "ek-chain") <= golden[i] + len;
            struct err e = statement_parse(s, bytes_of(golden[i], len));
            if (is_err(e) == whole)
                fail_msg("%zu bytes of %s: %s", len, golden[i], is_err(e) ? err_message() : "good");
        }
        BUF_AUTO more = BUF_INIT;
        buf_append_str(&more, golden[i]);
        buf_append_str(&more, "more 1\n");
        assert_int_equal(statement_parse(s, buf_bytes(&more)).code, ERR_MALFORMED);
        free(s);
    }
}

static void chains_and_activations_are_bounded(void **state)
{
    (void)state;
    struct statement s;
    memset(&s, 0, sizeof s);
    assert_false(is_err(statement_parse(&s, bytes_of_str(golden_host))));
    s.host.n_chain = STATEMENT_CHAIN_MAX;
    s.host.n_activations = STATEMENT_ACTIVATIONS_MAX;
    BUF_AUTO full = BUF_INIT, over = BUF_INIT;
    statement_format(&full, &s);
    struct statement again;
    assert_false(is_err(statement_parse(&again, buf_bytes(&full))));
    assert_int_equal(again.host.n_activations, STATEMENT_ACTIVATIONS_MAX);
    buf_append_bytes(&over, buf_bytes(&full));
    buf_append_str(&over, "activation 1 " HEX_32("55") "\n");
    assert_int_equal(statement_parse(&again, buf_bytes(&over)).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "more than 16"));
    static const uint8_t large[STATEMENT_MAX + 1];
    assert_int_equal(statement_parse(&again, bytes_of(large, sizeof large)).code, ERR_MALFORMED);
}

static void a_blob_is_what_its_reference_names(void **state)
{
    (void)state;
    struct blob_ref ref;
    struct bytes blob = bytes_of_str("a blob");
    blob_ref_of(&ref, blob);
    assert_false(is_err(blob_ref_check(&ref, blob)));
    assert_int_equal(blob_ref_check(&ref, bytes_of_str("a blib")).code, ERR_UNTRUE);
    ref.size++;
    assert_int_equal(blob_ref_check(&ref, blob).code, ERR_UNTRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_the_golden_texts),
        cmocka_unit_test(a_key_may_have_a_certificate_of_its_own),
        cmocka_unit_test(reads_every_field),
        cmocka_unit_test(a_boot_with_an_event_log_is_version_2),
        cmocka_unit_test(statements_speak_of_gpus_in_their_newest_versions),
        cmocka_unit_test(gpus_and_reports_are_bounded),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(refuses_every_truncation_and_a_line_more),
        cmocka_unit_test(chains_and_activations_are_bounded),
        cmocka_unit_test(a_blob_is_what_its_reference_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
