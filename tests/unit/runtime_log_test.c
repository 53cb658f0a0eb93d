/* The runtime log: one form, PCRs by replay, and lanes in which every event is known and in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "attest/runtime_log.h"
#include "tests/unit/golden_texts.h"

struct event {
    unsigned pcr;
    const char *kind, *data;
};

/* The vkey of C2SP's signed-note examples. */
#define LOG_VKEY "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
#define CONFIG "quote-interval 60\nmax-context 4096\nmax-requests 8\n"

static const struct event whole[] = {
    {14, "server-binary", HEX_32("aa")},
    {15, "boot-id", HEX_16("0f")},
    {13, "model-id", "demo/tiny"},
    {15, "log", LOG_VKEY},
    {13, "model-file", HEX_32("bb") " 12 config.json"},
    {13, "model-file", HEX_32("cc") " 3456 model.safetensors"},
    {14, "kernels", "ref-1 none"},
    {14, "sandbox", HEX_32("dd")},
    {14, "profile", "production"},
    {14, "cap", ""},
    {13, "cap", ""},
    {15, "config", CONFIG},
    {15, "identity", HEX_32("ee")},
    {15, "identity", HEX_32("ff")},
};
enum { N_WHOLE = sizeof whole / sizeof *whole };

static struct runtime_log log_of(const struct event *events, size_t n)
{
    struct runtime_log log = RUNTIME_LOG_INIT;
    for (size_t i = 0; i < n; i++)
        if (is_err(runtime_log_append(&log, events[i].pcr, events[i].kind,
                                      bytes_of_str(events[i].data))))
            fail_msg("%s", err_message());
    return log;
}

static void format_log(struct buf *out, const struct runtime_log *log)
{
    runtime_log_format_header(out);
    for (size_t i = 0; i < log->n_records; i++)
        runtime_log_format_record(out, log->records[i].pcr, log->records[i].kind,
                                  log->records[i].data);
}

static const char golden_log[] = "blindllama-runtime-log/v1\n"
                                 "13 model-id ZGVtby90aW55\n"
                                 "13 cap -\n"
                                 "15 boot-id MGYwZg==\n";

static void reads_and_writes_the_golden_text(void **state)
{
    (void)state;
    struct runtime_log log;
    assert_false(is_err(runtime_log_parse(&log, bytes_of_str(golden_log))));
    assert_int_equal(log.n_records, 3);
    assert_true(bytes_equal(log.records[0].data, bytes_of_str("demo/tiny")));
    assert_string_equal(log.records[1].kind, "cap");
    assert_int_equal(log.records[1].data.len, 0);
    assert_int_equal(log.records[2].pcr, 15);
    BUF_AUTO again = BUF_INIT;
    format_log(&again, &log);
    assert_string_equal(buf_str(&again), golden_log);
    assert_int_equal(log.text_len + strlen("blindllama-runtime-log/v1\n"), strlen(golden_log));
    runtime_log_cleanup(&log);
}

static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    static const struct flaw flaws[] = {
        {"log/v1", "log/v2", "line 1"},
        {"13 model", "12 model", "line 2"},
        {"13 model", "16 model", "line 2"},
        {"13 model", "013 model", "line 2"},
        {"13 model", "3 model", "line 2"},
        {"13 model", "13  model", "line 2"},
        {"model-id", "Model-id", "line 2"},
        {"model-id", "", "line 2"},
        {"ZGVtby90aW55", "ZGVtby90aW5", "line 2"},
        {"ZGVtby90aW55", "", "line 2"},
        {"ZGVtby90aW55", "ZGVtby90aW55 ", "line 2"},
        {"cap -", "cap", "line 3"},
        {"cap -", "cap --", "line 3"},
        {"MGYwZg==\n", "MGYwZg==", "line 4"},
        {"MGYwZg==", "MGYwZh==", "line 4"},
        {"cap -\n", "cap -\n\n", "line 4"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        BUF_AUTO text = BUF_INIT;
        replace_once(&text, golden_log, &flaws[i]);
        struct runtime_log log;
        struct err e = runtime_log_parse(&log, buf_bytes(&text));
        if (e.code != ERR_MALFORMED || strstr(err_message(), flaws[i].reason) == NULL)
            fail_msg("'%s' for '%s': %s '%s'", flaws[i].to, flaws[i].from, err_code_name(e.code),
                     err_message());
    }
    for (size_t len = 0; len < sizeof golden_log - 1; len++) {
        struct runtime_log log;
        if (len > 0 && golden_log[len - 1] == '\n') {
            assert_false(is_err(runtime_log_parse(&log, bytes_of(golden_log, len))));
            runtime_log_cleanup(&log);
        } else {
            assert_int_equal(runtime_log_parse(&log, bytes_of(golden_log, len)).code,
                             ERR_MALFORMED);
        }
    }
}

