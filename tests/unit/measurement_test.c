/* Measurements: their one text, the lanes they become, and the policy lines that name those lanes.
 */
#include "server/measurement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct measured_file files[2];

static void fill(struct measurement *m)
{
    *m = (struct measurement){.files = files, .n_files = 2};
    strcpy(files[0].name, "config.json");
    strcpy(files[1].name, "model weights.safetensors"); /* a space is fine in a name */
    files[0].size = 17;
    files[1].size = UINT64_MAX;
    memset(files[0].sha256, 0x01, SHA256_LEN);
    memset(files[1].sha256, 0x02, SHA256_LEN);
    strcpy(m->model_id, "org/model 1b");
    strcpy(m->numerics, "ref-1");
    strcpy(m->profile, "bare");
    m->has_fatbin = true;
    m->quote_interval_s = 60;
    m->max_context = 2048;
    m->max_requests = 8;
    memset(m->server_binary, 0x03, SHA256_LEN);
    memset(m->fatbin, 0x04, SHA256_LEN);
    memset(m->sandbox, 0x05, SHA256_LEN);
    memset(m->spki_sha256, 0x06, SHA256_LEN);
}

static void decodes_what_was_encoded(void **state)
{
    (void)state;
    for (int fatbin = 0; fatbin < 2; fatbin++) {
        struct measurement m, back;
        BUF_AUTO text = BUF_INIT;
        BUF_AUTO again = BUF_INIT;
        fill(&m);
        m.has_fatbin = fatbin;
        measurement_encode(&text, &m);
        assert_false(is_err(measurement_decode(&back, buf_bytes(&text))));
        assert_int_equal(back.n_files, 2);
        assert_string_equal(back.files[1].name, files[1].name);
        assert_int_equal(back.files[1].size, UINT64_MAX);
        assert_memory_equal(back.spki_sha256, m.spki_sha256, SHA256_LEN);
        assert_int_equal(back.has_fatbin, fatbin);
        measurement_encode(&again, &back);
        assert_true(bytes_equal(buf_bytes(&text), buf_bytes(&again)));
        measurement_cleanup(&back);
    }
}

static void refuses_every_truncation_and_a_byte_too_many(void **state)
{
    (void)state;
    struct measurement m, back;
    BUF_AUTO text = BUF_INIT;
    fill(&m);
    measurement_encode(&text, &m);
    for (size_t len = 0; len < text.len; len++)
        assert_true(is_err(measurement_decode(&back, bytes_of(text.data, len))));
    buf_append_str(&text, "\n");
    assert_int_equal(measurement_decode(&back, buf_bytes(&text)).code, ERR_MALFORMED);
}

/* Replaces the first `from` by `to` in a good text, and decodes. */
static enum err_code decode_changed(const char *from, const char *to)
{
    struct measurement m, back;
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO changed = BUF_INIT;
    fill(&m);
    measurement_encode(&text, &m);
    const char *start = buf_str(&text);
    const char *at = strstr(start, from);
    assert_non_null(at);
    buf_append(&changed, start, (size_t)(at - start));
    buf_append_str(&changed, to);
    buf_append_str(&changed, at + strlen(from));
    struct err e = measurement_decode(&back, buf_bytes(&changed));
    if (!is_err(e))
        measurement_cleanup(&back);
    return e.code;
}

