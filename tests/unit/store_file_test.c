/* The log's file: made once, for one key; one writer, any number of readers beside it; copies. */
#include <sys/wait.h>

#include "store_fixture.h"

static void a_log_is_made_once_and_opened_by_its_own_key_only(void **state)
{
    (void)state;
    struct store *s = NULL;
    struct note_signer other;
    uint8_t seed[ED25519_SEED_LEN] = {43};
    assert_refused(store_create(log_path, &signer), ERR_USAGE, "is there already");
    assert_refused(store_open(&s, fixture_path("none.db"), &signer), ERR_NOT_FOUND, "none.db");
    assert_int_equal(access(fixture_path("none.db.lock"), F_OK), -1); /* and nothing was made */
    assert_ok(note_signer_init(&other, "example.org/log", NOTE_ED25519, seed));
    assert_refused(store_open(&s, log_path, &other), ERR_UNTRUE,
                   "give the key that it was made with");
    assert_ok(note_signer_init(&other, "example.org/log2", NOTE_ED25519, signer.seed));
    assert_refused(store_open(&s, log_path, &other), ERR_UNTRUE, "is of origin 'example.org/log'");
    assert_ok(note_signer_init(&other, "example.org/log", NOTE_COSIGNATURE, signer.seed));
    assert_refused(store_create(fixture_path("new.db"), &other), ERR_USAGE, "cannot sign");
    assert_null(s);
    store_close(fixture_open());
}

static void what_is_no_log_is_malformed(void **state)
{
    (void)state;
    struct store *s;
    const char *path = fixture_path("other.db");
    assert_ok(file_write_durable(path, bytes_of_str(""), 0644));
    assert_int_equal(store_open_readonly(&s, path).code, ERR_MALFORMED);
    assert_ok(file_write_durable(path, bytes_of_str("SQLite format 3 and no more"), 0644));
    assert_int_equal(store_open_readonly(&s, path).code, ERR_MALFORMED);
    unlink(path);
    assert_int_equal(fixture_sql(path, "CREATE TABLE t (a)", true), SQLITE_OK);
    assert_refused(store_open_readonly(&s, path), ERR_MALFORMED, "not a log");
    assert_int_equal(store_open_readonly(&s, folder).code, ERR_MALFORMED);
    assert_int_equal(store_open_readonly(&s, fixture_path("none")).code, ERR_NOT_FOUND);
}

static void a_log_of_an_earlier_format_is_refused_with_the_remedy(void **state)
{
    (void)state;
    struct store *s = NULL;
    assert_int_equal(fixture_sql(log_path, "PRAGMA user_version=2", false), SQLITE_OK);
    assert_refused(store_open(&s, log_path, &signer), ERR_UNSUPPORTED, "begin a new log");
    assert_refused(store_open_readonly(&s, log_path), ERR_UNSUPPORTED, "is a log of format 2");
    assert_null(s);
}

