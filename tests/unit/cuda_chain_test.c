/* All kernels of two decode steps of a tiny model, one behind the other: launches that overlap give
 * the same bits as launches that don't, in every order that is drawn. Watched for races
 * (races_cuda_chain_test), every read and write of a step is ordered by its kernels' waits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/kernel_set.h"
#include "tests/unit/gpu_room.h"

enum {
    HIDDEN = 64,
    HEADS = 2,
    KV_HEADS = 1,
    DIM = 64,
    QKV = (HEADS + 2 * KV_HEADS) * DIM,
    INNER = 64,
    VOCABULARY = 80,
    SLOTS = 2,
    ROWS = 3, /* the last is a filler */
    TABLE = 9,
    PAGES = SLOTS * TABLE + 1,
    PAGE = 64,
    LAYERS = 2,
    STEPS = 2,
    PARTIALS = 8,
    BLOCKS = 2
};

static struct gpu_address put_bf16(struct gpu_room *r, size_t n)
{
    uint16_t *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (uint16_t)(0x3e00 + draw(0x100) + (draw(2) << 15)); /* 0.125 to 0.5 */
    struct gpu_address at = gpu_room_put(r, x, n * sizeof *x);
    free(x);
    return at;
}

static struct gpu_address put_floats(struct gpu_room *r, size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)draw(2001) / 1000 - 1;
    struct gpu_address at = gpu_room_put(r, x, n * sizeof *x);
    free(x);
    return at;
}

static struct gpu_address put_room(struct gpu_room *r, size_t len)
{
    return gpu_room_put(r, NULL, len);
}

/* Everything on the device. */
struct scene {
    struct gpu_room room;
    bool overlaps;
    uint32_t from; /* the first slot's position; the second's is 10 more */
    struct gpu_address tokens, positions, page_tables, plan, newest, newest_at, slot_tables;
    struct gpu_address x, h, qkv, attended, inner, logits, cache, sampled;
    struct gpu_address w_qkv[LAYERS], w_o[LAYERS], w_gate_up[LAYERS], w_down[LAYERS], w_output;
    struct gpu_address table, norm, cos_sin, n_items, no_items;
    struct cuda_attention_args attention;
    struct cuda_attention_fold_args fold;
    struct cuda_sample_args sample;
};

static void put_state(struct scene *s)
{
    struct gpu_room *r = &s->room;
    const struct cuda_plan_row plan[ROWS] = {
        {0, CUDA_NEWEST, 0}, {1, CUDA_NEWEST, 0}, {CUDA_NO_SLOT, 0, 0}};
    const uint32_t newest[SLOTS] = {7, 70}, newest_at[SLOTS] = {s->from, s->from + 10};
    uint32_t tables[SLOTS * TABLE];
    for (uint32_t i = 0; i < SLOTS * TABLE; i++)
        tables[i] = (i * 7 + 3) % (SLOTS * TABLE);
    s->plan = gpu_room_put(r, plan, sizeof plan);
    s->newest = gpu_room_put(r, newest, sizeof newest);
    s->newest_at = gpu_room_put(r, newest_at, sizeof newest_at);
    s->slot_tables = gpu_room_put(r, tables, sizeof tables);
    s->tokens = put_room(r, ROWS * 4);
    s->positions = put_room(r, ROWS * 4);
    s->page_tables = put_room(r, ROWS * TABLE * 4);
}

static void put_model(struct scene *s)
{
    struct gpu_room *r = &s->room;
    for (size_t i = 0; i < LAYERS; i++) {
        s->w_qkv[i] = put_bf16(r, QKV * HIDDEN);
        s->w_o[i] = put_bf16(r, HIDDEN * HEADS * DIM);
        s->w_gate_up[i] = put_bf16(r, 2 * INNER * HIDDEN);
        s->w_down[i] = put_bf16(r, HIDDEN * INNER);
    }
    s->w_output = put_bf16(r, VOCABULARY * HIDDEN);
    s->table = put_bf16(r, VOCABULARY * HIDDEN);
    s->norm = put_floats(r, HIDDEN);
    s->cos_sin = put_floats(r, TABLE * PAGE * DIM);
}

