/* Files arrive in parts, each file's in order, hashed as they are, with any number of threads; a
 * part lies still until it was settled; the first error names its file, or nobody's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "engine/file_parts.h"

enum { N_FILES = 4, PART_LEN = 4096, N_SLOTS = 4, PREFIX = 100 };

struct scene {
    struct parted_file files[N_FILES];
    struct buf contents[N_FILES], arrived[N_FILES];
    uint8_t memory[N_SLOTS * PART_LEN];
    struct buf flying[N_SLOTS]; /* what lies in a slot; empty: nothing */
    unsigned n_until_refusal;   /* parts that are taken before one is refused */
    size_t bad_file;            /* whose parts are no good */
};

static struct err check(void *context, const struct part *part)
{
    const struct scene *s = context;
    return part->file != s->bad_file ? err_ok() : err_set(ERR_MALFORMED, "a bad part");
}

static struct err take(void *context, const struct part *part, size_t slot)
{
    struct scene *s = context;
    assert_int_equal(s->flying[slot].len, 0);
    assert_int_equal(part->at, s->arrived[part->file].len);
    assert_true(part->data.data == s->memory + slot * PART_LEN);
    if (s->n_until_refusal > 0 && --s->n_until_refusal == 0)
        return err_set(ERR_IO, "the device failed");
    buf_append_bytes(&s->arrived[part->file], part->data);
    buf_append_bytes(&s->flying[slot], part->data);
    return err_ok();
}

static struct err settle(void *context, size_t slot)
{
    struct scene *s = context;
    assert_true(s->flying[slot].len > 0);
    assert_memory_equal(s->flying[slot].data, s->memory + slot * PART_LEN, s->flying[slot].len);
    buf_clear(&s->flying[slot]);
    return err_ok();
}

static void make(struct scene *s)
{
    *s = (struct scene){.bad_file = N_FILES};
    for (size_t i = 0; i < N_FILES; i++) {
        for (size_t k = 0; k < 20 * i * 1024 + PREFIX + 7 * i; k++)
            buf_append_u8(&s->contents[i], (uint8_t)(k * k / 977 + i));
        int fd = memfd_create("file", MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_false(is_err(fd_write_all(fd, buf_bytes(&s->contents[i]))));
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        parted_file_init(&s->files[i], fd, s->contents[i].len);
    }
}

/* The first bytes of each file, as a header is. */
static void read_prefixes(struct scene *s)
{
    uint8_t prefix[PREFIX];
    for (size_t i = 0; i < N_FILES; i++) {
        assert_false(is_err(parted_file_next(&s->files[i], prefix, PREFIX)));
        buf_append(&s->arrived[i], prefix, PREFIX);
    }
}

static struct err read_all(struct scene *s, unsigned n_threads, size_t *failed)
{
    const struct part_memory memory = {s->memory, PART_LEN, N_SLOTS};
    const struct part_taker taker = {s, check, take, settle};
    return file_parts_read(s->files, N_FILES, n_threads, &memory, &taker, failed);
}

static void drop(struct scene *s)
{
    for (size_t i = 0; i < N_FILES; i++) {
        parted_file_cleanup(&s->files[i]);
        buf_cleanup(&s->contents[i]);
        buf_cleanup(&s->arrived[i]);
    }
    for (size_t i = 0; i < N_SLOTS; i++)
        buf_cleanup(&s->flying[i]);
}

static void every_byte_arrives_in_order_and_is_hashed(void **state)
{
    (void)state;
    static struct scene s;
    for (unsigned n_threads = 1; n_threads < 7; n_threads++) {
        size_t failed = 0;
        make(&s);
        read_prefixes(&s);
        assert_false(is_err(read_all(&s, n_threads, &failed)));
        for (size_t i = 0; i < N_FILES; i++) {
            uint8_t expected[SHA256_LEN];
            sha256(expected, buf_bytes(&s.contents[i]));
            assert_memory_equal(s.files[i].sha256, expected, SHA256_LEN);
            assert_true(bytes_equal(buf_bytes(&s.arrived[i]), buf_bytes(&s.contents[i])));
        }
        for (size_t i = 0; i < N_SLOTS; i++)
            assert_int_equal(s.flying[i].len, 0);
        drop(&s);
    }
}

static void an_error_names_its_file_or_nobody_s(void **state)
{
    (void)state;
    static struct scene s;
    size_t failed = 0;
    make(&s);
    s.bad_file = 2;
    assert_int_equal(read_all(&s, 2, &failed).code, ERR_MALFORMED);
    assert_int_equal(failed, 2);
    assert_string_equal(err_message(), "a bad part");
    drop(&s);
    make(&s);
    s.n_until_refusal = 5;
    assert_int_equal(read_all(&s, 3, &failed).code, ERR_IO);
    assert_int_equal(failed, N_FILES);
    assert_string_equal(err_message(), "the device failed");
    drop(&s);
}

static void a_file_that_changed_its_size_is_refused(void **state)
{
    (void)state;
    static struct scene s;
    for (int by = -1; by <= 1; by += 2) {
        size_t failed = 0;
        make(&s);
        assert_int_equal(ftruncate(s.files[1].fd, (off_t)s.contents[1].len + by), 0);
        assert_int_equal(read_all(&s, 2, &failed).code, ERR_IO);
        assert_int_equal(failed, 1);
        assert_non_null(strstr(err_message(), by < 0 ? "shrank" : "grew"));
        drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_arrives_in_order_and_is_hashed),
        cmocka_unit_test(an_error_names_its_file_or_nobody_s),
        cmocka_unit_test(a_file_that_changed_its_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
