#include "bench/step_case.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/kernel_set.h"

enum { N_EMBEDDED = 512, N_OUTSTANDING = 12 };

static void find_kernels(struct step_case *c)
{
    static const char *const names[STEP_KERNELS] = {
        [STEP_PREPARE] = "prepare_rows", [STEP_EMBED] = "embed_rows", [STEP_NORM] = "rmsnorm_rows",
        [STEP_ROPE] = "rope_write",      [STEP_SCAN] = "sample_scan", [STEP_WEIGH] = "sample_weigh",
        [STEP_CHOOSE] = "sample_choose"};
    for (size_t i = 0; i < STEP_KERNELS; i++)
        if (names[i] != NULL)
            c->kernels[i] =
                rig_kernel(c->rig, RIG_EXACT, names[i],
                           i < STEP_ATTENTION ? CUDA_ROWS_SHARED_LEN : CUDA_SAMPLE_SHARED_LEN);
}

static struct gpu_address put_tokens(struct rig *r, size_t n)
{
    uint32_t *tokens = malloc(n * sizeof *tokens);
    if (tokens == NULL)
        must(err_set(ERR_MEMORY, "no memory for rows"));
    for (size_t i = 0; i < n; i++)
        tokens[i] = (uint32_t)(i % N_EMBEDDED);
    struct gpu_address at = rig_put(r, tokens, n * sizeof *tokens);
    free(tokens);
    return at;
}

static struct gpu_address put_plan(struct rig *r, size_t n)
{
    struct cuda_plan_row *plan = calloc(n, sizeof *plan);
    if (plan == NULL)
        must(err_set(ERR_MEMORY, "no memory for rows"));
    for (size_t i = 0; i < n; i++)
        plan[i] = (struct cuda_plan_row){.slot = (uint32_t)i, .token = CUDA_NEWEST};
    struct gpu_address at = rig_put(r, plan, n * sizeof *plan);
    free(plan);
    return at;
}

static void make_rows(struct step_case *c)
{
    struct rig *r = c->rig;
    const struct step_size *s = &c->size;
    const uint32_t n = s->n_rows, table_len = c->attention.table_len;
    const struct gpu_address tokens = put_tokens(r, n), plan = put_plan(r, n);
    c->prepare = (struct cuda_prepare_args){
        .tokens = rig_pointer(rig_alloc(r, n * sizeof(uint32_t))),
        .positions = rig_pointer(rig_alloc(r, n * sizeof(uint32_t))),
        .page_tables = rig_pointer(rig_alloc(r, (size_t)n * table_len * sizeof(uint32_t))),
        .plan = rig_pointer(plan),
        .newest = rig_pointer(tokens),
        .newest_at = rig_pointer(c->attention.positions),
        .slot_tables = rig_pointer(c->attention.page_tables),
        .page_table_len = table_len};
    c->embed = (struct cuda_embed_args){
        .x = rig_pointer(rig_random(r, (size_t)n * s->n_cols * 2)),
        .table = rig_pointer(rig_random(r, (size_t)N_EMBEDDED * s->n_cols)),
        .tokens = rig_pointer(tokens),
        .n_cols = s->n_cols};
    c->norm =
        (struct cuda_rmsnorm_args){.out = rig_pointer(rig_alloc(r, (size_t)n * s->n_cols * 2)),
                                   .x = c->embed.x,
                                   .weight = rig_pointer(rig_random(r, (size_t)s->n_cols * 2)),
                                   .n_cols = s->n_cols,
                                   .eps = 1e-5f};
    c->rope = (struct cuda_rope_write_args){
        .qkv = rig_pointer(c->attention.qkv),
        .cache = rig_pointer(c->attention.cache),
        .cos_sin = rig_pointer(rig_random(r, (size_t)s->len * s->head_dim * 2)),
        .positions = rig_pointer(c->attention.positions),
        .page_tables = rig_pointer(c->attention.page_tables),
        .page_table_len = table_len,
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .head_dim = s->head_dim,
        .n_turned = s->head_dim,
        .n_layers = s->n_layers,
        .eps = 1e-5f};
}

/* As a model's are: a few stand out, the others are nearly a normal distribution, of deviation 2.
 * All rows have the same. */
static struct gpu_address put_logits(struct rig *r, size_t n_rows, size_t n_vocab)
{
    const size_t len = n_vocab * sizeof(float);
    const struct gpu_address at = rig_alloc(r, n_rows * len);
    float *row = malloc(len);
    uint64_t random = 5;
    if (row == NULL)
        must(err_set(ERR_MEMORY, "no memory for logits"));
    for (size_t i = 0; i < n_vocab; i++) {
        row[i] = 0;
        for (size_t j = 0; j < 12; j++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            row[i] += 2 * ((float)(random >> 40) * 0x1p-24f - 0.5f);
        }
    }
    for (size_t i = 0; i < N_OUTSTANDING; i++)
        row[(i * 7919 + 11) % n_vocab] = 12 + 0.5f * (float)i;
    for (size_t i = 0; i < n_rows; i++)
        must(r->driver->copy_to(r->stream, (struct gpu_address){at.at + i * len}, row, len));
    must(r->driver->stream_wait(r->stream));
    free(row);
    return at;
}

