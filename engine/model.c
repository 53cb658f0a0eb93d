#include "engine/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/rope.h"

struct sizes {
    size_t table, hidden, q, kv, inner, scores, rounded; /* floats */
};

/* Whole cache lines, so that each part of the memory begins at one. */
static size_t lines(size_t n_floats)
{
    return (n_floats + 15) / 16 * 16;
}

static struct sizes sizes_of(const struct model_config *c, unsigned n_threads, size_t rows,
                             size_t context)
{
    size_t group = c->n_heads / c->n_kv_heads, q_len = (size_t)c->n_heads * c->head_dim;
    size_t widest = c->hidden_size > c->intermediate_size ? c->hidden_size : c->intermediate_size;
    widest = widest > q_len ? widest : q_len;
    return (struct sizes){
        .table = lines(context * c->rope.dim),
        .hidden = lines(rows * c->hidden_size),
        .q = lines(rows * q_len),
        .kv = lines(rows * c->n_kv_heads * c->head_dim),
        .inner = lines(rows * c->intermediate_size),
        .scores = lines((size_t)n_threads * group * context),
        .rounded = lines((matmul_scratch_len(n_threads, rows, widest) * sizeof(uint16_t) + 3) /
                         sizeof(float)),
    };
}

static size_t total_floats(const struct sizes *s)
{
    return s->table + 2 * s->hidden + 2 * s->q + 2 * s->kv + 2 * s->inner + s->scores + s->rounded;
}

uint64_t model_memory_size(const struct model_config *config, unsigned n_threads, size_t max_rows,
                           size_t max_context)
{
    struct sizes s = sizes_of(config, n_threads, max_rows, max_context);
    return (uint64_t)total_floats(&s) * sizeof(float);
}

static float *carve(float **at, size_t n)
{
    float *part = *at;
    *at += n;
    return part;
}

struct err model_init(struct model *m, const struct backend *backend, struct pool *pool,
                      const struct model_config *config, const struct weights *weights,
                      size_t max_rows, size_t max_context)
{
    struct sizes s = sizes_of(config, pool_n_threads(pool), max_rows, max_context);
    size_t len = total_floats(&s) * sizeof(float);
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return err_set(ERR_MEMORY,
                       "no memory for %zu bytes of activations; ask for a smaller "
                       "token budget or context",
                       len);
    madvise(memory, len, MADV_DONTDUMP);
    float *at = memory;
    *m = (struct model){.backend = backend,
                        .pool = pool,
                        .config = config,
                        .weights = weights,
                        .max_rows = max_rows,
                        .max_context = max_context,
                        .memory = memory,
                        .memory_len = len};
    m->cos_sin = carve(&at, s.table);
    m->x = carve(&at, s.hidden);
    m->h = carve(&at, s.hidden);
    m->q = carve(&at, s.q);
    m->attended = carve(&at, s.q);
    m->k = carve(&at, s.kv);
    m->v = carve(&at, s.kv);
    m->gate = carve(&at, s.inner);
    m->up = carve(&at, s.inner);
    m->scores = carve(&at, s.scores);
    m->scores_len = s.scores / pool_n_threads(pool);
    m->rounded = (uint16_t *)(void *)carve(&at, s.rounded);
    rope_table(m->cos_sin, &config->rope, (unsigned)max_context);
    return err_ok();
}

void model_wipe(struct model *m)
{
    size_t table_len = (size_t)((char *)m->x - (char *)m->memory);
    explicit_bzero(m->x, m->memory_len - table_len); /* all that follows the table */
}

void model_cleanup(struct model *m)
{
    if (m->memory != NULL) {
        model_wipe(m);
        munmap(m->memory, m->memory_len);
    }
    *m = (struct model){0};
}

/* A matrix and its bias, with the product in y. */
static struct matmul_output output(float *y, const struct linear *w)
{
    return (struct matmul_output){.y = y, .w = &w->matrix, .bias = w->bias};
}

/* x is of `outputs`' n_cols columns. */
static struct matmul_args product(const struct model *m, const float *x, size_t n_rows,
                                  struct matmul_output first)
{
    return (struct matmul_args){.x = x,
                                .n_rows = n_rows,
                                .n_cols = first.w->n_cols,
                                .outputs = {first},
                                .n_outputs = 1,
                                .scratch = m->rounded};
}

