/* A key's file is made once, private and durable, and never given away or replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "transparency/note.h"

static char folder[32];
static char key_path[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/note_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(key_path);
    return rmdir(folder); /* fails if anything was left beside the key */
}

static void a_key_file_is_made_once_private_and_kept(void **state)
{
    (void)state;
    struct note_signer first, second;
    struct stat st;
    assert_int_equal(note_signer_load(&first, key_path, "n", false).code, ERR_NOT_FOUND);
    assert_false(is_err(note_signer_load(&first, key_path, "n", true)));
    assert_int_equal(stat(key_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_false(is_err(note_signer_load(&second, key_path, "n", true)));
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(note_signer_load(&second, key_path, "other", true).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), "'n'"));
}

static void a_key_file_that_others_can_reach_is_refused_with_the_remedy(void **state)
{
    (void)state;
    static const mode_t loose[] = {0640, 0604, 0620, 0601, 0666};
    struct note_signer s;
    assert_false(is_err(note_signer_load(&s, key_path, "n", true)));
    for (size_t i = 0; i < sizeof loose / sizeof loose[0]; i++) {
        assert_int_equal(chmod(key_path, loose[i]), 0);
        assert_int_equal(note_signer_load(&s, key_path, "n", true).code, ERR_USAGE);
        assert_non_null(strstr(err_message(), "chmod 600"));
    }
    assert_int_equal(chmod(key_path, 0400), 0);
    assert_false(is_err(note_signer_load(&s, key_path, "n", true)));
}

static void a_damaged_key_file_is_refused_and_never_replaced(void **state)
{
    (void)state;
    struct note_signer s;
    const char *bad[] = {"", "\n", "PRIVATE+KEY+n+00000000+AAAA", "n+00000000+AAAA\n"};
    for (size_t i = 0; i < 4; i++) {
        assert_false(is_err(file_write_durable(key_path, bytes_of_str(bad[i]), 0600)));
        assert_true(is_err(note_signer_load(&s, key_path, "n", true)));
        BUF_AUTO now = BUF_INIT;
        assert_false(is_err(file_read(&now, key_path, 1000)));
        assert_true(bytes_equal(buf_bytes(&now), bytes_of_str(bad[i])));
    }
    assert_int_equal(note_signer_load(&s, folder, "n", true).code, ERR_USAGE); /* not a file */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

static void a_witness_has_a_key_of_its_own_kind(void **state)
{
    (void)state;
    struct note_signer witness, log;
    unlink(key_path);
    assert_false(is_err(note_cosigner_load(&witness, key_path, "n", true)));
    assert_int_equal(witness.key.type, NOTE_COSIGNATURE);
    assert_false(is_err(note_cosigner_load(&witness, key_path, "n", false)));
    unlink(key_path);
    assert_false(is_err(note_signer_load(&log, key_path, "n", true)));
    assert_int_equal(note_cosigner_load(&witness, key_path, "n", true).code, ERR_USAGE);
    unlink(key_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_file_is_made_once_private_and_kept),
        TEST(a_key_file_that_others_can_reach_is_refused_with_the_remedy),
        TEST(a_damaged_key_file_is_refused_and_never_replaced),
        TEST(a_witness_has_a_key_of_its_own_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