static void a_second_writer_is_refused_while_the_first_lives(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    struct store *second = NULL;
    assert_refused(store_open(&second, log_path, &signer), ERR_BUSY, "one writer");
    pid_t child = fork();
    if (child == 0)
        _exit(store_open(&second, log_path, &signer).code == ERR_BUSY ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(fixture_append(s, 0));
    store_close(s);
    store_close(fixture_open());
}

static void a_clean_close_leaves_one_file(void **state)
{
    (void)state;
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", log_path);
    struct store *s = fixture_open();
    fixture_fill(s, 0, 5);
    assert_int_equal(access(wal, F_OK), 0);
    store_close(s);
    assert_int_equal(access(wal, F_OK), -1);
    fixture_copy(fixture_path("copy.db"), log_path);
    assert_ok(store_open_readonly(&s, fixture_path("copy.db")));
    assert_ok(fixture_check(s, 5));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    struct store_entry entry = {.bytes = bytes_of("x", 1)};
    uint64_t index;
    assert_int_equal(store_append(s, &index, &entry, 1).code, ERR_USAGE);
    store_close(s);
    assert_int_equal(access(fixture_path("copy.db-wal"), F_OK),
                     -1); /* nothing made beside a copy */
    assert_int_equal(access(fixture_path("copy.db-shm"), F_OK), -1);
}

/* A reader in another process: for every byte on `in`, what it sees must be whole, and at least as
 * much as the byte says. */
static void read_beside(int in, int out)
{
    struct store *s = NULL;
    uint8_t n;
    bool good = true;
    while (read(in, &n, 1) == 1) {
        struct checkpoint c;
        good = good && (s != NULL || !is_err(store_open_readonly(&s, log_path))) &&
               !is_err(store_checkpoint(s, NULL, &c)) && c.size >= n &&
               !is_err(fixture_check(s, n)) && !is_err(store_fsck(s, &signer.key, NULL, NULL));
        if (write(out, &good, 1) != 1)
            break;
    }
    store_close(s);
    _exit(good ? 0 : 1);
}

static void a_reader_in_another_process_sees_each_append(void **state)
{
    (void)state;
    int to[2], from[2];
    assert_int_equal(pipe(to) | pipe(from), 0);
    pid_t child = fork(); /* before the log is open: a fork would share the writer's lock */
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        read_beside(to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    struct store *s = fixture_open();
    fixture_fill(s, 0, 3);
    for (uint8_t n = 3; n < 12; n++) {
        bool good = false;
        assert_int_equal(write(to[1], &n, 1), 1);
        assert_ok(fixture_append(s, n)); /* while it reads */
        assert_int_equal(read(from[0], &good, 1), 1);
        assert_true(good);
    }
    store_close(s); /* the reader still has the files open */
    s = fixture_open();
    assert_ok(fixture_append(s, 12));
    store_close(s);
    close(to[1]);
    close(from[0]);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* In a child without rights to write: 0 if the log at `path` is read and whole. */
static int read_without_rights(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        struct store *s = NULL;
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        if (access(folder, W_OK) == 0)
            _exit(3);
        if (is_err(store_open_readonly(&s, path)))
            _exit(4);
        int code = is_err(store_fsck(s, &signer.key, NULL, NULL)) || is_err(fixture_check(s, 5));
        store_close(s);
        _exit(code);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status);
}

static void a_copy_in_a_folder_that_cannot_be_written_is_read(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 5);
    assert_ok(store_snapshot(s, fixture_path("copy.db")));
    assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(read_without_rights(fixture_path("copy.db")), 0);
    assert_int_equal(read_without_rights(log_path), 0); /* the writer's files are there */
    assert_int_equal(chmod(folder, 0755), 0);
    store_close(s);
    assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(read_without_rights(log_path), geteuid() == 0 ? 4 : 0); /* not its lock */
}

static void a_wal_that_cannot_be_read_gives_the_remedy(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 5);
    BUF_AUTO wal = BUF_INIT;
    buf_printf(&wal, "%s-wal", log_path);
    pid_t child = fork(); /* the process that has the log open must not open it by other means */
    if (child == 0) {
        fixture_copy(fixture_path("copy.db"), log_path);
        fixture_copy(fixture_path("copy.db-wal"), buf_str(&wal));
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    store_close(s);
    assert_int_equal(chmod(folder, 0555), 0);
    /* Its newest entries are in the -wal: without a way to read that, there is no answer at all. */
    assert_int_equal(read_without_rights(fixture_path("copy.db")), 4);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_ok(store_open_readonly(&s, fixture_path("copy.db")));
    assert_ok(fixture_check(s, 5));
    store_close(s);
}

static void what_a_crash_left_of_a_making_is_removed(void **state)
{
    (void)state;
    BUF_AUTO leftover = BUF_INIT;
    buf_printf(&leftover, "%s.new", log_path);
    assert_int_equal(link(log_path, buf_str(&leftover)), 0); /* between its link and its unlink */
    store_close(fixture_open());
    assert_int_equal(access(buf_str(&leftover), F_OK), -1);
    char path[128];
    strcpy(path, fixture_path("other.db"));
    buf_clear(&leftover);
    buf_printf(&leftover, "%s.new", path);
    assert_ok(file_write_durable(buf_str(&leftover), bytes_of_str("half a log"), 0600));
    assert_ok(store_create(path, &signer));
    assert_int_equal(access(buf_str(&leftover), F_OK), -1);
}

static void a_snapshot_is_a_whole_log_that_can_go_on(void **state)
{
    (void)state;
    struct store *s = fixture_open();
    fixture_fill(s, 0, 5);
    assert_ok(store_snapshot(s, fixture_path("copy.db")));
    assert_refused(store_snapshot(s, fixture_path("copy.db")), ERR_USAGE, "is there already");
    fixture_fill(s, 5, 6);
    struct store *reader = NULL;
    assert_ok(store_open_readonly(&reader, log_path));
    assert_ok(store_snapshot(reader, fixture_path("copy2.db")));
    store_close(reader);
    store_close(s);
    assert_ok(store_open(&s, fixture_path("copy.db"), &signer));
    fixture_fill(s, 5, 9);
    assert_ok(fixture_check(s, 9));
    assert_ok(store_fsck(s, &signer.key, NULL, NULL));
    store_close(s);
    assert_ok(store_open_readonly(&s, fixture_path("copy2.db")));
    assert_ok(fixture_check(s, 6));
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_log_is_made_once_and_opened_by_its_own_key_only),
        TEST(what_is_no_log_is_malformed),
        TEST(a_log_of_an_earlier_format_is_refused_with_the_remedy),
        TEST(a_second_writer_is_refused_while_the_first_lives),
        TEST(a_clean_close_leaves_one_file),
        TEST(a_reader_in_another_process_sees_each_append),
        TEST(a_copy_in_a_folder_that_cannot_be_written_is_read),
        TEST(a_wal_that_cannot_be_read_gives_the_remedy),
        TEST(what_a_crash_left_of_a_making_is_removed),
        TEST(a_snapshot_is_a_whole_log_that_can_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