static void records_and_sizes_are_bounded(void **state)
{
    (void)state;
    struct runtime_log log = RUNTIME_LOG_INIT;
    uint8_t *data = calloc(1, RUNTIME_DATA_MAX + 1);
    assert_int_equal(runtime_log_append(&log, 12, "cap", (struct bytes){0}).code, ERR_USAGE);
    assert_int_equal(runtime_log_append(&log, 16, "cap", (struct bytes){0}).code, ERR_USAGE);
    assert_int_equal(runtime_log_append(&log, 13, "", (struct bytes){0}).code, ERR_USAGE);
    assert_int_equal(runtime_log_append(&log, 13, "a b", (struct bytes){0}).code, ERR_USAGE);
    char kind[RUNTIME_KIND_MAX + 2];
    memset(kind, 'a', sizeof kind);
    kind[RUNTIME_KIND_MAX + 1] = 0;
    assert_int_equal(runtime_log_append(&log, 13, kind, (struct bytes){0}).code, ERR_USAGE);
    assert_int_equal(runtime_log_append(&log, 13, "big", bytes_of(data, RUNTIME_DATA_MAX + 1)).code,
                     ERR_USAGE);
    struct err e = err_ok();
    while (!is_err(e))
        e = runtime_log_append(&log, 13, "big", bytes_of(data, RUNTIME_DATA_MAX));
    assert_int_equal(e.code, ERR_LIMIT);
    BUF_AUTO text = BUF_INIT;
    format_log(&text, &log);
    assert_true(text.len <= RUNTIME_LOG_MAX);
    struct runtime_log again;
    assert_false(is_err(runtime_log_parse(&again, buf_bytes(&text))));
    runtime_log_cleanup(&again);
    runtime_log_cleanup(&log);
    for (size_t i = 0; i < RUNTIME_RECORDS_MAX; i++)
        assert_false(is_err(runtime_log_append(&log, 15, "identity", bytes_of(data, 1))));
    assert_int_equal(runtime_log_append(&log, 15, "identity", bytes_of(data, 1)).code, ERR_LIMIT);
    runtime_log_cleanup(&log);
    free(data);
}

/* Computed with Python's hashlib from docs/FORMATS.md section 1. */
static void the_digest_and_the_replay_are_those_of_section_1(void **state)
{
    (void)state;
    uint8_t digest[SHA256_LEN], pcrs[3][SHA256_LEN];
    BUF_AUTO hex = BUF_INIT;
    runtime_event_digest(digest, EVP_sha256(), "model-id", bytes_of_str("demo/tiny"));
    buf_append_hex(&hex, bytes_of(digest, SHA256_LEN));
    assert_string_equal(buf_str(&hex),
                        "c032e9750bb4ebd0328ec0862d8c9bcd7b7895877b98895b88e93672a0b8d286");
    struct runtime_log log = log_of(whole, N_WHOLE);
    static const char *const wanted[3] = {
        "c59138f50db0d9e637b6fb49bbe83bd5f6d3c6e69613e92280f0df7544caff1e",
        "9745c8de936ac1dbf8d15c8f8404b642479a6ce449269dc303f843a273a447f5",
        "21c566a95a23be92ee7da4e22e6c91f590b0e448c9c0bfa18408e43772c494ed"};
    runtime_log_replay(pcrs, &log, log.n_records);
    for (size_t i = 0; i < 3; i++) {
        buf_clear(&hex);
        buf_append_hex(&hex, bytes_of(pcrs[i], SHA256_LEN));
        assert_string_equal(buf_str(&hex), wanted[i]);
    }
    static const uint8_t zeros[3][SHA256_LEN];
    runtime_log_replay(pcrs, &log, 0);
    assert_memory_equal(pcrs, zeros, sizeof zeros);
    runtime_log_cleanup(&log);
}

