/* The program blindllama-audit over log files: its exit codes, what it prints, and what it never
 * prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/file.h"
#include "fake_host.h"
#include "transparency/store.h"

static char dir[64];
static char log_path[128], policy_path[128];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/audit-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(log_path, sizeof log_path, "%s/log.db", dir);
    snprintf(policy_path, sizeof policy_path, "%s/policy", dir);
    return 0;
}

static void remove_files(void)
{
    static const char *const endings[] = {"", "-wal", "-shm", ".lock"};
    unlink(policy_path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s%s", log_path, endings[i]);
        unlink(path);
    }
}

static int remove_dir(void **state)
{
    (void)state;
    remove_files();
    return rmdir(dir);
}

static void usual_history(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_quote(w, 0);
    fake_start(w, 1);
    fake_log_quote(w, 0);
    fake_log_quote(w, 1);
}

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

/* The world's log as a file, every entry with its own checkpoint, all blobs with the first. */
static void write_log(struct fake_world *w)
{
    struct store *s = NULL;
    must(store_create(log_path, &w->log));
    must(store_open(&s, log_path, &w->log));
    struct bytes *blobs = calloc(w->n_blobs, sizeof *blobs);
    assert_non_null(blobs);
    for (size_t i = 0; i < w->n_blobs; i++)
        blobs[i] = buf_bytes(&w->blobs[i]);
    for (size_t i = 0; i < w->n_entries; i++) {
        struct store_entry entry = {
            .bytes = buf_bytes(&w->entries[i]), .blobs = blobs, .n_blobs = i == 0 ? w->n_blobs : 0};
        uint64_t index;
        must(store_append(s, &index, &entry, 1));
        assert_int_equal(index, i);
    }
    free(blobs);
    store_close(s);
}

static void write_files(struct fake_world *w)
{
    remove_files();
    write_log(w);
    BUF_AUTO policy = BUF_INIT;
    fake_policy_text(w, &policy);
    must(file_write_durable(policy_path, buf_bytes(&policy), 0600));
}

/* Runs the program; its standard output, and its exit code. */
static int run(struct buf *out, const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s 2>%s/stderr", BL_AUDIT_PROGRAM, arguments, dir);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, pipe)) > 0;)
        buf_append(out, chunk, n);
    int status = pclose(pipe);
    char path[128];
    snprintf(path, sizeof path, "%s/stderr", dir);
    unlink(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int replay(struct buf *out, const char *options)
{
    char arguments[512];
    snprintf(arguments, sizeof arguments, "replay %s --policy %s %s", log_path, policy_path,
             options);
    return run(out, arguments);
}

static void check_terminal(struct buf *out)
{
    size_t column = 0;
    for (size_t i = 0; i < out->len; i++) {
        column = out->data[i] == '\n' ? 0 : column + 1;
        assert_true(column <= 110);
        assert_true(out->data[i] == '\n' || (out->data[i] >= 0x20 && out->data[i] < 0x7f));
    }
}

static void a_true_log_exits_0(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    int code = replay(&out, "");
    if (code != 0)
        fail_msg("exit %d:\n%s", code, buf_str(&out));
    check_terminal(&out);
    assert_non_null(strstr(buf_str(&out), "Verdict: true (TEST"));
    assert_non_null(strstr(buf_str(&out), "Not proven"));
    buf_clear(&out);
    assert_int_equal(replay(&out, "--quiet"), 0);
    assert_string_equal(buf_str(&out), "Verdict: true (TEST: it rests on a test root)\n");
    fake_world_cleanup(&w);
}

static void json_says_the_same(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    fake_append(&w, bytes_of_str("blindllama-quote/v1\nnot one\n"));
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(replay(&out, "--json"), 1);
    json_error_t why;
    json_t *root = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &why);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "outcome")), "false");
    assert_int_equal(json_array_size(json_object_get(root, "entries")), w.n_entries);
    json_t *last = json_array_get(json_object_get(root, "entries"), w.n_entries - 1);
    assert_true(json_is_false(json_object_get(last, "true")));
    assert_string_equal(json_string_value(json_object_get(last, "rule")), "PARSE");
    assert_int_equal(json_integer_value(json_object_get(root, "n_true")), w.n_entries - 1);
    json_decref(root);
    fake_world_cleanup(&w);
}

static void hostile_text_never_reaches_the_terminal(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    fake_append(&w, bytes_of_str("\x1b]0;owned\x07\x1b[2J\xc2\x9b"
                                 "31m\r\xff\n"));
    fake_append(&w, bytes_of_str("blindllama-boot/v1\nak-name \x1b[31mred\n"));
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(replay(&out, ""), 1);
    check_terminal(&out);
    buf_clear(&out);
    assert_int_equal(replay(&out, "--json"), 1);
    for (size_t i = 0; i + 1 < out.len; i++)
        assert_true(out.data[i] >= 0x20 && out.data[i] < 0x7f);
    fake_world_cleanup(&w);
}

/* Every byte of the file counts, or is not part of the log. */
static void a_changed_file_is_not_believed(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    write_files(&w);
    BUF_AUTO file = BUF_INIT;
    must(file_read(&file, log_path, 64 * 1024 * 1024));
    const char *marks[] = {"blindllama-boot/v1", "blindllama-identity/v1", "Fake TPM root",
                           "activator.example"};
    for (size_t i = 0; i < 4; i++) {
        BUF_AUTO changed = BUF_INIT;
        buf_append_bytes(&changed, buf_bytes(&file));
        uint8_t *at = memmem(changed.data, changed.len, marks[i], strlen(marks[i]));
        assert_non_null(at);
        at[strlen(marks[i]) - 1] ^= 1;
        must(file_write_durable(log_path, buf_bytes(&changed), 0600));
        BUF_AUTO out = BUF_INIT;
        int code = replay(&out, "");
        if (code != 1)
            fail_msg("%s: exit %d:\n%s", marks[i], code, buf_str(&out));
        assert_non_null(strstr(buf_str(&out), "Verdict: false"));
    }
    fake_world_cleanup(&w);
}

