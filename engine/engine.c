#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/engine_internal.h"

static void stop_thread(struct engine *e)
{
    if (!e->started)
        return;
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
}

static void free_compute(struct engine *e)
{
    sched_cleanup(&e->sched);
    kv_cleanup(&e->kv);
    sampler_free(e->sampler);
    model_cleanup(&e->model);
    pool_free(e->pool);
    if (e->logits != NULL)
        explicit_bzero(e->logits, engine_logits_size(e));
    if (e->batch_tokens != NULL)
        explicit_bzero(e->batch_tokens, e->options.token_budget * sizeof *e->batch_tokens);
    free(e->logits);
    free(e->batch_tokens);
    free(e->batch_rows);
    free(e->batch_logit_rows);
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    stop_thread(e);
    while (e->incoming.first != NULL)
        request_free(queue_pop(&e->incoming));
    buf_cleanup(&e->cancelled);
    free_compute(e);
    chat_template_free(e->template);
    chat_template_free(e->tool_template);
    tokenizer_free(e->tokenizer);
    weights_cleanup(&e->weights, &e->config);
    shards_cleanup(&e->shards);
    model_files_cleanup(&e->files);
    free(e->file_list);
    json_decref(e->special_tokens);
    free(e->model_id);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

const struct engine_info *engine_info(const struct engine *e)
{
    return &e->info;
}

void engine_params_default(const struct engine *e, struct engine_params *out)
{
    *out = (struct engine_params){.temperature = e->generation.temperature,
                                  .top_p = e->generation.top_p,
                                  .min_p = e->generation.min_p,
                                  .top_k = e->generation.top_k,
                                  .repetition_penalty = e->generation.repetition_penalty};
}

struct err engine_submit(struct engine *e, uint64_t *id, const uint32_t *prompt, size_t n_prompt,
                         const struct engine_params *params, engine_sink *sink, void *context)
{
    struct request_source source = {prompt, n_prompt, params, sink, context};
    struct request *r = NULL;
    TRY(request_new(&r, &source, e->config.vocab_size, e->options.max_context));
    pthread_mutex_lock(&e->lock);
    bool full = e->incoming.n + e->stats.n_waiting >= ENGINE_WAITING_MAX;
    if (!full) {
        r->id = ++e->last_id;
        *id = r->id; /* before the stepping thread can finish it */
        queue_push(&e->incoming, r);
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
    if (!full)
        return err_ok();
    request_free(r);
    return err_set(ERR_BUSY, "%d requests wait already; try again later", ENGINE_WAITING_MAX);
}

void engine_cancel(struct engine *e, uint64_t id)
{
    pthread_mutex_lock(&e->lock);
    if (id > 0 && id <= e->last_id) {
        buf_append(&e->cancelled, &id, sizeof id);
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
}

void engine_stats(struct engine *e, struct engine_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    out->n_waiting += (unsigned)e->incoming.n;
    pthread_mutex_unlock(&e->lock);
}

/* Until there is something to do; false when stopping. */
static bool await_work(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    while (!e->stopping && e->incoming.n == 0 && e->cancelled.len == 0)
        pthread_cond_wait(&e->wake, &e->lock);
    bool go = !e->stopping;
    pthread_mutex_unlock(&e->lock);
    return go;
}

static bool must_stop(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    bool stopping = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return stopping;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    while (await_work(e))
        while (!must_stop(e) && engine_step(e)) {
            /* until idle: the last step, which finds nothing, also zeroes the activations */
        }
    return NULL;
}

struct err engine_start(struct engine *e)
{
    if (e->started)
        return err_set(ERR_USAGE, "the engine's thread runs already");
    int rc = pthread_create(&e->thread, NULL, engine_main, e);
    if (rc != 0)
        return err_set(ERR_MEMORY, "cannot start the engine's thread: %s", strerror(rc));
    e->started = true;
    return err_ok();
}

/* One chunk of engine_logits, written straight to the caller's rows. */
static void logits_chunk(struct engine *e, const uint32_t *tokens, const struct page_list *pages,
                         size_t first, size_t n, float *out)
{
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
                      .logits = out + first * e->config.vocab_size};
    model_forward(&e->model, &e->kv.cache, &b);
}

struct err engine_logits(struct engine *e, const uint32_t *tokens, size_t n_tokens, float *out)
{
    struct page_list pages = {0};
    if (n_tokens == 0 || n_tokens > e->options.max_context)
        return err_set(ERR_LIMIT, "%zu tokens; 1 to %u are possible", n_tokens,
                       e->options.max_context);
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] >= e->config.vocab_size)
            return err_set(ERR_USAGE, "token %zu is %u; the vocabulary ends at %u", i, tokens[i],
                           e->config.vocab_size - 1);
    if (!kv_reserve(&e->kv, &pages, n_tokens))
        return err_set(ERR_BUSY, "requests in flight hold the pages that %zu tokens need",
                       n_tokens);
    fenv_t saved;
    engine_enter_numerics(&saved);
    size_t budget = e->options.token_budget;
    for (size_t at = 0; at < n_tokens; at += budget)
        logits_chunk(e, tokens, &pages, at, n_tokens - at < budget ? n_tokens - at : budget, out);
    engine_leave_numerics(&saved);
    kv_release(&e->kv, &pages);
    e->activations_dirty = true;
    return err_ok();
}