static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    assert_int_equal(decode_changed("ref-1", "ref-1"), ERR_NONE);
    assert_int_equal(decode_changed("measurement/v1", "measurement/v2"), ERR_UNSUPPORTED);
    assert_int_equal(decode_changed("files 2", "files 3"), ERR_MALFORMED);
    assert_int_equal(decode_changed("files 2", "files 1"), ERR_MALFORMED);
    assert_int_equal(decode_changed("files 2", "files 02"), ERR_MALFORMED);
    assert_int_equal(decode_changed("files 2", "files 99999999999"), ERR_MALFORMED);
    assert_int_equal(decode_changed("config.json", "zonfig.json"), ERR_MALFORMED); /* not sorted */
    assert_int_equal(decode_changed("config.json", "model weights.safetensors"), ERR_MALFORMED);
    assert_int_equal(decode_changed("config.json", ""), ERR_MALFORMED);
    assert_int_equal(decode_changed("config.json", "con\tfig.json"), ERR_MALFORMED);
    assert_int_equal(decode_changed("18446744073709551615", "18446744073709551616"), ERR_MALFORMED);
    assert_int_equal(decode_changed("file 01", "file 0A"), ERR_MALFORMED);
    assert_int_equal(decode_changed("fatbin 04", "fatbin none04"), ERR_MALFORMED);
    assert_int_equal(decode_changed("quote-interval 60", "quote-interval 86401"), ERR_MALFORMED);
    assert_int_equal(decode_changed("quote-interval 60", "quote-interval 0"), ERR_MALFORMED);
    assert_int_equal(decode_changed("ref-1", "ref 1"), ERR_MALFORMED);
    assert_int_equal(decode_changed("bare", "bare metal"), ERR_MALFORMED);
    assert_int_equal(decode_changed("max-context", "max_context"), ERR_MALFORMED);
    assert_int_equal(decode_changed("numerics ref-1", "numerics "), ERR_MALFORMED);
}

static void refuses_names_that_do_not_fit(void **state)
{
    (void)state;
    char name[300], line[320];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    snprintf(line, sizeof line, "model-id %s", name);
    assert_int_equal(decode_changed("model-id org/model 1b", line), ERR_MALFORMED);
    line[9 + 255] = 0;
    assert_int_equal(decode_changed("model-id org/model 1b", line), ERR_NONE);
    assert_int_equal(decode_changed("config.json", name), ERR_MALFORMED);
    name[64] = 0;
    assert_int_equal(decode_changed("bare", name), ERR_MALFORMED);
}

static void becomes_valid_lanes(void **state)
{
    (void)state;
    struct measurement m;
    struct runtime_log log = RUNTIME_LOG_INIT;
    struct lanes lanes;
    BUF_AUTO manifest = BUF_INIT;
    fill(&m);
    assert_false(is_err(measurement_model_lane(&log, &m)));
    assert_false(is_err(measurement_code_lane(&log, &m)));
    assert_false(is_err(lanes_check(&lanes, &log, false)));
    assert_true(lanes.model_capped && lanes.code_capped);
    assert_true(bytes_equal(lanes.model_id, bytes_of_str("org/model 1b")));
    assert_true(bytes_equal(lanes.numerics, bytes_of_str("ref-1")));
    lane_manifest(&manifest, &log, PCR_CODE);
    const char *expected =
        "blindllama-code/v1\n"
        "server-binary 0303030303030303030303030303030303030303030303030303030303030303\n"
        "kernels ref-1 0404040404040404040404040404040404040404040404040404040404040404\n"
        "sandbox 0505050505050505050505050505050505050505050505050505050505050505\n"
        "profile bare\n";
    assert_string_equal(buf_str(&manifest), expected);
    runtime_log_cleanup(&log);
}

static void policy_lines_name_the_lanes_manifests(void **state)
{
    (void)state;
    struct measurement m;
    struct runtime_log log = RUNTIME_LOG_INIT;
    struct lanes lanes;
    BUF_AUTO lines = BUF_INIT;
    BUF_AUTO expected = BUF_INIT;
    fill(&m);
    m.has_fatbin = false;
    assert_false(is_err(measurement_model_lane(&log, &m)));
    assert_false(is_err(measurement_code_lane(&log, &m)));
    assert_false(is_err(lanes_check(&lanes, &log, false)));
    buf_append_str(&expected, "model org/model 1b ");
    buf_append_hex(&expected, bytes_of(lanes.model_manifest, SHA256_LEN));
    buf_append_str(&expected, "\ncode bare ");
    buf_append_hex(&expected, bytes_of(lanes.code_manifest, SHA256_LEN));
    buf_append_str(&expected, "\n");
    assert_false(is_err(measurement_policy_lines(&lines, &m)));
    assert_string_equal(buf_str(&lines), buf_str(&expected));
    runtime_log_cleanup(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_was_encoded),
        cmocka_unit_test(refuses_every_truncation_and_a_byte_too_many),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(refuses_names_that_do_not_fit),
        cmocka_unit_test(becomes_valid_lanes),
        cmocka_unit_test(policy_lines_name_the_lanes_manifests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
