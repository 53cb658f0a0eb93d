/* The logits of a whole prompt, for tests and comparison: chunk by chunk; and of nobody's, to warm
 * up. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_internal.h"

/* Rows that are held at a time: bounded by memory, not by the prompt. */
enum { CHUNK_BYTES_MAX = 64 << 20 };

static struct err compute_chunk(struct engine *e, const uint32_t *tokens,
                                const struct page_list *pages, size_t first, size_t n, float *rows)
{
    if (e->device != NULL)
        return engine_device_logits(e, tokens + first, first, n, pages, rows);
    for (size_t i = 0; i < n; i++) {
        e->batch_tokens[i] = tokens[first + i];
        e->batch_rows[i] = (struct kv_row){(uint32_t)(first + i), pages->pages};
        e->batch_logit_rows[i] = (uint32_t)i;
    }
    struct batch b = {.tokens = e->batch_tokens,
                      .rows = e->batch_rows,
                      .n_rows = n,
                      .logit_rows = e->batch_logit_rows,
                      .n_logits = n,
                      .logits = rows};
    fenv_t saved;
    engine_enter_numerics(&saved);
    model_forward(&e->model, &e->kv.cache, &b);
    engine_leave_numerics(&saved);
    return err_ok();
}

static struct err check_tokens(const struct engine *e, const uint32_t *tokens, size_t n_tokens)
{
    if (n_tokens == 0 || n_tokens > e->options.max_context)
        return err_set(ERR_LIMIT, "%zu tokens; 1 to %u are possible", n_tokens,
                       e->options.max_context);
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] >= e->config.vocab_size)
            return err_set(ERR_USAGE, "token %zu is %u; the vocabulary ends at %u", i, tokens[i],
                           e->config.vocab_size - 1);
    return err_ok();
}

size_t engine_chunk_rows(const struct engine *e)
{
    size_t n = CHUNK_BYTES_MAX / sizeof(float) / e->config.vocab_size;
    if (n == 0)
        n = 1;
    return n < e->options.token_budget ? n : e->options.token_budget;
}

static struct err compute_chunks(struct engine *e, const uint32_t *tokens, size_t n_tokens,
                                 const struct page_list *pages, float *rows, engine_rows_sink *take,
                                 void *context)
{
    size_t most = engine_chunk_rows(e);
    for (size_t at = 0, n; at < n_tokens; at += n) {
        n = n_tokens - at < most ? n_tokens - at : most;
        TRY(compute_chunk(e, tokens, pages, at, n, rows));
        TRY(take(context, rows, n));
    }
    return err_ok();
}

struct err engine_logits_rows(struct engine *e, const uint32_t *tokens, size_t n_tokens,
                              engine_rows_sink *take, void *context)
{
    struct page_list pages = {0};
    TRY(check_tokens(e, tokens, n_tokens));
    if (e->device != NULL)
        TRY(device_enter(e->device));
    size_t len = engine_chunk_rows(e) * e->config.vocab_size * sizeof(float);
    float *rows = malloc(len);
    if (rows == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu rows of logits", engine_chunk_rows(e));
    if (!kv_reserve(&e->kv, &pages, n_tokens)) {
        free(rows);
        return err_set(ERR_BUSY, "requests in flight hold the pages that %zu tokens need",
                       n_tokens);
    }
    e->activations_dirty = true;
    struct err err = compute_chunks(e, tokens, n_tokens, &pages, rows, take, context);
    kv_release(&e->kv, &pages);
    explicit_bzero(rows, len);
    free(rows);
    return err;
}

struct destination {
    float *at;
    size_t n_vocab;
};

static struct err copy_rows(void *context, const float *rows, size_t n_rows)
{
    struct destination *to = context;
    memcpy(to->at, rows, n_rows * to->n_vocab * sizeof *rows);
    to->at += n_rows * to->n_vocab;
    return err_ok();
}

struct err engine_logits(struct engine *e, const uint32_t *tokens, size_t n_tokens, float *out)
{
    struct destination to = {out, e->config.vocab_size};
    return engine_logits_rows(e, tokens, n_tokens, copy_rows, &to);
}

static struct err drop_rows(void *context, const float *rows, size_t n_rows)
{
    (void)context;
    (void)rows;
    (void)n_rows;
    return err_ok();
}

enum { WARM_UP_TOKENS = 96 }; /* enough for the wide tiles of attention */

struct err engine_warm_up(struct engine *e)
{
    static const uint32_t tokens[WARM_UP_TOKENS];
    const size_t n =
        e->options.max_context < WARM_UP_TOKENS ? e->options.max_context : WARM_UP_TOKENS;
    struct page_list pages = {0};
    if (e->device == NULL)
        return err_ok();
    TRY(engine_logits_rows(e, tokens, n, drop_rows, NULL));
    if (!kv_reserve(&e->kv, &pages, 1))
        return err_set(ERR_BUSY, "requests in flight hold all pages");
    struct err err = engine_device_warm_up(e, &pages);
    kv_release(&e->kv, &pages);
    return err;
}