static void put_activations(struct scene *s)
{
    struct gpu_room *r = &s->room;
    s->x = put_room(r, ROWS * HIDDEN * 4);
    s->h = put_room(r, ROWS * HIDDEN * 2);
    s->qkv = put_room(r, ROWS * QKV * 2);
    s->attended = put_room(r, ROWS * HEADS * DIM * 2);
    s->inner = put_room(r, ROWS * INNER * 2);
    s->logits = put_room(r, ROWS * VOCABULARY * 4);
}

/* From position 512 on each row's splits are items of their own, and folded. */
static void put_attention(struct scene *s)
{
    struct gpu_room *r = &s->room;
    const struct attention_shape shape = {
        .n_heads = HEADS, .n_kv_heads = KV_HEADS, .head_dim = DIM, .n_multiprocessors = BLOCKS};
    const struct attention_run runs[ROWS] = {{0, 1, s->from}, {1, 1, s->from + 10}, {2, 1, 0}};
    struct cuda_attention_item narrow[ROWS + PARTIALS], wide[ROWS];
    struct cuda_attention_fold folds[ROWS] = {0};
    struct attention_plan plan = {
        .wide = wide, .narrow = narrow, .folds = folds, .n_partials_max = PARTIALS};
    attention_plan_make(&plan, &shape, runs, ROWS);
    s->n_items = gpu_room_put(r, &plan.n_narrow, 4);
    s->no_items = gpu_room_put(r, &plan.n_wide, 4);
    assert_int_equal(plan.n_wide, 0);
    s->cache = put_bf16(r, (size_t)PAGES * LAYERS * 2 * KV_HEADS * PAGE * DIM);
    const struct gpu_tensor t =
        attention_cache_tensor(s->cache, (uint64_t)PAGES * LAYERS * 2 * KV_HEADS * PAGE, DIM);
    s->attention = (struct cuda_attention_args){
        .out = of(s->attended),
        .qkv = of(s->qkv),
        .positions = of(s->positions),
        .page_tables = of(s->page_tables),
        .items = of(gpu_room_put(r, narrow, plan.n_narrow * sizeof *narrow)),
        .partial_sums = of(put_room(r, PARTIALS * HEADS * DIM * 4)),
        .partial_weights = of(put_room(r, PARTIALS * HEADS * 2 * 4)),
        .page_table_len = TABLE,
        .n_heads = HEADS,
        .n_kv_heads = KV_HEADS,
        .n_layers = LAYERS,
        .scale = 1.0f / sqrtf(DIM)};
    gpu_must(r->driver->tensor_map(r->gpu, &s->attention.cache, &t));
    s->fold = (struct cuda_attention_fold_args){.out = of(s->attended),
                                                .partial_sums = s->attention.partial_sums,
                                                .partial_weights = s->attention.partial_weights,
                                                .folds = of(gpu_room_put(r, folds, sizeof folds)),
                                                .n_folds = of(gpu_room_put(r, &plan.n_folds, 4)),
                                                .n_heads = HEADS,
                                                .head_dim = DIM,
                                                .scale = s->attention.scale};
}

/* One slot is greedy, the other one not. */
static void put_sampling(struct scene *s)
{
    struct gpu_room *r = &s->room;
    const struct cuda_sample_params params[SLOTS] = {
        {.top_p = 1, .repetition_penalty = 1},
        {.seed = 5, .temperature = 1, .top_p = 0.8f, .repetition_penalty = 1, .logprobs = 1}};
    s->sampled = put_room(r, ROWS * sizeof(struct cuda_sampled));
    s->sample = (struct cuda_sample_args){
        .out = of(s->sampled),
        .top = of(put_room(r, ROWS * CUDA_SAMPLE_TOP * sizeof(struct cuda_token_float))),
        .newest = of(s->newest),
        .newest_at = of(s->newest_at),
        .logits = of(s->logits),
        .z = of(put_room(r, ROWS * VOCABULARY * 4)),
        .scratch = of(put_room(r, CUDA_SAMPLE_SCRATCH_LEN(ROWS, VOCABULARY))),
        .params = of(gpu_room_put(r, params, sizeof params)),
        .plan = of(s->plan),
        .positions = of(s->positions),
        .n_vocab = VOCABULARY,
        .row_len = VOCABULARY};
}

