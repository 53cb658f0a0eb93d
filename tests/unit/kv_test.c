/* Pages: taken, shared, kept, found, given up in order and for age; zeroed before they are free. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/kv.h"
#include "engine/prefix.h"

static const struct model_config config = {
    .vocab_size = 10, .n_layers = 2, .n_heads = 2, .n_kv_heads = 2, .head_dim = 4};

static void setup(struct kv *kv, size_t n_pages)
{
    assert_false(is_err(kv_init(kv, &config, n_pages, NULL)));
}

static bool page_is_zero(const struct kv *kv, uint32_t page)
{
    size_t len = kv_cache_page_len(&kv->cache);
    for (size_t i = 0; i < len; i++)
        if (kv->cache.data[page * len + i] != 0.0f)
            return false;
    return true;
}

static void fill(struct kv *kv, uint32_t page, float value)
{
    size_t len = kv_cache_page_len(&kv->cache);
    for (size_t i = 0; i < len; i++)
        kv->cache.data[page * len + i] = value + (float)i;
}

static const uint8_t *key_of(uint8_t n)
{
    static uint8_t key[SHA256_LEN];
    memset(key, 0, sizeof key);
    key[31] = n; /* all in one bucket */
    return key;
}

/* A list of n full pages, known by the keys first to first + n - 1. */
static struct page_list make_known(struct kv *kv, size_t n, uint8_t first)
{
    struct page_list list = {0};
    assert_true(kv_reserve(kv, &list, n * KV_PAGE_TOKENS));
    for (size_t i = 0; i < n; i++) {
        fill(kv, list.pages[i], 1);
        kv_publish(kv, list.pages[i], key_of((uint8_t)(first + i)));
    }
    return list;
}

static bool is_known(struct kv *kv, uint8_t key)
{
    struct page_list list = {0};
    bool known = kv_share(kv, &list, key_of(key));
    kv_release(kv, &list);
    return known;
}

