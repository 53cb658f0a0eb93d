/* Rows of a prompt that are computed together get the bits that each gets alone: whatever the
 * number of heads in a group and their length, the window, the place of the first row on its page,
 * their company, and the room there is for their scores. */
#include "tests/unit/kernels_fixture.h"

enum { N_KEYS = 200, N_PAGES = 8, N_ROWS = 24 };

struct shape {
    size_t group, n_kv_heads, head_dim;
};

struct scene {
    struct kv_cache cache;
    struct attention_args args;
    struct kv_row rows[N_ROWS];
    float *q, *out;
    size_t row_len;
};

/* Two sequences, each in pages of its own; what nobody wrote is poison. */
static const uint32_t tables[2][4] = {{5, 0, 7, 2}, {1, 6, 3, 4}};

static void write_cache(struct scene *s, const struct shape *shape)
{
    size_t len = shape->n_kv_heads * shape->head_dim;
    struct pool *pool = pool_of(1);
    for (uint64_t t = 0; t < 2; t++) {
        float *k = random_floats(N_KEYS * len, 20 + t), *v = random_floats(N_KEYS * len, 30 + t);
        struct kv_row rows[N_KEYS];
        for (uint32_t i = 0; i < N_KEYS; i++)
            rows[i] = (struct kv_row){i, tables[t]};
        struct rope_args store = {
            .k = k, .v = v, .cache = &s->cache, .layer = 1, .rows = rows, .n_rows = N_KEYS};
        tested->rope_write(pool, &store);
        free(k);
        free(v);
    }
    pool_free(pool);
}

/* A prompt's rows from `first` on, with a row of another sequence and a gap among them. */
static void place_rows(struct scene *s, uint32_t first)
{
    for (uint32_t i = 0; i < N_ROWS; i++)
        s->rows[i] = (struct kv_row){first + i + (i >= 13 ? 3 : 0), tables[0]};
    s->rows[10] = (struct kv_row){77, tables[1]};
}

static void make(struct scene *s, const struct shape *shape)
{
    s->cache = (struct kv_cache){NULL, N_PAGES, 2, shape->n_kv_heads, shape->head_dim};
    size_t len = N_PAGES * kv_cache_page_len(&s->cache);
    s->cache.data = calloc(len, sizeof(float));
    s->row_len = shape->group * shape->n_kv_heads * shape->head_dim;
    s->q = random_floats(N_ROWS * s->row_len, 40);
    s->out = calloc(N_ROWS * s->row_len, sizeof(float));
    assert_true(s->cache.data != NULL && s->out != NULL);
    poison(s->cache.data, len);
    write_cache(s, shape);
    s->args = (struct attention_args){.cache = &s->cache,
                                      .layer = 1,
                                      .n_heads = shape->group * shape->n_kv_heads,
                                      .scale = 0.125f};
}

static void drop(struct scene *s)
{
    free(s->cache.data);
    free(s->q);
    free(s->out);
}

/* Rows first to first + n - 1, with room for the scores of `n_room` rows. */
static void attend(struct scene *s, size_t first, size_t n, size_t n_room, unsigned n_threads)
{
    struct attention_args args = s->args;
    struct pool *pool = pool_of(n_threads);
    args.scratch_len = args.n_heads / s->cache.n_kv_heads * (N_KEYS + 40) * n_room;
    args.scratch = calloc(n_threads * args.scratch_len, sizeof(float));
    assert_non_null(args.scratch);
    args.rows = s->rows + first;
    args.n_rows = n;
    args.q = s->q + first * s->row_len;
    args.out = s->out + first * s->row_len;
    poison(args.out, n * s->row_len);
    tested->attention(pool, &args);
    free(args.scratch);
    pool_free(pool);
}

static void compare(struct scene *s)
{
    static const size_t rooms[] = {1, 2, 3, 8};
    float *alone = calloc(N_ROWS * s->row_len, sizeof *alone);
    assert_non_null(alone);
    for (size_t i = 0; i < N_ROWS; i++)
        attend(s, i, 1, 1, 1);
    memcpy(alone, s->out, N_ROWS * s->row_len * sizeof *alone);
    for (size_t i = 0; i < 4; i++)
        for (unsigned n_threads = 1; n_threads < 4; n_threads += 2) {
            attend(s, 0, N_ROWS, rooms[i], n_threads);
            assert_same_bits(s->out, alone, N_ROWS * s->row_len);
        }
    free(alone);
}

static void rows_together_get_the_bits_of_each_alone(void **state)
{
    (void)state;
    /* Enough key heads that blocks of rows are made of them. */
    static const struct shape shapes[] = {{1, 16, 64}, {2, 8, 20}, {3, 8, 64},
                                          {4, 8, 80},  {5, 6, 16}, {7, 6, 7}};
    static const uint32_t firsts[] = {0, 50, 120, 170};
    static const size_t windows[] = {0, 1, 5, 70, 1000};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct scene s;
        make(&s, &shapes[i]);
        for (size_t f = 0; f < 4; f++)
            for (size_t w = 0; w < 5; w++) {
                place_rows(&s, firsts[f]);
                s.args.window = windows[w];
                compare(&s);
            }
        drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest each[] = {
        cmocka_unit_test(rows_together_get_the_bits_of_each_alone),
    };
    return RUN_ON_EVERY_BACKEND(each);
}
