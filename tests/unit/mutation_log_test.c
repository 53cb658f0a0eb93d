/*
 * Mutations of a true log by an operator who holds its key: after each change the tree is built and
 * signed anew, and the replay finds it untrue all the same. What may be changed is a stop's
 * max-duration, which is advisory, and the log's end may be cut off, which only witnesses see.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"

enum { N_ENTRIES = 5, STOP = 4 };

static struct fake_world world;
static struct policy policy;
static struct buf entries[N_ENTRIES + 1];
static size_t n_entries;
static bool ran; /* a part that names no test is a mistake, not a success */

static void reset_entries(void)
{
    n_entries = world.n_entries;
    for (size_t i = 0; i < N_ENTRIES + 1; i++) {
        buf_clear(&entries[i]);
        if (i < n_entries)
            buf_append_bytes(&entries[i], buf_bytes(&world.entries[i]));
    }
}

static bool replay_entries(struct replay *r)
{
    struct replay_line line;
    bool all_true = true;
    for (size_t i = 0; i < n_entries && all_true; i++) {
        assert_false(is_err(replay_entry(r, &line, i, buf_bytes(&entries[i]))));
        all_true = line.status == RULE_TRUE;
    }
    return all_true;
}

/* Signed by the log's own key, over these entries. */
static bool believed(void)
{
    struct replay *r;
    struct replay_summary summary;
    struct merkle_hash leaves[N_ENTRIES + 1];
    struct checkpoint c = {.size = n_entries};
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(replay_new(&r, &policy, fake_blob, &world)));
    bool good = replay_entries(r);
    if (good) {
        for (size_t i = 0; i < n_entries; i++)
            leaves[i] = merkle_leaf(buf_bytes(&entries[i]));
        strcpy(c.origin, world.log.key.name);
        c.root = merkle_root(leaves, n_entries);
        assert_false(is_err(checkpoint_sign(&note, &c, &world.log)));
        assert_false(is_err(replay_finish(r, &summary, buf_bytes(&note))));
        good = summary.outcome != OUTCOME_FALSE;
    }
    replay_free(r);
    return good;
}

static int setup(void **state)
{
    (void)state;
    ran = true;
    BUF_AUTO text = BUF_INIT;
    fake_world_init(&world, NULL);
    fake_start(&world, 0);
    fake_log_stop(&world, 0, 600);
    fake_policy_text(&world, &text);
    assert_false(is_err(policy_parse(&policy, buf_bytes(&text))));
    reset_entries();
    assert_int_equal(n_entries, N_ENTRIES);
    assert_true(believed());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ENTRIES + 1; i++)
        buf_cleanup(&entries[i]);
    policy_cleanup(&policy);
    fake_world_cleanup(&world);
    return 0;
}

/* Whether the byte is of the value of `max-duration`. */
static bool is_advisory(size_t entry, size_t at)
{
    const char *text = buf_str(&world.entries[entry]);
    const char *line = strstr(text, "\nmax-duration ");
    if (line == NULL)
        return false;
    const char *value = line + strlen("\nmax-duration ");
    return text + at >= value && text + at < strchr(value, '\n');
}

static void flip(size_t entry, size_t at, unsigned bit)
{
    entries[entry].data[at] ^= (uint8_t)(1u << bit);
    if (believed() && !is_advisory(entry, at))
        fail_msg("entry %zu, byte %zu, bit %u: believed", entry, at, bit);
    entries[entry].data[at] ^= (uint8_t)(1u << bit);
}

static void every_byte_of_each_statement(void **state)
{
    (void)state;
    for (size_t i = 0; i < STOP; i++)
        for (size_t at = 0; at < entries[i].len; at++)
            flip(i, at, at % 8);
}

/* Base64 of what the TPM signed and its signature: mutation_test has each of their bits. */
static bool is_signed_line(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n')
        at--;
    return strncmp(text + at, "pcrs ", 5) == 0 || strncmp(text + at, "attest ", 7) == 0 ||
           strncmp(text + at, "signature ", 10) == 0;
}

static void every_bit_of_a_stop(void **state)
{
    (void)state;
    for (size_t at = 0; at < entries[STOP].len; at++) {
        bool one = is_signed_line(buf_str(&world.entries[STOP]), at);
        for (unsigned bit = 0; bit < 8; bit++)
            if (!one || bit == at % 8)
                flip(STOP, at, bit);
    }
}

static void every_cut_of_a_statement(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ENTRIES; i++) {
        size_t len = entries[i].len;
        for (entries[i].len = 0; entries[i].len < len; entries[i].len += 3)
            if (believed())
                fail_msg("entry %zu cut at %zu: believed", i, entries[i].len);
        entries[i].len = len;
    }
}

static void a_statement_left_out_twice_or_out_of_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ENTRIES; i++) {
        reset_entries();
        struct buf gone = entries[i];
        memmove(&entries[i], &entries[i + 1], (N_ENTRIES - i) * sizeof *entries);
        entries[N_ENTRIES] = gone;
        n_entries--;
        assert_int_equal(believed(), i == STOP); /* the log as it was before the stop */
        reset_entries();
        buf_append_bytes(&entries[N_ENTRIES], buf_bytes(&entries[i]));
        n_entries++;
        assert_int_equal(believed(), i == 0); /* a host statement adds nothing new: harmless */
        reset_entries();
        if (i + 1 == N_ENTRIES)
            continue;
        struct buf first = entries[i];
        entries[i] = entries[i + 1];
        entries[i + 1] = first;
        assert_false(believed());
    }
    reset_entries();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_byte_of_each_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_a_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(every_cut_of_a_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(a_statement_left_out_twice_or_out_of_order, setup,
                                        teardown),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return ran ? n_failed : 1;
}