static void unknown_pages_are_zeroed_when_let_go(void **state)
{
    (void)state;
    struct kv kv;
    struct page_list list = {0};
    setup(&kv, 3);
    assert_true(kv_reserve(&kv, &list, 2 * KV_PAGE_TOKENS));
    fill(&kv, list.pages[1], 1);
    kv_release(&kv, &list);
    assert_int_equal(kv.n_free, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(page_is_zero(&kv, i));
    kv_cleanup(&kv);
}

static void takes_nothing_when_too_few_are_there(void **state)
{
    (void)state;
    struct kv kv;
    struct page_list a = {0}, b = {0};
    setup(&kv, 3);
    assert_true(kv_reserve(&kv, &a, KV_PAGE_TOKENS + 1));
    assert_false(kv_reserve(&kv, &b, KV_PAGE_TOKENS + 1));
    assert_int_equal(b.n, 0);
    assert_int_equal(kv.n_free, 1);
    kv_release(&kv, &a);
    kv_cleanup(&kv);
}

static void known_pages_stay_until_they_are_needed_the_last_one_goes_first(void **state)
{
    (void)state;
    struct kv kv;
    setup(&kv, 4);
    struct page_list a = make_known(&kv, 3, 0), b = {0};
    uint32_t third = a.pages[2];
    kv_release(&kv, &a);
    assert_int_equal(kv.n_idle, 3);
    assert_false(page_is_zero(&kv, third));
    assert_true(kv_reserve(&kv, &b, 2 * KV_PAGE_TOKENS));
    assert_int_equal(kv.n_evicted, 1);
    assert_int_equal(b.pages[0], third);
    assert_true(page_is_zero(&kv, third));
    assert_true(kv_share(&kv, &b, key_of(0)) && kv_share(&kv, &b, key_of(1)));
    assert_false(kv_share(&kv, &b, key_of(2)));
    assert_int_equal(kv.n_idle, 0);
    kv_release(&kv, &b);
    kv_cleanup(&kv);
}

static void the_page_used_longest_ago_goes_first(void **state)
{
    (void)state;
    struct kv kv;
    setup(&kv, 3);
    struct page_list a[3], b = {0};
    for (uint8_t i = 0; i < 3; i++)
        a[i] = make_known(&kv, 1, i);
    for (size_t i = 0; i < 3; i++)
        kv_release(&kv, &a[i]);
    assert_true(is_known(&kv, 0)); /* used again: now the newest */
    assert_true(kv_reserve(&kv, &b, 2 * KV_PAGE_TOKENS));
    assert_true(is_known(&kv, 0));
    assert_false(is_known(&kv, 1) || is_known(&kv, 2));
    kv_release(&kv, &b);
    kv_cleanup(&kv);
}

static void a_shared_page_lives_as_long_as_its_last_holder(void **state)
{
    (void)state;
    struct kv kv;
    setup(&kv, 2);
    struct page_list a = make_known(&kv, 1, 7), b = {0}, c = {0};
    uint32_t page = a.pages[0];
    assert_true(kv_share(&kv, &b, key_of(7)));
    assert_int_equal(b.pages[0], page);
    kv_release(&kv, &a);
    assert_int_equal(kv.n_idle, 0);
    kv_forget(&kv, key_of(7), 1); /* held: nothing happens */
    assert_false(kv_reserve(&kv, &c, 2 * KV_PAGE_TOKENS));
    assert_false(page_is_zero(&kv, page));
    kv_release(&kv, &b);
    assert_int_equal(kv.n_idle, 1);
    kv_forget(&kv, key_of(7), 1);
    assert_int_equal(kv.n_free, 2);
    assert_true(page_is_zero(&kv, page));
    assert_false(is_known(&kv, 7));
    kv_cleanup(&kv);
}

static void the_first_page_of_a_key_keeps_it(void **state)
{
    (void)state;
    struct kv kv;
    setup(&kv, 4);
    struct page_list a = make_known(&kv, 1, 7), b = make_known(&kv, 1, 7), c = {0};
    assert_true(kv_share(&kv, &c, key_of(7)));
    assert_int_equal(c.pages[0], a.pages[0]);
    kv_release(&kv, &b);
    assert_int_equal(kv.n_free, 3);
    kv_release(&kv, &a);
    kv_release(&kv, &c);
    assert_int_equal(kv.n_idle, 1);
    kv_cleanup(&kv);
}

static void idle_pages_are_zeroed_when_they_are_old(void **state)
{
    (void)state;
    struct kv kv;
    setup(&kv, 4);
    struct page_list a = make_known(&kv, 2, 0), b = make_known(&kv, 1, 5);
    uint32_t page = a.pages[0];
    assert_true(kv_next_expiry_ms(&kv, 1000) == UINT64_MAX);
    kv.now_ms = 500;
    kv_release(&kv, &a);
    kv.now_ms = 900;
    kv_release(&kv, &b);
    assert_int_equal(kv_next_expiry_ms(&kv, 1000), 1500);
    kv.now_ms = 1499;
    kv_expire(&kv, 1000, SIZE_MAX);
    assert_int_equal(kv.n_idle, 3);
    kv.now_ms = 1500;
    kv_expire(&kv, 1000, SIZE_MAX);
    assert_int_equal(kv.n_idle, 1);
    assert_int_equal(kv.n_expired, 2);
    assert_true(page_is_zero(&kv, page));
    assert_true(is_known(&kv, 5)); /* used: young again */
    kv.now_ms = 2499;
    kv_expire(&kv, 1000, SIZE_MAX);
    assert_int_equal(kv.n_idle, 1);
    kv.now_ms = 2500;
    kv_expire(&kv, 1000, SIZE_MAX);
    assert_int_equal(kv.n_free, 4);
    kv_cleanup(&kv);
}

static void old_pages_go_in_portions_the_oldest_first(void **state)
{
    (void)state;
    struct kv kv;
    setup(&kv, 5);
    for (uint8_t i = 0; i < 5; i++) {
        struct page_list a = make_known(&kv, 1, i);
        kv_release(&kv, &a);
    }
    kv.now_ms = 10;
    kv_expire(&kv, 10, 2);
    assert_int_equal(kv.n_free, 2);
    assert_int_equal(kv.n_expired, 2);
    assert_true(kv_next_expiry_ms(&kv, 10) <= kv.now_ms); /* whoever waits for it is not held up */
    assert_true(page_is_zero(&kv, kv.free_pages[0]) && page_is_zero(&kv, kv.free_pages[1]));
    assert_false(is_known(&kv, 0) || is_known(&kv, 1));
    kv.now_ms = 20;
    kv_expire(&kv, 10, SIZE_MAX);
    assert_int_equal(kv.n_free, 5);
    assert_int_equal(kv_next_expiry_ms(&kv, 10), UINT64_MAX);
    kv_cleanup(&kv);
}

/* Pages of two pieces, the second one not whole: their last bytes count, and nobody else's. */
static void all_threads_zero_large_pages(void **state)
{
    (void)state;
    static const struct model_config large = {
        .vocab_size = 10, .n_layers = 5, .n_heads = 5, .n_kv_heads = 5, .head_dim = 100};
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
        struct kv kv;
        struct pool *pool = NULL;
        struct page_list a = {0}, held = {0}, b = {0};
        assert_false(is_err(pool_new(&pool, n_threads)));
        assert_false(is_err(kv_init(&kv, &large, 12, pool)));
        for (size_t i = 1; i <= 6; i++) { /* every second page is held */
            assert_true(kv_reserve(&kv, &a, i * KV_PAGE_TOKENS));
            assert_true(kv_reserve(&kv, &held, i * KV_PAGE_TOKENS));
        }
        for (uint32_t i = 0; i < 12; i++)
            fill(&kv, i, 1);
        for (uint8_t i = 0; i < 3; i++) /* some are unknown, some known and then forgotten */
            kv_publish(&kv, a.pages[i], key_of(i));
        uint8_t keys[3][SHA256_LEN];
        for (uint8_t i = 0; i < 3; i++)
            memcpy(keys[i], key_of(i), SHA256_LEN);
        kv_release(&kv, &a);
        assert_int_equal(kv.n_free, 3);
        kv_forget(&kv, keys[0], 3);
        assert_int_equal(kv.n_free, 6);
        size_t len = kv_cache_page_len(&kv.cache);
        for (size_t i = 0; i < 6; i++) {
            const float *page = kv.cache.data + held.pages[i] * len;
            assert_true(page_is_zero(&kv, kv.free_pages[i]));
            assert_true(page[0] == 1 && page[len - 1] == (float)len && page[len / 2] != 0);
        }
        kv_release(&kv, &held);
        b = make_known(&kv, 12, 0);
        kv_release(&kv, &b);
        assert_true(kv_reserve(&kv, &b, 9 * KV_PAGE_TOKENS)); /* nine idle ones give way */
        for (size_t i = 0; i < 9; i++)
            assert_true(page_is_zero(&kv, b.pages[i]));
        kv_release(&kv, &b);
        kv_cleanup(&kv);
        pool_free(pool);
    }
}

