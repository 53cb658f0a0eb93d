/* A log in a folder of its own, for the tests of the store. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

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
#include <ftw.h>
#include <sqlite3.h>

#include "common/file.h"
#include "transparency/store.h"

static char folder[64], log_path[96];
static struct note_signer signer;

#define assert_ok(e)                                                                               \
    do {                                                                                           \
        struct err assert_ok_ = (e);                                                               \
        if (is_err(assert_ok_))                                                                    \
            fail_msg("%s: %s", err_code_name(assert_ok_.code), err_message());                     \
    } while (0)

/* The error has this code and its message tells `part`. */
#define assert_refused(e, wanted, part)                                                            \
    do {                                                                                           \
        struct err assert_refused_ = (e);                                                          \
        if (assert_refused_.code != (wanted) || strstr(err_message(), part) == NULL)               \
            fail_msg("%s: %s", err_code_name(assert_refused_.code), err_message());                \
    } while (0)

static inline int fixture_setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/store_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(log_path, sizeof log_path, "%s/the log?.db", folder); /* odd on purpose */
    uint8_t seed[ED25519_SEED_LEN] = {42};
    assert_ok(note_signer_init(&signer, "example.org/log", NOTE_ED25519, seed));
    assert_ok(store_create(log_path, &signer));
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *st, int type,
                                 struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static inline int fixture_teardown(void **state)
{
    (void)state;
    chmod(folder, 0700);
    return nftw(folder, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct store *fixture_open(void)
{
    struct store *s = NULL;
    assert_ok(store_open(&s, log_path, &signer));
    return s;
}

/* Entry `i` is "entry <i>" and a few dots, with blob "blob <i / 2>". */
static inline void fixture_entry(struct buf *out, uint64_t i)
{
    buf_printf(out, "entry %llu ", (unsigned long long)i);
    for (uint64_t n = i * 7 % 97; n > 0; n--)
        buf_append_str(out, ".");
}

static inline struct err fixture_append(struct store *s, uint64_t i)
{
    BUF_AUTO text = BUF_INIT;
    fixture_entry(&text, i);
    BUF_AUTO blob_text = BUF_INIT;
    buf_printf(&blob_text, "blob %llu", (unsigned long long)i / 2);
    struct bytes blob = buf_bytes(&blob_text);
    struct store_entry entry = {.bytes = buf_bytes(&text), .blobs = &blob, .n_blobs = 1};
    uint64_t index = UINT64_MAX;
    TRY(store_append(s, &index, &entry, 1));
    assert_int_equal(index, i);
    return err_ok();
}

static inline void fixture_fill(struct store *s, uint64_t start, uint64_t end)
{
    for (uint64_t i = start; i < end; i++)
        assert_ok(fixture_append(s, i));
}

/* Entry, blob and a verified inclusion proof for each of the first `n`. */
static inline struct err fixture_check(struct store *s, uint64_t n)
{
    struct checkpoint c;
    TRY(store_checkpoint(s, NULL, &c));
    for (uint64_t i = 0; i < n; i++) {
        BUF_AUTO wanted = BUF_INIT;
        BUF_AUTO got = BUF_INIT;
        fixture_entry(&wanted, i);
        TRY(store_entry_read(s, i, &got));
        assert_true(bytes_equal(buf_bytes(&wanted), buf_bytes(&got)));
        struct merkle_hash leaf = merkle_leaf(buf_bytes(&got));
        struct merkle_proof p;
        TRY(store_prove_inclusion(s, &p, i, c.size));
        TRY(merkle_verify_inclusion(&leaf, i, c.size, &p, &c.root));
        buf_clear(&wanted);
        buf_clear(&got);
        buf_printf(&wanted, "blob %llu", (unsigned long long)i / 2);
        uint8_t name[SHA256_LEN];
        sha256(name, buf_bytes(&wanted));
        TRY(store_blob_read(s, name, &got));
        assert_true(bytes_equal(buf_bytes(&wanted), buf_bytes(&got)));
    }
    return err_ok();
}

/* Runs SQL on a connection of our own, as a hostile hand would. */
static inline int fixture_sql(const char *path, const char *sql, bool triggers)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, triggers, NULL);
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close(db);
    return code;
}

static inline void fixture_copy(const char *to, const char *from)
{
    BUF_AUTO data = BUF_INIT;
    assert_ok(file_read(&data, from, 1 << 26));
    assert_ok(file_write_durable(to, buf_bytes(&data), 0644));
}

static inline const char *fixture_path(const char *name)
{
    static char path[192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

#endif
