/* A policy is taken whole or refused with the line that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "attest/policy.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
/* Vectors of others (C2SP signed-note; tlog-cosignature is of another key type). */
#define LOG_KEY "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"

static char activator_1[512], activator_2[512], activator_1_again[512];

static void make_key(char out[512], const char *name, uint8_t fill)
{
    uint8_t seed[ED25519_SEED_LEN];
    memset(seed, fill, sizeof seed);
    struct note_signer s;
    assert_false(is_err(note_signer_init(&s, name, NOTE_ED25519, seed)));
    BUF_AUTO text = BUF_INIT;
    note_vkey_format(&text, &s.key);
    strcpy(out, buf_str(&text));
}

static int make_keys(void **state)
{
    (void)state;
    make_key(activator_1, "one.example", 1);
    make_key(activator_2, "two.example", 2);
    make_key(activator_1_again, "other-name.example", 1);
    return 0;
}

static const char *const good_lines[] = {
    "blindllama-policy/v1",
    "# a comment",
    "",
    "log " LOG_KEY,
    "quorum none",
    "release none",
    "tpm-root " HASH_A,
    "test-tpm-root " HASH_B,
    "model org/name " HASH_A,
    "code v0.1 " HASH_A,
    "boot-pcr 0 ignore a cloud's firmware",
    "boot-pcr 1 " HASH_A,
    "boot-pcr 2 " HASH_A,
    "boot-pcr 3 " HASH_A,
    "boot-pcr 4 " HASH_A,
    "boot-pcr 4 " HASH_B,
    "boot-pcr 5 " HASH_A,
    "boot-pcr 6 " HASH_A,
    "boot-pcr 7 " HASH_A,
    "boot-pcr 8 " HASH_A,
    "boot-pcr 9 " HASH_A,
    "boot-pcr 10 " HASH_A,
    "boot-pcr 11 " HASH_A,
    "boot-pcr 12 " HASH_A,
    "max-interval 300",
    "max-age 600",
};
enum { N_GOOD = sizeof good_lines / sizeof *good_lines };

/* The good policy with line `at` (from 1) replaced, or left out where `line` is NULL; `more`
 * behind. */
static struct err parse_with(struct policy *p, size_t at, const char *line, const char *more)
{
    BUF_AUTO text = BUF_INIT;
    for (size_t i = 0; i < N_GOOD; i++) {
        const char *take = i + 1 == at ? line : good_lines[i];
        if (take != NULL)
            buf_printf(&text, "%s\n", take);
    }
    buf_append_str(&text, more);
    return policy_parse(p, buf_bytes(&text));
}

static void takes_a_whole_policy(void **state)
{
    (void)state;
    struct policy p;
    struct err e = parse_with(&p, 0, NULL, "");
    if (is_err(e))
        fail_msg("%s", err_message());
    assert_string_equal(p.log.name, "example.com/foo");
    assert_string_equal(p.log_vkey, LOG_KEY);
    assert_int_equal(p.n_roots, 2);
    assert_false(p.roots[0].test);
    assert_true(p.roots[1].test);
    assert_int_equal(p.n_models, 1);
    assert_string_equal(p.models[0].name, "org/name");
    assert_string_equal(p.codes[0].name, "v0.1");
    assert_true(p.boot[0].ignored);
    assert_string_equal(p.boot[0].reason, "a cloud's firmware");
    assert_int_equal(p.boot[4].n_values, 2);
    assert_int_equal(p.k_activators, 0);
    assert_int_equal(p.max_interval_s, 300);
    assert_int_equal(p.max_age_s, 600);
    policy_cleanup(&p);
}

static void events_stand_in_for_values_or_beside_them(void **state)
{
    (void)state;
    struct policy p;
    struct err e = parse_with(&p, 15, "boot-event 4 " HASH_A,
                              "boot-event 4 " HASH_B "\nboot-event 12 " HASH_A "\n");
    if (is_err(e))
        fail_msg("%s", err_message());
    assert_int_equal(p.boot[4].n_events, 2);
    assert_int_equal(p.boot[4].n_values, 1);
    assert_int_equal(p.boot[12].n_events, 1);
    assert_true(policy_wants_events(&p));
    policy_cleanup(&p);
    assert_false(is_err(parse_with(&p, 12, "boot-event 1 " HASH_A, "")));
    assert_int_equal(p.boot[1].n_values, 0);
    policy_cleanup(&p);
    assert_false(is_err(parse_with(&p, 0, NULL, "")));
    assert_false(policy_wants_events(&p));
    policy_cleanup(&p);
}