/* --- launches --- */

static void launch(struct scene *s, const char *name, struct gpu_launch how, const void *args,
                   size_t args_len)
{
    how.overlaps_previous = s->overlaps;
    gpu_must(gpu_room_enqueue(&s->room, name, &how, args, args_len));
}

static struct gpu_launch rows_of(size_t across, size_t down)
{
    return kernel_set_rows(&kernel_set_sm90, across, down);
}

static void multiply(struct scene *s, const char *what, struct gpu_address w, struct gpu_address x,
                     struct gpu_address out, uint32_t n_out, uint32_t n_cols)
{
    const unsigned tile = 0; /* the least of the set's */
    char name[KERNEL_NAME_MAX];
    struct cuda_matmul_args args = {
        .y = of(out), .sum_into = of(out), .n_rows = ROWS, .n_out = n_out, .n_cols = n_cols};
    gpu_room_map(&s->room, &args.w, w, n_out, n_cols, kernel_set_sm90.tiles[tile].n_outs);
    gpu_room_map(&s->room, &args.x, x, ROWS, n_cols, kernel_set_sm90.tiles[tile].n_rows);
    kernel_set_matmul_name(name, &kernel_set_sm90, what, tile);
    launch(s, name, kernel_set_matmul(&kernel_set_sm90, BLOCKS, tile, n_out, ROWS), &args,
           sizeof args);
}

static void norm(struct scene *s)
{
    const struct cuda_rmsnorm_args args = {
        .out = of(s->h), .x = of(s->x), .weight = of(s->norm), .n_cols = HIDDEN, .eps = 1e-5f};
    launch(s, "rmsnorm_rows", rows_of(ROWS, 1), &args, sizeof args);
}

static void rope(struct scene *s, uint32_t layer)
{
    const struct cuda_rope_write_args args = {.qkv = of(s->qkv),
                                              .cache = of(s->cache),
                                              .cos_sin = of(s->cos_sin),
                                              .positions = of(s->positions),
                                              .page_tables = of(s->page_tables),
                                              .page_table_len = TABLE,
                                              .n_heads = HEADS,
                                              .n_kv_heads = KV_HEADS,
                                              .head_dim = DIM,
                                              .n_turned = DIM,
                                              .layer = layer,
                                              .n_layers = LAYERS};
    launch(s, "rope_write", rows_of(ROPE_BLOCKS(HEADS, KV_HEADS), ROWS), &args, sizeof args);
}

static void attend_list(struct scene *s, uint32_t layer, unsigned tile, const uint32_t *n_items)
{
    char name[KERNEL_NAME_MAX];
    s->attention.layer = layer;
    s->attention.n_items = n_items;
    kernel_set_attention_name(name, &kernel_set_sm90, DIM, tile);
    launch(s, name, kernel_set_attention(&kernel_set_sm90, BLOCKS, DIM, tile), &s->attention,
           sizeof s->attention);
}

/* The wide list is empty. */
static void attend(struct scene *s, uint32_t layer)
{
    attend_list(s, layer, ATTENTION_WIDE, of(s->no_items));
    attend_list(s, layer, ATTENTION_NARROW, of(s->n_items));
    launch(s, "attention_fold", kernel_set_fold(&kernel_set_sm90, BLOCKS), &s->fold,
           sizeof s->fold);
}