/* x += a times the matrix, through h. */
static void add_product(struct model *m, const float *a, const struct linear *w, size_t n_rows)
{
    struct matmul_args args = product(m, a, n_rows, output(m->h, w));
    args.outputs[0].add_to = m->x;
    m->backend->matmul(m->pool, &args);
}

/* q, k and v of h; queries and keys are normed head by head where the model has it. */
static void project(struct model *m, size_t n_rows, const struct layer_weights *w)
{
    const struct model_config *c = m->config;
    struct matmul_args args = product(m, m->h, n_rows, output(m->q, &w->q));
    args.outputs[1] = output(m->k, &w->k);
    args.outputs[2] = output(m->v, &w->v);
    args.n_outputs = 3;
    m->backend->matmul(m->pool, &args);
    if (w->q_norm == NULL)
        return;
    m->backend->rmsnorm(m->pool, m->q, m->q, w->q_norm, n_rows * c->n_heads, c->head_dim,
                        c->rms_norm_eps);
    m->backend->rmsnorm(m->pool, m->k, m->k, w->k_norm, n_rows * c->n_kv_heads, c->head_dim,
                        c->rms_norm_eps);
}

static void attention_block(struct model *m, const struct kv_cache *cache, const struct batch *b,
                            size_t layer)
{
    const struct backend *op = m->backend;
    const struct model_config *c = m->config;
    const struct layer_weights *w = &m->weights->layers[layer];
    op->rmsnorm(m->pool, m->h, m->x, w->attention_norm, b->n_rows, c->hidden_size, c->rms_norm_eps);
    project(m, b->n_rows, w);
    struct rope_args rope = {.q = m->q,
                             .k = m->k,
                             .v = m->v,
                             .cos_sin = m->cos_sin,
                             .cache = cache,
                             .layer = layer,
                             .rows = b->rows,
                             .n_rows = b->n_rows,
                             .n_heads = c->n_heads,
                             .n_turned = c->rope.dim};
    /* All of the batch's keys are in the cache before any row attends. */
    op->rope_write(m->pool, &rope);
    struct attention_args args = {.out = m->attended,
                                  .q = m->q,
                                  .cache = cache,
                                  .layer = layer,
                                  .rows = b->rows,
                                  .n_rows = b->n_rows,
                                  .n_heads = c->n_heads,
                                  .window = c->sliding_window,
                                  .scale = 1.0f / sqrtf((float)c->head_dim),
                                  .scratch = m->scores,
                                  .scratch_len = m->scores_len};
    op->attention(m->pool, &args);
    add_product(m, m->attended, &w->o, b->n_rows);
}

static void mlp_block(struct model *m, size_t n_rows, size_t layer)
{
    const struct model_config *c = m->config;
    const struct layer_weights *w = &m->weights->layers[layer];
    m->backend->rmsnorm(m->pool, m->h, m->x, w->mlp_norm, n_rows, c->hidden_size, c->rms_norm_eps);
    struct matmul_args args = product(m, m->h, n_rows, output(m->gate, &w->gate));
    args.outputs[1] = output(m->up, &w->up);
    args.n_outputs = 2;
    args.is_gated = true;
    m->backend->matmul(m->pool, &args);
    add_product(m, m->gate, &w->down, n_rows);
}

/* The wanted rows of x are gathered at the front of h, so the output matrix sees only them. */
static void output_block(struct model *m, const struct batch *b)
{
    const struct model_config *c = m->config;
    if (b->n_logits == 0)
        return;
    for (size_t i = 0; i < b->n_logits; i++)
        memcpy(m->h + i * c->hidden_size, m->x + (size_t)b->logit_rows[i] * c->hidden_size,
               c->hidden_size * sizeof *m->h);
    m->backend->rmsnorm(m->pool, m->h, m->h, m->weights->norm, b->n_logits, c->hidden_size,
                        c->rms_norm_eps);
    struct matmul_output logits = {.y = b->logits, .w = &m->weights->output};
    struct matmul_args args = product(m, m->h, b->n_logits, logits);
    m->backend->matmul(m->pool, &args);
}

void model_forward(struct model *m, const struct kv_cache *cache, const struct batch *batch)
{
    m->backend->embed(m->pool, m->x, &m->weights->embed, batch->tokens, batch->n_rows);
    for (size_t layer = 0; layer < m->config->n_layers; layer++) {
        attention_block(m, cache, batch, layer);
        mlp_block(m, batch->n_rows, layer);
    }
    output_block(m, batch);
}