static void one_activator_of_several_is_the_default(void **state)
{
    (void)state;
    struct policy p;
    char more[2048];
    snprintf(more, sizeof more, "activator %s\nactivator %s\n", activator_1, activator_2);
    assert_false(is_err(parse_with(&p, 0, NULL, more)));
    assert_int_equal(p.n_activators, 2);
    assert_int_equal(p.k_activators, 1);
    policy_cleanup(&p);
    snprintf(more, sizeof more, "activators 2\nactivator %s\nactivator %s\n", activator_1,
             activator_2);
    assert_false(is_err(parse_with(&p, 0, NULL, more)));
    assert_int_equal(p.k_activators, 2);
    policy_cleanup(&p);
}

struct bad {
    size_t at;
    const char *line; /* NULL: left out */
    const char *more;
    const char *says;
};

static const struct bad bad_policies[] = {
    {1, "blindllama-policy/v2", "", "line 1: "},
    {2, "comment", "", "line 2: 'comment' is not a keyword"},
    {2, " # indented", "", "line 2: "},
    {3, " ", "", "line 3: "},
    {4, NULL, "", "no line 'log'"},
    {4, "log", "", "line 4: log: "},
    {4, "log  " LOG_KEY, "", "line 4: log: "},
    {4, "log example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "",
     "line 4: "},
    {4, "log example.org/witness+cacf2e50+BGbguFjkYqYJ5m/nE3DIFtiEb/ED1UmaIqf+w3/bxCSn", "",
     "line 4: log: a cosigner's key"},
    {0, NULL, "log " LOG_KEY "\n", "line 27: log: a second 'log' (the first is in line 4)"},
    {5, "quorum 2", "", "line 5: quorum: no line before this one defines '2'"},
    {5, "quorum none none", "", "line 5: quorum: 3 words"},
    {5, "witness w " LOG_KEY, "", "line 5: witness: a key of type 0x01"},
    {0, NULL, "quorum none\n", "line 27: quorum: a second quorum"},
    {5, NULL, "", "no line 'quorum'"},
    {5, "release none", "", "line 6: release: a second"},
    {6, "release v1", "", "line 6: release: 'release' other than 'none'"},
    {6, NULL, "", "no line 'release'"},
    {7, "tpm-root " HASH_B, "", "line 8: test-tpm-root: a root: the same hash"},
    {7, "tpm-root AAAA", "", "line 7: tpm-root: the root's SHA-256"},
    {0, NULL, "ak-root " HASH_A "\n", "line 27: ak-root: the SHA-256"},
    {0, NULL, "ak-root aws " HASH_A "\n", "line 27: ak-root: a profile other than"},
    {0, NULL, "ak-root gcp AAAA\n", "line 27: ak-root: the SHA-256"},
    {0, NULL, "ak-root gcp " HASH_A "\ntest-ak-root azure " HASH_A "\n",
     "line 28: test-ak-root: a root: the same hash"},
    {9, NULL, "", "no line 'model'"},
    {9, "model " HASH_A, "", "line 9: model: "},
    {9, "model two words " HASH_A, "", "line 9: model: "},
    {0, NULL, "model other/name " HASH_A "\n", "line 27: model: a model: the same hash"},
    {10, NULL, "", "no line 'code'"},
    {0, NULL, "code other " HASH_A "\n", "line 27: code: a code: the same hash"},
    {12, NULL, "", "no line 'boot-pcr 1'"},
    {12, "boot-pcr 13 " HASH_A, "", "line 12: boot-pcr: a PCR from 0 to 12"},
    {12, "boot-pcr 01 " HASH_A, "", "line 12: boot-pcr: "},
    {12, "boot-pcr 1 ignore", "", "line 12: boot-pcr: a reason of 0 bytes"},
    {12, "boot-pcr 1 ignore ", "", "line 12: boot-pcr: a reason of 0 bytes"},
    {15, "boot-pcr 4 ignore because", "", "line 15: boot-pcr: PCR 4 may never be ignored"},
    {20, "boot-pcr 8 ignore because", "", "line 20: boot-pcr: PCR 8 may never be ignored"},
    {24, "boot-pcr 12 ignore because", "", "line 24: boot-pcr: PCR 12 may never be ignored"},
    {0, NULL, "boot-pcr 0 " HASH_A "\n", "line 27: boot-pcr: PCR 0 is ignored, and has"},
    {0, NULL, "boot-pcr 0 ignore because\n", "line 27: boot-pcr: PCR 0 is ignored, and has"},
    {0, NULL, "boot-pcr 1 ignore because\n", "line 27: boot-pcr: PCR 1 is ignored, and has"},
    {0, NULL, "boot-event 0 " HASH_A "\n", "line 27: boot-event: PCR 0 is ignored, and has"},
    {12, "boot-event 1 " HASH_A, "boot-pcr 1 ignore because\n",
     "line 27: boot-pcr: PCR 1 is ignored, and has"},
    {12, "boot-event 13 " HASH_A, "", "line 12: boot-event: a PCR from 0 to 12"},
    {12, "boot-event 1 AAAA", "", "line 12: boot-event: the event's digest"},
    {12, "boot-event 1 ignore because", "", "line 12: boot-event: the event's digest"},
    {12, "boot-event 1", "", "line 12: boot-event: the event's digest"},
    {0, NULL, "boot-event 1 " HASH_A "\nboot-event 1 " HASH_A "\n",
     "line 28: boot-event: PCR 1: the same hash"},
    {0, NULL, "boot-pcr 1 " HASH_A "\n", "line 27: boot-pcr: PCR 1: the same hash"},
    {25, NULL, "", "no line 'max-interval'"},
    {25, "max-interval 0", "", "line 25: max-interval: "},
    {25, "max-interval 86401", "", "line 25: max-interval: "},
    {25, "max-interval 1h", "", "line 25: max-interval: "},
    {0, NULL, "max-interval 300\n", "line 27: max-interval: a second"},
    {26, NULL, "", "no line 'max-age'"},
    {26, "max-age 0600", "", "line 26: max-age: "},
    {0, NULL, "max-age 60\n", "line 27: max-age: a second"},
    {0, NULL, "activators 1\n", "line 27: 1 activators are asked for, 0 are named"},
    {0, NULL, "activators 0\n", "line 27: activators: 0 activators"},
    {0, NULL, "activator " LOG_KEY "\n", "the log's key is also activator"},
    {0, NULL, "max-age 60", "line 27: it does not end in a newline"},
    {0, NULL, "#\ttab\n", "line 27: a control character"},
    {0, NULL, "# \xc2\x9b csi\n", "line 27: a control character"},
    {0, NULL, "# \xff\n", "not UTF-8"},
    {0, NULL, "# carriage\r\n", "line 27: a control character"},
    {0, NULL, "gpu-driver 580 95\n", "gpu-driver: a version is a word of 1 to 79 bytes"},
    {0, NULL, "gpu-driver \n", "gpu-driver: a version is a word"},
    {0, NULL, "gpu-vbios 1\ngpu-vbios 1\n", "gpu-vbios: a version: the same hash a second time"},
    {0, NULL, "gpu-vbios 01234567890123456789012345678901\n", "a word of 1 to 31 bytes"},
    {0, NULL, "gpu-root aa\n", "gpu-root: the root's SHA-256"},
};

