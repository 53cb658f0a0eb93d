/* Files of a model folder are what they are wherever they come from and wherever they lie; the data
 * of a safetensors file lies at a cache line, however long its header is. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "engine/model_files.h"
#include "engine/safetensors.h"

enum { N_FILES = 3, LINE = 64, PAGE = 4096, BODY = (9 << 20) + 5 };

struct scene {
    char dir[64];
    char names[N_FILES][32];
    struct buf contents[N_FILES];
};

/* A header of that length as far as its length goes; the rest are bytes of no meaning. */
static void write_file(struct scene *s, size_t i, const char *name, uint64_t header_len,
                       size_t body_len)
{
    BUF_AUTO path = BUF_INIT;
    struct buf *b = &s->contents[i];
    snprintf(s->names[i], sizeof s->names[i], "%s", name);
    for (int k = 0; k < 8; k++)
        buf_append_u8(b, (uint8_t)(header_len >> (8 * k)));
    for (uint32_t k = 0; k < body_len / 4; k++) {
        uint32_t word = k * 2654435761u + (uint32_t)i;
        buf_append(b, &word, sizeof word);
    }
    buf_append(b, "12345", body_len % 4);
    int fd = open(path_join(&path, s->dir, name), O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_false(is_err(fd_write_all(fd, buf_bytes(b))));
    assert_int_equal(fdatasync(fd), 0);
    close(fd);
}

static void forget(const struct scene *s)
{
    for (size_t i = 0; i < N_FILES; i++) {
        BUF_AUTO path = BUF_INIT;
        int fd = open(path_join(&path, s->dir, s->names[i]), O_RDONLY);
        assert_true(fd >= 0);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

/* On a disk, which /tmp may not be; and not in the checkout, where a killed test would leave it. */
static void make(struct scene *s)
{
    *s = (struct scene){.dir = "/var/tmp/model-files-test-XXXXXX"};
    assert_non_null(mkdtemp(s->dir));
}

static void drop(struct scene *s)
{
    for (size_t i = 0; i < N_FILES; i++) {
        BUF_AUTO path = BUF_INIT;
        if (s->names[i][0] != 0)
            unlink(path_join(&path, s->dir, s->names[i]));
        buf_cleanup(&s->contents[i]);
    }
    rmdir(s->dir);
}

static void read_and_compare(const struct scene *s, unsigned n_threads, const size_t *first_byte)
{
    struct model_files files;
    const char *names[N_FILES];
    for (size_t i = 0; i < N_FILES; i++)
        names[i] = s->names[i];
    assert_false(is_err(model_files_init(&files, s->dir)));
    if (is_err(model_files_read_all(&files, names, N_FILES, UINT64_MAX, n_threads)))
        fail_msg("%s", err_message());
    for (size_t i = 0; i < N_FILES; i++) {
        uint8_t expected[SHA256_LEN];
        const struct model_file *f = &files.items[i];
        sha256(expected, buf_bytes(&s->contents[i]));
        assert_memory_equal(f->info.sha256, expected, SHA256_LEN);
        assert_true(bytes_equal(f->data, buf_bytes(&s->contents[i])));
        assert_int_equal(((uintptr_t)f->data.data + first_byte[i]) % LINE, 0);
    }
    model_files_cleanup(&files);
}

/* Headers of every length modulo a cache line that there is; cached and not. */
static void the_data_of_a_safetensors_file_begins_a_cache_line(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < LINE; extra += 8) {
        struct scene s;
        make(&s);
        write_file(&s, 0, "a.safetensors", 1000 + extra, 4 * (1000 + extra));
        write_file(&s, 1, "b.safetensors", 56, BODY);
        write_file(&s, 2, "c.safetensors", extra, BODY);
        const size_t first_byte[] = {1008 + extra, 64, 8 + extra};
        for (unsigned n_threads = 1; n_threads < 5; n_threads += 3)
            for (unsigned cold = 0; cold < 2; cold++) {
                if (cold != 0)
                    forget(&s);
                read_and_compare(&s, n_threads, first_byte);
            }
        drop(&s);
    }
}

/* Their length is judged where they are parsed. */
static void other_files_and_broken_ones_begin_a_page(void **state)
{
    (void)state;
    struct scene s;
    make(&s);
    write_file(&s, 0, "tokenizer.json", 1000, 5000);
    write_file(&s, 1, "b.safetensors", (uint64_t)SAFETENSORS_HEADER_MAX + 1, BODY);
    write_file(&s, 2, "c.safetensors", UINT64_MAX, 0);
    const size_t first_byte[] = {0, 0, 0};
    read_and_compare(&s, 1, first_byte);
    read_and_compare(&s, 4, first_byte);
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_data_of_a_safetensors_file_begins_a_cache_line),
        cmocka_unit_test(other_files_and_broken_ones_begin_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
