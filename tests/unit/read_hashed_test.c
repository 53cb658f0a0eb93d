/* Files are read and hashed as they are, however many threads do it, and a file that is not as long
 * as was said is an error that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "engine/read_hashed.h"

enum { N_FILES = 5, LEN = (3 << 20) + 7 }; /* several chunks and a part of one */

struct scene {
    struct hashed_file files[N_FILES];
    struct buf contents[N_FILES];
};

static void make(struct scene *s)
{
    for (size_t i = 0; i < N_FILES; i++) {
        s->contents[i] = BUF_INIT;
        for (size_t k = 0; i > 0 && k < LEN / 1024 / i; k++) {
            uint8_t block[1024];
            memset(block, (int)(k * 31 + i), sizeof block);
            buf_append(&s->contents[i], block, sizeof block - (k == 0));
        }
        s->files[i] = (struct hashed_file){.fd = memfd_create("file", MFD_CLOEXEC),
                                           .size = s->contents[i].len,
                                           .data = malloc(s->contents[i].len + READ_HASHED_PAGE)};
        assert_true(s->files[i].fd >= 0);
        assert_false(is_err(fd_write_all(s->files[i].fd, buf_bytes(&s->contents[i]))));
        assert_int_equal(lseek(s->files[i].fd, 0, SEEK_SET), 0);
    }
}

static void drop(struct scene *s)
{
    for (size_t i = 0; i < N_FILES; i++) {
        close(s->files[i].fd);
        free(s->files[i].data);
        buf_cleanup(&s->contents[i]);
    }
}

static void reads_and_hashes_with_any_number_of_threads(void **state)
{
    (void)state;
    static const unsigned n_threads[] = {1, 2, 3, 5, 9};
    for (size_t t = 0; t < sizeof n_threads / sizeof *n_threads; t++) {
        struct scene s;
        size_t failed = 0;
        make(&s);
        assert_false(is_err(read_hashed(s.files, N_FILES, n_threads[t], &failed)));
        for (size_t i = 0; i < N_FILES; i++) {
            uint8_t expected[SHA256_LEN];
            sha256(expected, buf_bytes(&s.contents[i]));
            assert_memory_equal(s.files[i].sha256, expected, SHA256_LEN);
            assert_true(
                bytes_equal(bytes_of(s.files[i].data, s.files[i].size), buf_bytes(&s.contents[i])));
        }
        drop(&s);
    }
}

static void one_file_is_read_ahead_of_its_hash(void **state)
{
    (void)state;
    struct scene s;
    size_t failed = 0;
    uint8_t expected[SHA256_LEN];
    make(&s);
    assert_false(is_err(read_hashed(&s.files[1], 1, 2, &failed)));
    sha256(expected, buf_bytes(&s.contents[1]));
    assert_memory_equal(s.files[1].sha256, expected, SHA256_LEN);
    drop(&s);
}

static void a_file_that_is_not_cached_is_read_ahead_by_a_second_thread(void **state)
{
    (void)state;
    char path[] = "read-hashed-test-XXXXXX";
    struct scene s;
    size_t failed = 0;
    uint8_t expected[SHA256_LEN];
    make(&s);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_false(is_err(fd_write_all(fd, buf_bytes(&s.contents[1]))));
    assert_int_equal(fdatasync(fd), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(s.files[1].fd);
    s.files[1].fd = fd;
    assert_false(is_err(read_hashed(&s.files[1], 1, 1, &failed)));
    sha256(expected, buf_bytes(&s.contents[1]));
    assert_memory_equal(s.files[1].sha256, expected, SHA256_LEN);
    drop(&s);
}

static void refuses_a_file_that_shrank(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads < 8; n_threads += 3) {
        struct scene s;
        size_t failed = 0;
        make(&s);
        assert_int_equal(ftruncate(s.files[2].fd, (off_t)s.files[2].size - 1), 0);
        assert_int_equal(read_hashed(s.files, N_FILES, n_threads, &failed).code, ERR_IO);
        assert_int_equal(failed, 2);
        assert_non_null(strstr(err_message(), "shrank"));
        drop(&s);
    }
}

static void refuses_a_file_that_grew(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads < 8; n_threads += 3) {
        struct scene s;
        size_t failed = 0;
        make(&s);
        assert_int_equal(ftruncate(s.files[3].fd, (off_t)s.files[3].size + 1), 0);
        assert_int_equal(read_hashed(s.files, N_FILES, n_threads, &failed).code, ERR_IO);
        assert_int_equal(failed, 3);
        assert_non_null(strstr(err_message(), "grew"));
        drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_hashes_with_any_number_of_threads),
        cmocka_unit_test(one_file_is_read_ahead_of_its_hash),
        cmocka_unit_test(a_file_that_is_not_cached_is_read_ahead_by_a_second_thread),
        cmocka_unit_test(refuses_a_file_that_shrank),
        cmocka_unit_test(refuses_a_file_that_grew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