static void begin(struct scene *s)
{
    const struct cuda_prepare_args prepare = {.tokens = of(s->tokens),
                                              .positions = of(s->positions),
                                              .page_tables = of(s->page_tables),
                                              .plan = of(s->plan),
                                              .newest = of(s->newest),
                                              .newest_at = of(s->newest_at),
                                              .slot_tables = of(s->slot_tables),
                                              .page_table_len = TABLE,
                                              .spare_page = PAGES - 1};
    const struct cuda_embed_args embed = {
        .x = of(s->x), .table = of(s->table), .tokens = of(s->tokens), .n_cols = HIDDEN};
    launch(s, "prepare_rows", rows_of(ROWS, 1), &prepare, sizeof prepare);
    launch(s, "embed_rows", rows_of(ROWS, 1), &embed, sizeof embed);
}

static void sample(struct scene *s)
{
    const struct gpu_launch scan = kernel_set_scan(&kernel_set_sm90, BLOCKS, VOCABULARY, ROWS);
    const struct gpu_launch choose = kernel_set_choose(&kernel_set_sm90, ROWS);
    launch(s, "sample_scan", scan, &s->sample, sizeof s->sample);
    launch(s, "sample_weigh", scan, &s->sample, sizeof s->sample);
    launch(s, "sample_choose", choose, &s->sample, sizeof s->sample);
}

static void step(struct scene *s)
{
    begin(s);
    for (uint32_t i = 0; i < LAYERS; i++) {
        norm(s);
        multiply(s, "store", s->w_qkv[i], s->h, s->qkv, QKV, HIDDEN);
        rope(s, i);
        attend(s, i);
        multiply(s, "add", s->w_o[i], s->attended, s->x, HIDDEN, HEADS * DIM);
        norm(s);
        multiply(s, "silu", s->w_gate_up[i], s->h, s->inner, 2 * INNER, HIDDEN);
        multiply(s, "add", s->w_down[i], s->inner, s->x, HIDDEN, INNER);
    }
    norm(s);
    multiply(s, "logits", s->w_output, s->h, s->logits, VOCABULARY, HIDDEN);
    sample(s);
}

/* --- claims --- */

struct outcome {
    float x[ROWS * HIDDEN], logits[ROWS * VOCABULARY];
    uint32_t newest[SLOTS], newest_at[SLOTS];
    struct cuda_sampled sampled[SLOTS];
    uint16_t cache[(PAGES - 1) * LAYERS * 2 * KV_HEADS * PAGE * DIM];
};

static void run(struct outcome *out, uint32_t from, bool overlaps, uint64_t seed)
{
    static struct scene s;
    dice = 1;
    s = (struct scene){.overlaps = overlaps, .from = from};
    gpu_room_open(&s.room, seed);
    put_state(&s);
    put_model(&s);
    put_activations(&s);
    put_attention(&s);
    put_sampling(&s);
    for (int i = 0; i < STEPS; i++)
        step(&s);
    gpu_must(s.room.driver->stream_wait(s.room.stream));
    gpu_room_get(&s.room, out->x, s.x, sizeof out->x);
    gpu_room_get(&s.room, out->logits, s.logits, sizeof out->logits);
    gpu_room_get(&s.room, out->newest, s.newest, sizeof out->newest);
    gpu_room_get(&s.room, out->newest_at, s.newest_at, sizeof out->newest_at);
    gpu_room_get(&s.room, out->sampled, s.sampled, sizeof out->sampled);
    gpu_room_get(&s.room, out->cache, s.cache, sizeof out->cache);
    gpu_room_close(&s.room);
}

static void compare(uint32_t from, uint64_t n_seeds)
{
    static struct outcome want, got;
    run(&want, from, false, 1);
    assert_int_equal(want.newest_at[0], from + STEPS);
    assert_int_equal(want.newest_at[1], from + 10 + STEPS);
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        run(&got, from, true, seed);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static void launches_that_overlap_give_the_same_bits(void **state)
{
    (void)state;
    compare(546, DRAWN(4));
}

/* Nothing to fold: those launches still hold back the ones behind them. */
static void launches_without_work_keep_the_order(void **state)
{
    (void)state;
    compare(20, DRAWN(4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launches_that_overlap_give_the_same_bits),
        cmocka_unit_test(launches_without_work_keep_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
