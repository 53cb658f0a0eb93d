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
        .rounded = lines((matmul_scratch_len(rows, widest) * sizeof(uint16_t) + 3) / sizeof(float)),
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

/* y[i] = x times the matrix of w[i], plus its bias, for `n` of them that have n_cols columns. */
static void apply(struct model *m, float *const *y, const struct linear *const *w, size_t n,
                  const float *x, size_t n_rows)
{
    struct matmul_args args = {.x = x,
                               .n_rows = n_rows,
                               .n_cols = w[0]->matrix.n_cols,
                               .n_outputs = n,
                               .scratch = m->rounded};
    for (size_t i = 0; i < n; i++)
        args.outputs[i] = (struct matmul_output){y[i], &w[i]->matrix};
    m->backend->matmul(m->pool, &args);
    for (size_t i = 0; i < n; i++)
        if (w[i]->bias != NULL)
            m->backend->add_bias(m->pool, y[i], w[i]->bias, n_rows, w[i]->matrix.n_rows);
}

static void apply_one(struct model *m, float *y, const struct linear *w, const float *x,
                      size_t n_rows)
{
    apply(m, &y, &w, 1, x, n_rows);
}

/* q, k and v of h; queries and keys are normed head by head where the model has it, then turned. */
static void project(struct model *m, const struct batch *b, const struct layer_weights *w)
{
    const struct backend *op = m->backend;
    const struct model_config *c = m->config;
    float *const outputs[] = {m->q, m->k, m->v};
    const struct linear *const matrices[] = {&w->q, &w->k, &w->v};
    apply(m, outputs, matrices, 3, m->h, b->n_rows);
    if (w->q_norm != NULL) {
        op->rmsnorm(m->pool, m->q, m->q, w->q_norm, b->n_rows * c->n_heads, c->head_dim,
                    c->rms_norm_eps);
        op->rmsnorm(m->pool, m->k, m->k, w->k_norm, b->n_rows * c->n_kv_heads, c->head_dim,
                    c->rms_norm_eps);
    }
    op->rope(m->pool, m->q, m->cos_sin, b->rows, b->n_rows, c->n_heads, c->head_dim, c->rope.dim);
    op->rope(m->pool, m->k, m->cos_sin, b->rows, b->n_rows, c->n_kv_heads, c->head_dim,
             c->rope.dim);
}

static void attention_block(struct model *m, const struct kv_cache *cache, const struct batch *b,
                            size_t layer)
{
    const struct backend *op = m->backend;
    const struct model_config *c = m->config;
    const struct layer_weights *w = &m->weights->layers[layer];
    op->rmsnorm(m->pool, m->h, m->x, w->attention_norm, b->n_rows, c->hidden_size, c->rms_norm_eps);
    project(m, b, w);
    /* All of the batch's keys are in the cache before any row attends. */
    op->kv_write(m->pool, cache, layer, m->k, m->v, b->rows, b->n_rows);
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
    apply_one(m, m->h, &w->o, m->attended, b->n_rows);
    op->add(m->pool, m->x, m->h, b->n_rows * c->hidden_size);
}

static void mlp_block(struct model *m, size_t n_rows, size_t layer)
{
    const struct backend *op = m->backend;
    const struct model_config *c = m->config;
    const struct layer_weights *w = &m->weights->layers[layer];
    op->rmsnorm(m->pool, m->h, m->x, w->mlp_norm, n_rows, c->hidden_size, c->rms_norm_eps);
    float *const outputs[] = {m->gate, m->up};
    const struct linear *const matrices[] = {&w->gate, &w->up};
    apply(m, outputs, matrices, 2, m->h, n_rows);
    op->silu_mul(m->pool, m->gate, m->up, n_rows * c->intermediate_size);
    apply_one(m, m->h, &w->down, m->gate, n_rows);
    op->add(m->pool, m->x, m->h, n_rows * c->hidden_size);
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
    struct matmul_args args = {.x = m->h,
                               .n_rows = b->n_logits,
                               .n_cols = c->hidden_size,
                               .outputs = {{b->logits, &m->weights->output}},
                               .n_outputs = 1,
                               .scratch = m->rounded};
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