static void copies_only_the_positions_asked_for(void **state)
{
    (void)state;
    struct kv kv;
    struct page_list list = {0};
    setup(&kv, 2);
    assert_true(kv_reserve(&kv, &list, 2 * KV_PAGE_TOKENS));
    fill(&kv, list.pages[0], 1);
    kv_copy(&kv, list.pages[1], list.pages[0], 5);
    for (size_t layer = 0; layer < config.n_layers; layer++) {
        const float *from = kv_cache_values(&kv.cache, list.pages[0], layer);
        const float *to = kv_cache_values(&kv.cache, list.pages[1], layer);
        for (size_t i = 0; i < (size_t)config.n_kv_heads * KV_PAGE_TOKENS * config.head_dim; i++)
            assert_true(to[i] == (i / config.head_dim % KV_PAGE_TOKENS < 5 ? from[i] : 0.0f));
    }
    kv_release(&kv, &list);
    kv_cleanup(&kv);
}

/* By Python: sha256(b"blindllama KV page 1\n" + bytes(range(32)) + b"".join(
 * (1000 * i).to_bytes(4, "little") for i in range(64))). */
static void keys_are_the_documented_hash(void **state)
{
    (void)state;
    static const uint8_t want[SHA256_LEN] = {0x3f, 0x97, 0xbc, 0x7f, 0xfd, 0x65, 0xcb, 0x51,
                                             0x38, 0xe3, 0x51, 0x41, 0x13, 0xa2, 0x0d, 0xc4,
                                             0xc5, 0x30, 0xc9, 0x7d, 0xad, 0x1f, 0x1c, 0x5d,
                                             0x28, 0x53, 0xc2, 0xdb, 0x7c, 0x94, 0x44, 0x40};
    uint8_t salt[SHA256_LEN], key[SHA256_LEN];
    uint32_t tokens[KV_PAGE_TOKENS];
    for (size_t i = 0; i < SHA256_LEN; i++)
        salt[i] = (uint8_t)i;
    for (size_t i = 0; i < KV_PAGE_TOKENS; i++)
        tokens[i] = (uint32_t)(1000 * i);
    prefix_key(key, salt, tokens);
    assert_memory_equal(key, want, SHA256_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_pages_are_zeroed_when_let_go),
        cmocka_unit_test(takes_nothing_when_too_few_are_there),
        cmocka_unit_test(known_pages_stay_until_they_are_needed_the_last_one_goes_first),
        cmocka_unit_test(the_page_used_longest_ago_goes_first),
        cmocka_unit_test(a_shared_page_lives_as_long_as_its_last_holder),
        cmocka_unit_test(the_first_page_of_a_key_keeps_it),
        cmocka_unit_test(idle_pages_are_zeroed_when_they_are_old),
        cmocka_unit_test(old_pages_go_in_portions_the_oldest_first),
        cmocka_unit_test(all_threads_zero_large_pages),
        cmocka_unit_test(copies_only_the_positions_asked_for),
        cmocka_unit_test(keys_are_the_documented_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