static void refuses_each_single_flaw(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_policies / sizeof *bad_policies; i++) {
        const struct bad *b = &bad_policies[i];
        struct policy p;
        struct err e = parse_with(&p, b->at, b->line, b->more);
        if (!is_err(e) || strstr(err_message(), b->says) == NULL)
            fail_msg("case %zu: '%s' where '%s' is expected", i,
                     is_err(e) ? err_message() : "taken", b->says);
    }
}

static void refuses_a_policy_without_roots(void **state)
{
    (void)state;
    BUF_AUTO text = BUF_INIT;
    for (size_t i = 0; i < N_GOOD; i++)
        if (i != 6 && i != 7)
            buf_printf(&text, "%s\n", good_lines[i]);
    struct policy p;
    assert_int_equal(policy_parse(&p, buf_bytes(&text)).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "tpm-root"));
}

static void a_root_of_attestation_keys_is_root_enough(void **state)
{
    (void)state;
    BUF_AUTO text = BUF_INIT;
    for (size_t i = 0; i < N_GOOD; i++)
        if (i != 6 && i != 7)
            buf_printf(&text, "%s\n", good_lines[i]);
    buf_append_str(&text, "ak-root gcp " HASH_A "\ntest-ak-root tcg " HASH_B "\n");
    struct policy p;
    if (is_err(policy_parse(&p, buf_bytes(&text))))
        fail_msg("%s", err_message());
    assert_true(p.n_roots == 0 && p.n_ak_roots == 2);
    assert_true(p.ak_roots[0].profile == AK_PROFILE_GCP && !p.ak_roots[0].test);
    assert_true(p.ak_roots[1].profile == AK_PROFILE_TCG && p.ak_roots[1].test);
    policy_cleanup(&p);
}