static void make_sampling(struct step_case *c)
{
    struct rig *r = c->rig;
    const uint32_t n = c->size.n_rows, n_vocab = c->size.n_vocab;
    c->params = rig_alloc(r, n * sizeof(struct cuda_sample_params));
    c->sample = (struct cuda_sample_args){
        .out = rig_pointer(rig_alloc(r, n * sizeof(struct cuda_sampled))),
        .top = rig_pointer(rig_alloc(r, n * CUDA_SAMPLE_TOP * sizeof(struct cuda_token_float))),
        .newest = rig_pointer(rig_alloc(r, n * sizeof(uint32_t))),
        .newest_at = rig_pointer(rig_alloc(r, n * sizeof(uint32_t))),
        .logits = rig_pointer(put_logits(r, n, n_vocab)),
        .z = rig_pointer(rig_alloc(r, (size_t)n * n_vocab * sizeof(float))),
        .scratch = rig_pointer(rig_alloc(r, CUDA_SAMPLE_SCRATCH_LEN(n, n_vocab))),
        .params = rig_pointer(c->params),
        .plan = c->prepare.plan,
        .positions = rig_pointer(c->attention.positions),
        .n_vocab = n_vocab,
        .row_len = n_vocab};
    step_case_choose(c, 0);
}

void step_case_init(struct step_case *c, struct rig *r, const struct step_size *size)
{
    const struct attention_size attention = {size->n_heads, size->n_kv_heads, size->head_dim,
                                             size->n_rows,  size->len,        1,
                                             size->n_layers};
    *c = (struct step_case){.rig = r, .size = *size};
    attention_case_init(&c->attention, r, &attention);
    find_kernels(c);
    make_rows(c);
    make_sampling(c);
}

void step_case_cleanup(struct step_case *c)
{
    attention_case_cleanup(&c->attention);
}

void step_case_choose(struct step_case *c, float top_p)
{
    const size_t n = c->size.n_rows, len = n * sizeof(struct cuda_sample_params);
    struct cuda_sample_params *params = calloc(n, sizeof *params);
    if (params == NULL)
        must(err_set(ERR_MEMORY, "no memory for parameters"));
    for (size_t i = 0; i < n; i++)
        params[i] = (struct cuda_sample_params){.seed = i,
                                                .temperature = top_p > 0 ? 1.0f : 0.0f,
                                                .top_p = top_p > 0 ? top_p : 1.0f,
                                                .repetition_penalty = 1.0f};
    must(c->rig->driver->copy_to(c->rig->stream, c->params, params, len));
    must(c->rig->driver->stream_wait(c->rig->stream));
    free(params);
}

static void launch(const struct step_case *c, enum step_kernel what, struct gpu_launch how,
                   const void *args, size_t args_len)
{
    must(c->rig->driver->launch(c->rig->stream, c->kernels[what], &how, args, args_len));
}

static struct gpu_launch rows_of(size_t across, size_t down)
{
    return kernel_set_rows(&kernel_set_sm90, across, down);
}

void step_case_launch(const struct step_case *c, enum step_kernel what, size_t turn)
{
    const struct step_size *s = &c->size;
    struct cuda_rope_write_args rope = c->rope;
    rope.layer = (uint32_t)(turn % s->n_layers);
    if (what == STEP_FOLD)
        attention_case_fold(&c->attention, RIG_EXACT);
    else if (what == STEP_PREPARE)
        launch(c, what, rows_of(s->n_rows, 1), &c->prepare, sizeof c->prepare);
    else if (what == STEP_EMBED)
        launch(c, what, rows_of(s->n_rows, 1), &c->embed, sizeof c->embed);
    else if (what == STEP_NORM)
        launch(c, what, rows_of(s->n_rows, 1), &c->norm, sizeof c->norm);
    else if (what == STEP_ROPE)
        launch(c, what, rows_of(ROPE_BLOCKS(s->n_heads, s->n_kv_heads), s->n_rows), &rope,
               sizeof rope);
    else if (what == STEP_ATTENTION)
        attention_case_launch(&c->attention, RIG_EXACT, turn);
    else if (what == STEP_CHOOSE)
        launch(c, what, kernel_set_choose(&kernel_set_sm90, s->n_rows), &c->sample,
               sizeof c->sample);
    else
        launch(c, what,
               kernel_set_scan(&kernel_set_sm90, c->rig->info.n_multiprocessors, s->n_vocab,
                               s->n_rows),
               &c->sample, sizeof c->sample);
}
