/* A file is read as it is, whatever of it the page cache holds; what it does not hold passes by it
 * where the system can do that; a file of another length is found. */
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
#include "engine/file_reader.h"

enum { BLOCK = 4096, PART = FILE_READER_PIECE_MAX, LEN = 3 * PART + 5 * BLOCK + 77 };

static uint32_t content[LEN / 4 + 2 * BLOCK];

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof content / sizeof *content; i++)
        content[i] = (uint32_t)i * 2654435761u;
    return 0;
}

/* A file on the disk of the tests, gone when it is closed. */
static int make(size_t len)
{
    char path[] = "file-reader-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_false(is_err(fd_write_all(fd, bytes_of((const uint8_t *)content, len))));
    assert_int_equal(fdatasync(fd), 0); /* dirty pages stay where they are */
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void forget(int fd, size_t at, size_t len)
{
    posix_fadvise(fd, (off_t)at, (off_t)len, POSIX_FADV_DONTNEED);
}

static size_t n_cached(int fd, size_t len)
{
    size_t n_pages = (len + BLOCK - 1) / BLOCK, n = 0;
    unsigned char *there = calloc(n_pages, 1);
    void *map = mmap(NULL, len, PROT_NONE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mincore(map, len, there), 0);
    munmap(map, len);
    for (size_t i = 0; i < n_pages; i++)
        n += there[i] & 1;
    free(there);
    return n;
}

/* Memory that begins a page, and `skew` bytes behind that. */
static uint8_t *room(size_t len, size_t skew)
{
    uint8_t *data = aligned_alloc(BLOCK, (len / BLOCK + 2) * BLOCK);
    assert_non_null(data);
    data[skew + len] = 0xee;
    return data + skew;
}

static void read_whole(int fd, size_t len, bool ahead, size_t skew)
{
    uint8_t *data = room(len, skew);
    struct file_reader r = file_reader_of(fd, len, ahead);
    while (r.at < len) {
        size_t before = r.at;
        if (is_err(file_reader_next(&r, data)))
            fail_msg("%s", err_message());
        assert_true(r.at > before && r.at - before <= PART);
    }
    assert_false(is_err(file_reader_end(&r)));
    assert_true(memcmp(data, content, len) == 0);
    assert_int_equal(data[len], 0xee);
    free(data - skew);
}

static void reads_every_length_cached_or_not(void **state)
{
    (void)state;
    static const size_t lens[] = {0,    1,        BLOCK - 1, BLOCK,        BLOCK + 1, PART - 1,
                                  PART, PART + 1, LEN,       PART + BLOCK, 2 * PART};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (unsigned how = 0; how < 8; how++) {
            int fd = make(lens[i]);
            if ((how & 1) != 0)
                forget(fd, 0, 0);
            read_whole(fd, lens[i], (how & 2) != 0, (how & 4) != 0 ? 56 : 0);
            close(fd);
        }
}

static void reads_a_file_that_is_cached_in_parts(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 16; which++) {
        int fd = make(LEN);
        for (unsigned part = 0; part < 4; part++)
            if ((which >> part & 1) != 0)
                forget(fd, (size_t)part * PART, PART);
        read_whole(fd, LEN, true, 0);
        close(fd);
    }
}

static void what_is_not_cached_passes_by_the_cache(void **state)
{
    (void)state;
    int fd = make(LEN);
    forget(fd, 0, 0);
    if (n_cached(fd, LEN) > 0 || fcntl(fd, F_SETFL, O_DIRECT) != 0) {
        print_message("this disk's files cannot leave the page cache, or be read past it\n");
        close(fd);
        skip();
    }
    fcntl(fd, F_SETFL, 0);
    assert_true(file_reader_is_cold(fd, LEN));
    assert_int_equal(n_cached(fd, LEN), 0); /* to ask reads nothing */
    read_whole(fd, LEN, true, 0);
    assert_true(n_cached(fd, LEN) <= 8); /* the end, and what the system fetches with it */
    assert_true(file_reader_is_cold(fd, LEN));
    assert_int_equal(fcntl(fd, F_GETFL) & O_DIRECT, 0);
    close(fd);
}

static void what_is_cached_is_not_asked_of_the_disk(void **state)
{
    (void)state;
    int fd = make(LEN);
    assert_false(file_reader_is_cold(fd, LEN)); /* just written */
    assert_false(file_reader_is_cold(fd, 0));
    uint8_t *data = room(LEN, 0);
    struct file_reader r = file_reader_of(fd, LEN, true);
    while (r.at < LEN) {
        assert_false(is_err(file_reader_next(&r, data)));
        assert_false(r.direct);
    }
    free(data);
    close(fd);
}

/* As on a filesystem that knows no such reads: the disk refuses the address. */
static void falls_back_to_the_page_cache(void **state)
{
    (void)state;
    int fd = make(LEN);
    forget(fd, 0, 0);
    read_whole(fd, LEN, true, 1);
    assert_int_equal(fcntl(fd, F_GETFL) & O_DIRECT, 0);
    close(fd);
}

static struct err read_as(int fd, size_t len)
{
    uint8_t *data = room(len, 0);
    struct file_reader r = file_reader_of(fd, len, true);
    struct err e = err_ok();
    while (!is_err(e) && r.at < len)
        e = file_reader_next(&r, data);
    if (!is_err(e))
        e = file_reader_end(&r);
    free(data);
    return e;
}

static void finds_a_file_of_another_length(void **state)
{
    (void)state;
    static const size_t lens[] = {1, BLOCK, PART, PART + 1, 2 * PART + BLOCK, LEN};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (unsigned how = 0; how < 4; how++) {
            int fd = make(lens[i]);
            size_t told = (how & 2) != 0 ? lens[i] - 1 : lens[i] + 1;
            if ((how & 1) != 0)
                forget(fd, 0, 0);
            assert_int_equal(read_as(fd, told).code, ERR_IO);
            assert_non_null(strstr(err_message(), (how & 2) != 0 ? "grew" : "shrank"));
            close(fd);
        }
}

static void finds_a_file_cut_far_from_its_end(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < LEN; cut += PART / 2 + 1234) {
        int fd = make(LEN);
        forget(fd, 0, 0);
        assert_int_equal(ftruncate(fd, (off_t)cut), 0);
        assert_int_equal(read_as(fd, LEN).code, ERR_IO);
        assert_non_null(strstr(err_message(), "shrank"));
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_length_cached_or_not),
        cmocka_unit_test(reads_a_file_that_is_cached_in_parts),
        cmocka_unit_test(what_is_not_cached_passes_by_the_cache),
        cmocka_unit_test(what_is_cached_is_not_asked_of_the_disk),
        cmocka_unit_test(falls_back_to_the_page_cache),
        cmocka_unit_test(finds_a_file_of_another_length),
        cmocka_unit_test(finds_a_file_cut_far_from_its_end),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