static void gpus_may_be_asked_for(void **state)
{
    (void)state;
    struct policy p;
    if (is_err(parse_with(&p, 0, NULL, "")))
        fail_msg("%s", err_message());
    assert_false(policy_wants_gpus(&p));
    assert_true(policy_gpu_allows(p.gpus.drivers, p.gpus.n_drivers, "any"));
    policy_cleanup(&p);
    if (is_err(parse_with(&p, 0, NULL,
                          "gpu-driver 580.95.05\ngpu-driver 580.105.08\ngpu-vbios 96.00.9F.00.01\n"
                          "gpu-root " HASH_A "\n")))
        fail_msg("%s", err_message());
    assert_true(policy_wants_gpus(&p) && p.gpus.n_roots == 1);
    assert_true(policy_gpu_allows(p.gpus.drivers, p.gpus.n_drivers, "580.105.08"));
    assert_false(policy_gpu_allows(p.gpus.drivers, p.gpus.n_drivers, "580.105.0"));
    assert_false(policy_gpu_allows(p.gpus.vbioses, p.gpus.n_vbioses, "96.00.9F.00.02"));
    policy_cleanup(&p);
}

static void refuses_one_activator_key_under_two_names(void **state)
{
    (void)state;
    struct policy p;
    char more[2048];
    snprintf(more, sizeof more, "activator %s\nactivator %s\nactivators 2\n", activator_1,
             activator_1_again);
    assert_int_equal(parse_with(&p, 0, NULL, more).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "line 28: activator: the same activator key"));
    snprintf(more, sizeof more, "activator %s\nactivators 2\n", activator_1);
    assert_int_equal(parse_with(&p, 0, NULL, more).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "line 28: 2 activators are asked for, 1 are named"));
}

static void what_is_not_built_is_unsupported(void **state)
{
    (void)state;
    struct policy p;
    assert_int_equal(parse_with(&p, 6, "release signed", "").code, ERR_UNSUPPORTED);
}

static void refuses_too_many_lines_and_bytes(void **state)
{
    (void)state;
    struct policy p;
    BUF_AUTO more = BUF_INIT;
    for (int i = 0; i < POLICY_LINES_MAX - N_GOOD; i++)
        buf_append_str(&more, "#\n");
    assert_false(is_err(parse_with(&p, 0, NULL, buf_str(&more))));
    policy_cleanup(&p);
    buf_append_str(&more, "#\n");
    assert_int_equal(parse_with(&p, 0, NULL, buf_str(&more)).code, ERR_LIMIT);
    buf_clear(&more);
    for (int i = 0; i < 1100; i++)
        buf_printf(&more, "#%01000d\n", i);
    assert_int_equal(parse_with(&p, 0, NULL, buf_str(&more)).code, ERR_LIMIT);
    assert_int_equal(policy_parse(&p, bytes_of(NULL, 0)).code, ERR_MALFORMED);
}

static void errors_of_files_name_the_file(void **state)
{
    (void)state;
    struct policy p;
    assert_int_equal(policy_load(&p, "/nonexistent/policy").code, ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(), "/nonexistent/policy"));
    char path[] = "/tmp/policy-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "no\n", 3), 3);
    close(fd);
    assert_int_equal(policy_load(&p, path).code, ERR_MALFORMED);
    unlink(path);
    assert_non_null(strstr(err_message(), path));
    assert_non_null(strstr(err_message(), "line 1: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_whole_policy),
        cmocka_unit_test(events_stand_in_for_values_or_beside_them),
        cmocka_unit_test(one_activator_of_several_is_the_default),
        cmocka_unit_test(refuses_each_single_flaw),
        cmocka_unit_test(refuses_a_policy_without_roots),
        cmocka_unit_test(a_root_of_attestation_keys_is_root_enough),
        cmocka_unit_test(gpus_may_be_asked_for),
        cmocka_unit_test(refuses_one_activator_key_under_two_names),
        cmocka_unit_test(what_is_not_built_is_unsupported),
        cmocka_unit_test(refuses_too_many_lines_and_bytes),
        cmocka_unit_test(errors_of_files_name_the_file),
    };
    return cmocka_run_group_tests(tests, make_keys, NULL);
}
