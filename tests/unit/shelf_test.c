/* What the log service keeps of its answers: bounded, the last used longest, never under a client.
 */
#include "logservice/shelf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024 };

static struct buf filled(size_t len, uint8_t value)
{
    struct buf b = BUF_INIT;
    uint8_t chunk[4096];
    memset(chunk, value, sizeof chunk);
    for (; len > 0; len -= len < sizeof chunk ? len : sizeof chunk)
        buf_append(&b, chunk, len < sizeof chunk ? len : sizeof chunk);
    return b;
}

static void put(struct shelf *s, const char *key, size_t len, uint8_t value)
{
    struct buf b = filled(len, value);
    struct shelved *v = shelf_put(s, key, &b);
    assert_null(b.data); /* taken */
    assert_int_equal(v->bytes.len, len);
    shelved_let_go(v);
}

static bool holds(struct shelf *s, const char *key, uint8_t value)
{
    struct shelved *v = shelf_find(s, key);
    bool there = v != NULL;
    if (there)
        assert_int_equal(v->bytes.data[v->bytes.len - 1], value);
    shelved_let_go(v);
    return there;
}

static void gives_back_what_was_put(void **state)
{
    (void)state;
    struct shelf *s = NULL;
    assert_false(is_err(shelf_new(&s)));
    assert_false(holds(s, "tile/0/000", 1));
    put(s, "tile/0/000", 8192, 1);
    put(s, "tile/0/001", 100, 2);
    put(s, "tile/0/001", 100, 2); /* again: one of them is kept */
    assert_true(holds(s, "tile/0/000", 1));
    assert_true(holds(s, "tile/0/001", 2));
    assert_false(holds(s, "tile/0/00", 1));
    shelf_free(s);
}

static void forgets_what_was_not_asked_for_longest(void **state)
{
    (void)state;
    struct shelf *s = NULL;
    char key[32];
    assert_false(is_err(shelf_new(&s)));
    for (int i = 0; i < 16; i++) { /* exactly all room */
        snprintf(key, sizeof key, "k%d", i);
        put(s, key, SHELF_BYTES / 16, (uint8_t)i);
    }
    assert_true(holds(s, "k0", 0)); /* now k1 is the oldest */
    put(s, "one more", 1, 99);
    assert_false(holds(s, "k1", 1));
    assert_true(holds(s, "k0", 0));
    for (int i = 2; i < 16; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_true(holds(s, key, (uint8_t)i));
    }
    shelf_free(s);
}

static void what_a_client_reads_outlives_its_place(void **state)
{
    (void)state;
    struct shelf *s = NULL;
    char key[32];
    assert_false(is_err(shelf_new(&s)));
    put(s, "read", 5 * MIB, 7);
    struct shelved *v = shelf_find(s, "read");
    for (int i = 0; i < 16; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put(s, key, 5 * MIB, 1);
    }
    assert_false(holds(s, "read", 7));
    shelf_free(s);
    assert_int_equal(v->bytes.len, 5 * MIB);
    assert_int_equal(v->bytes.data[5 * MIB - 1], 7);
    shelved_let_go(v);
}

static void what_is_too_large_or_has_no_short_name_is_answered_and_not_kept(void **state)
{
    (void)state;
    struct shelf *s = NULL;
    char key[SHELF_KEY_MAX + 2];
    assert_false(is_err(shelf_new(&s)));
    put(s, "large", SHELF_BYTES / 8 + 1, 1);
    assert_false(holds(s, "large", 1));
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = 0;
    put(s, key, 10, 2);
    assert_false(holds(s, key, 2));
    key[SHELF_KEY_MAX] = 0;
    put(s, key, 10, 3);
    assert_true(holds(s, key, 3));
    shelf_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_put),
        cmocka_unit_test(forgets_what_was_not_asked_for_longest),
        cmocka_unit_test(what_a_client_reads_outlives_its_place),
        cmocka_unit_test(what_is_too_large_or_has_no_short_name_is_answered_and_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