static void another_logs_policy_is_false(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    write_files(&w);
    uint8_t seed[ED25519_SEED_LEN] = {44};
    must(note_signer_init(&w.log, w.log.key.name, NOTE_ED25519, seed));
    BUF_AUTO policy = BUF_INIT, out = BUF_INIT;
    fake_policy_text(&w, &policy);
    must(file_write_durable(policy_path, buf_bytes(&policy), 0600));
    assert_int_equal(replay(&out, ""), 1);
    assert_non_null(strstr(buf_str(&out), "Verdict: false"));
    fake_world_cleanup(&w);
}

static void ignore_pcr_7(struct fake_world *w, enum fake_stage stage, enum fake_what what,
                         void *thing)
{
    (void)w;
    (void)what;
    struct buf *b = thing;
    if (stage != FAKE_POLICY)
        return;
    char *at = strstr((char *)(uintptr_t)buf_str(b), "boot-pcr 7 ") + 11;
    memcpy(at, "ignore it", 9);
    memmove(at + 9, at + 64, strlen(at + 64) + 1);
    b->len -= 55;
}

static void break_a_quote(struct fake_world *w, enum fake_stage stage, enum fake_what what,
                          void *thing)
{
    if (stage == FAKE_SIGNATURE && what == FAKE_PERIODIC && ++w->hook_data == 2)
        ((struct buf *)thing)->data[30] ^= 1;
}

/* What one host logs is held against it alone; who asks for one host is told of that one. */
static void one_false_host_exits_3_and_each_host_for_itself(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, break_a_quote);
    usual_history(&w);
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(replay(&out, ""), 3);
    check_terminal(&out);
    assert_non_null(strstr(buf_str(&out), "Verdict: partly true: the log is, and 1 of its hosts"));
    assert_non_null(strstr(buf_str(&out), "Reason:  entry 4, rule SIGNATURE"));
    buf_clear(&out);
    assert_int_equal(replay(&out, "--json"), 3);
    assert_non_null(strstr(buf_str(&out), "\"outcome\":\"partly\""));
    assert_non_null(strstr(buf_str(&out), "\"log\":\"true\""));
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        BUF_AUTO option = BUF_INIT;
        buf_append_str(&option, "--quiet --host ");
        buf_append_hex(&option, bytes_of(w.hosts[i].ak_name.bytes + (i == 0 ? 0 : 2), 8));
        buf_clear(&out);
        assert_int_equal(replay(&out, buf_str(&option)), i == 0 ? 1 : 0);
        assert_non_null(strstr(buf_str(&out), i == 0 ? ": false\n" : ": true (TEST"));
    }
    buf_clear(&out);
    assert_int_equal(replay(&out, "--host 000b"), 2);
    assert_int_equal(replay(&out, "--host 0123456789abcdef"), 2);
    fake_world_cleanup(&w);
}

static void not_a_proof_needs_a_flag(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, ignore_pcr_7);
    usual_history(&w);
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(replay(&out, ""), 1);
    assert_non_null(strstr(buf_str(&out), "Verdict: not a proof"));
    assert_int_equal(replay(&out, "--quiet --allow-not-a-proof"), 0);
    fake_world_cleanup(&w);
}

static void what_cannot_be_checked_exits_2(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    char arguments[512];
    assert_int_equal(run(&out, ""), 2);
    assert_int_equal(run(&out, "frobnicate"), 2);
    assert_int_equal(run(&out, "replay"), 2);
    snprintf(arguments, sizeof arguments, "replay %s", log_path);
    assert_int_equal(run(&out, arguments), 2);
    snprintf(arguments, sizeof arguments, "replay %s --policy %s/none", log_path, dir);
    assert_int_equal(run(&out, arguments), 2);
    snprintf(arguments, sizeof arguments, "replay %s/none --policy %s", dir, policy_path);
    assert_int_equal(run(&out, arguments), 2);
    snprintf(arguments, sizeof arguments, "replay %s --policy %s --json", policy_path, policy_path);
    assert_int_equal(run(&out, arguments), 2);
    assert_int_equal(run(&out, "--version"), 0);
    assert_int_equal(run(&out, "--help"), 0);
    fake_world_cleanup(&w);
}

static void a_verdict_that_cannot_be_written_exits_2(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    usual_history(&w);
    for (int i = 0; i < 70; i++) /* more JSON than the output's buffer holds */
        fake_log_quote(&w, 0);
    write_files(&w);
    BUF_AUTO out = BUF_INIT;
    assert_int_equal(replay(&out, "--json"), 0);
    assert_true(out.len > BUFSIZ);
    assert_int_equal(replay(&out, ">/dev/full"), 2);
    assert_int_equal(replay(&out, "--quiet >/dev/full"), 2);
    assert_int_equal(replay(&out, "--json >/dev/full"), 2);
    fake_world_cleanup(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_log_exits_0),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(hostile_text_never_reaches_the_terminal),
        cmocka_unit_test(a_changed_file_is_not_believed),
        cmocka_unit_test(another_logs_policy_is_false),
        cmocka_unit_test(one_false_host_exits_3_and_each_host_for_itself),
        cmocka_unit_test(not_a_proof_needs_a_flag),
        cmocka_unit_test(what_cannot_be_checked_exits_2),
        cmocka_unit_test(a_verdict_that_cannot_be_written_exits_2),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