static void whole_lanes_say_what_was_measured(void **state)
{
    (void)state;
    struct runtime_log log = log_of(whole, N_WHOLE);
    struct lanes lanes;
    if (is_err(lanes_check(&lanes, &log, true)))
        fail_msg("%s", err_message());
    assert_true(bytes_equal(lanes.model_id, bytes_of_str("demo/tiny")));
    assert_true(bytes_equal(lanes.numerics, bytes_of_str("ref-1")));
    assert_true(bytes_equal(lanes.profile, bytes_of_str("production")));
    assert_true(bytes_equal(lanes.log_vkey, bytes_of_str(LOG_VKEY)));
    assert_true(lanes.quote_interval_s == 60 && lanes.max_context == 4096);
    assert_true(lanes.max_requests == 8 && lanes.n_identities == 2);
    assert_true(lanes.server_binary[0] == 0xaa && lanes.boot_id[0] == 0x0f);
    assert_int_equal(lanes.spki_sha256[0], 0xff); /* the last identity's */
    assert_true(lanes.model_capped && lanes.code_capped);
    BUF_AUTO manifest = BUF_INIT;
    lane_manifest(&manifest, &log, PCR_MODEL);
    assert_string_equal(
        buf_str(&manifest),
        "blindllama-model/v1\n"
        "model-id demo/tiny\n"
        "model-file " HEX_32("bb") " 12 config.json\n"
                                   "model-file " HEX_32("cc") " 3456 model.safetensors\n");
    uint8_t hash[SHA256_LEN];
    sha256(hash, buf_bytes(&manifest));
    assert_memory_equal(lanes.model_manifest, hash, SHA256_LEN);
    buf_clear(&manifest);
    lane_manifest(&manifest, &log, PCR_CODE);
    assert_string_equal(
        buf_str(&manifest),
        "blindllama-code/v1\n"
        "server-binary " HEX_32("aa") "\n"
                                      "kernels ref-1 none\n"
                                      "sandbox " HEX_32("dd") "\n"
                                                              "profile production\n");
    sha256(hash, buf_bytes(&manifest));
    assert_memory_equal(lanes.code_manifest, hash, SHA256_LEN);
    runtime_log_cleanup(&log);
}

/* Every prefix is what a prover may find after a crash; only the one with all three lanes whole is
 * enough for a verifier. */
static void a_prefix_is_a_crash_and_not_a_proof(void **state)
{
    (void)state;
    for (size_t n = 0; n <= N_WHOLE; n++) {
        struct runtime_log log = log_of(whole, n);
        struct lanes lanes;
        assert_false(is_err(lanes_check(&lanes, &log, false)));
        assert_int_equal(is_err(lanes_check(&lanes, &log, true)), n < N_WHOLE - 1);
        runtime_log_cleanup(&log);
    }
}

static void every_event_must_be_in_its_place(void **state)
{
    (void)state;
    for (size_t drop = 0; drop < N_WHOLE; drop++) {
        struct event events[N_WHOLE];
        size_t n = 0;
        for (size_t i = 0; i < N_WHOLE; i++)
            if (i != drop)
                events[n++] = whole[i];
        struct runtime_log log = log_of(events, n);
        struct lanes lanes;
        /* Model files and identities repeat: one less is another model, or another key. */
        bool repeats = strcmp(whole[drop].kind, "model-file") == 0 ||
                       strcmp(whole[drop].kind, "identity") == 0;
        assert_int_equal(is_err(lanes_check(&lanes, &log, true)), !repeats);
        runtime_log_cleanup(&log);
    }
    for (size_t twice = 0; twice < N_WHOLE; twice++) {
        struct event events[N_WHOLE + 1];
        size_t n = 0;
        for (size_t i = 0; i < N_WHOLE; i++) {
            events[n++] = whole[i];
            if (i == twice)
                events[n++] = whole[i];
        }
        struct runtime_log log = log_of(events, n);
        struct lanes lanes;
        bool repeats = strcmp(whole[twice].kind, "identity") == 0;
        assert_int_equal(lanes_check(&lanes, &log, true).code, repeats ? ERR_NONE : ERR_UNTRUE);
        runtime_log_cleanup(&log);
    }
}

