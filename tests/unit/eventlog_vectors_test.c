/* Event logs of real machines, and the PCR values that others say they give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "attest/eventlog.h"
#include "tests/unit/tpm_data.h"

static json_t *expected; /* NULL where the data is not on this machine */

/* Exactly the PCRs that are expected, with their values; none where an event lacks its digest. */
static void check_bank(const char *path, const struct eventlog *log, const char *name,
                       const json_t *values)
{
    const struct pcr_bank *bank = pcr_bank_named(bytes_of_str(name));
    struct eventlog_pcrs pcrs = {0};
    struct err e = eventlog_replay(&pcrs, log, bank);
    if (is_err(e) && (e.code != ERR_UNTRUE || json_object_size(values) > 0))
        fail_msg("%s: %s", path, err_message());
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        char key[8];
        BUF_AUTO hex = BUF_INIT;
        snprintf(key, sizeof key, "%u", i);
        const char *wanted = json_string_value(json_object_get(values, key));
        assert_int_equal(pcrs.extended >> i & 1, wanted != NULL);
        buf_append_hex(&hex, bytes_of(pcrs.values[i], bank->len));
        if (wanted != NULL && strcmp(wanted, buf_str(&hex)) != 0)
            fail_msg("%s: %s PCR %u is %s, not %s", path, name, i, buf_str(&hex), wanted);
    }
}

static void check_log(const char *path, const json_t *wanted, struct bytes data)
{
    struct eventlog log;
    const char *name;
    json_t *values;
    struct err e = eventlog_parse(&log, data);
    if (strcmp(json_string_value(json_object_get(wanted, "parse")), "OK") != 0) {
        assert_int_equal(e.code, ERR_MALFORMED);
        assert_non_null(strstr(err_message(), "vendor information"));
        return;
    }
    if (is_err(e))
        fail_msg("%s: %s", path, err_message());
    const char *format = json_string_value(json_object_get(wanted, "format"));
    assert_int_equal(log.agile, strcmp(format, "crypto-agile") == 0);
    assert_int_equal(log.n_events, json_integer_value(json_object_get(wanted, "events")));
    assert_int_equal(log.n_algs, json_array_size(json_object_get(wanted, "banks")));
    assert_int_equal(log.locality, json_integer_value(json_object_get(wanted, "startup_locality")));
    json_object_foreach(json_object_get(wanted, "pcrs"), name, values)
        check_bank(path, &log, name, values);
    eventlog_cleanup(&log);
}

static void replays_to_the_values_that_others_state(void **state)
{
    (void)state;
    const char *path;
    json_t *wanted;
    size_t n = 0;
    if (expected == NULL)
        skip();
    json_object_foreach(json_object_get(expected, "eventlogs"), path, wanted)
    {
        BUF_AUTO data = BUF_INIT;
        tpm_data_file(&data, path);
        check_log(path, wanted, buf_bytes(&data));
        n++;
    }
    assert_true(n >= 12);
}

/* A cut at the end of an event leaves a log, of fewer events; every other cut is refused. */
static void refuses_real_logs_cut_inside_an_event(void **state)
{
    (void)state;
    if (expected == NULL)
        skip();
    BUF_AUTO data = BUF_INIT;
    struct eventlog log, cut;
    tpm_data_file(&data, "eventlogs/tpm2-tools/event-sd-boot-fedora37.bin");
    assert_false(is_err(eventlog_parse(&log, buf_bytes(&data))));
    size_t next = 1;
    for (size_t len = log.events[0].offset + 1; len < data.len; len++) {
        bool boundary = next < log.n_events && log.events[next].offset == len;
        struct err e = eventlog_parse(&cut, bytes_of(data.data, len));
        assert_int_equal(is_err(e), !boundary);
        next += boundary;
        if (!is_err(e))
            eventlog_cleanup(&cut);
    }
    assert_int_equal(next, log.n_events);
    eventlog_cleanup(&log);
}

static int load(void **state)
{
    (void)state;
    expected = tpm_data_expected();
    return 0;
}

static int unload(void **state)
{
    (void)state;
    json_decref(expected);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_to_the_values_that_others_state),
        cmocka_unit_test(refuses_real_logs_cut_inside_an_event),
    };
    if (!tpm_data_there())
        return 77;
    return cmocka_run_group_tests(tests, load, unload);
}