/* Each takes the place of the first whole event of its kind. */
static const struct event flawed_events[] = {
    {14, "server-binary", HEX_16("aa")},
    {14, "server-binary", HEX_32("AA")},
    {15, "boot-id", HEX_32("0f")},
    {13, "model-id", "demo\ntiny"},
    {13, "model-id", ""},
    {13, "model-id", "demo\x7f"},
    {13, "model-id", "demo\xc2\x85"},
    {13, "model-id", "demo\xff"},
    {15, "log", "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"},
    {15, "log", LOG_VKEY "\n"},
    {13, "model-file", HEX_32("cc") " 12"},
    {13, "model-file", HEX_32("cc") " 012 config.json"},
    {13, "model-file", HEX_32("cc") " 12 "},
    {13, "model-file", HEX_32("cc") " 12 z\nmodel-file x"},
    {13, "model-file", HEX_32("cc") " 12 z.json"}, /* out of order: model.safetensors follows */
    {14, "kernels", "ref-1"},
    {14, "kernels", "ref-1 None"},
    {14, "kernels", " none"},
    {14, "kernels", "ref-1 " HEX_16("aa")},
    {14, "sandbox", HEX_16("dd")},
    {14, "profile", "two words"},
    {14, "profile", ""},
    {14, "cap", "x"},
    {13, "cap", "x"},
    {15, "config", "quote-interval 60\nmax-context 4096\nmax-requests 8"},
    {15, "config", "quote-interval 0\nmax-context 4096\nmax-requests 8\n"},
    {15, "config", "quote-interval 86401\nmax-context 4096\nmax-requests 8\n"},
    {15, "config", "max-context 4096\nquote-interval 60\nmax-requests 8\n"},
    {15, "config", "quote-interval 60\nmax-context 4096\nmax-requests 8\nmore 1\n"},
    {15, "identity", HEX_16("ee")},
};

static void data_of_every_event_is_checked(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof flawed_events / sizeof *flawed_events; f++) {
        struct event events[N_WHOLE];
        memcpy(events, whole, sizeof whole);
        for (size_t i = 0; i < N_WHOLE; i++)
            if (events[i].pcr == flawed_events[f].pcr &&
                strcmp(events[i].kind, flawed_events[f].kind) == 0) {
                events[i] = flawed_events[f];
                break;
            }
        struct runtime_log log = log_of(events, N_WHOLE);
        struct lanes lanes = {.max_context = 7};
        struct err e = lanes_check(&lanes, &log, true);
        if (e.code != ERR_UNTRUE || strstr(err_message(), flawed_events[f].kind) == NULL)
            fail_msg("%s '%s': %s '%s'", flawed_events[f].kind, flawed_events[f].data,
                     err_code_name(e.code), is_err(e) ? err_message() : "accepted");
        assert_true(lanes.max_context == 7); /* untouched */
        runtime_log_cleanup(&log);
    }
    /* In another lane, or unknown. */
    static const struct event strays[] = {{13, "identity", HEX_32("ee")}, {14, "release", "x"}};
    for (size_t i = 0; i < 2; i++) {
        struct runtime_log log = log_of(&strays[i], 1);
        struct lanes lanes;
        assert_int_equal(lanes_check(&lanes, &log, false).code, ERR_UNTRUE);
        assert_non_null(strstr(err_message(), "record 1"));
        runtime_log_cleanup(&log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_the_golden_text),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(records_and_sizes_are_bounded),
        cmocka_unit_test(the_digest_and_the_replay_are_those_of_section_1),
        cmocka_unit_test(whole_lanes_say_what_was_measured),
        cmocka_unit_test(a_prefix_is_a_crash_and_not_a_proof),
        cmocka_unit_test(every_event_must_be_in_its_place),
        cmocka_unit_test(data_of_every_event_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
