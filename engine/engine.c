#include "engine/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    for (size_t i = 0; i < e->n_samplers; i++)
        sampler_free(e->samplers[i]);
    model_cleanup(&e->model);
    pool_free(e->pool);
    free(e->slot_owners);
    device_free(e->device); /* after the cache, whose pages it has */
    if (e->logits != NULL)
        explicit_bzero(e->logits, engine_logits_size(e));
    if (e->batch_tokens != NULL)
        explicit_bzero(e->batch_tokens, e->options.token_budget * sizeof *e->batch_tokens);
    if (e->choices != NULL)
        explicit_bzero(e->choices, e->options.max_requests * sizeof *e->choices);
    free(e->choices);
    free(e->logits);
    free(e->allowed);
    free(e->batch_tokens);
    free(e->batch_rows);
    free(e->batch_logit_rows);
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    stop_thread(e);
    if (e->device != NULL && is_err(device_enter(e->device))) {
        /* a device that has failed is freed as far as it goes */
    }
    while (e->incoming.first != NULL)
        request_free(queue_pop(&e->incoming));
    buf_cleanup(&e->cancelled);
    free_compute(e);
    chat_template_free(e->template);
    chat_template_free(e->tool_template);
    free(e->sampled_ids);
    tokenizer_free(e->tokenizer);
    weights_cleanup(&e->weights);
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

/* Whether requests that come to those of their class may wait, too. */
static struct err check_waiting(const struct engine *e, const struct waiting *before,
                                const struct request_queue *requests)
{
    if (before->n + requests->n > ENGINE_WAITING_MAX)
        return err_set(ERR_BUSY,
                       "%zu choices wait already and these are %zu; at most %d may wait; try again "
                       "later",
                       before->n, requests->n, ENGINE_WAITING_MAX);
    if (before->n_bytes + requests->n_bytes > e->waiting_max)
        return err_set(ERR_BUSY,
                       "the requests that wait hold %" PRIu64 " KiB and this one needs %" PRIu64
                       "; at most %" PRIu64 " KiB may wait; try again later",
                       before->n_bytes >> 10, (requests->n_bytes + 1023) >> 10,
                       e->waiting_max >> 10);
    return err_ok();
}

/* Under the lock. All or none. Waiting batch work keeps no interactive request out. */
static struct err queue_incoming(struct engine *e, uint64_t *id, enum engine_priority priority,
                                 struct request_queue *requests)
{
    struct waiting *arrived = &e->arrived[priority];
    struct waiting before = {arrived->n + e->waiting[priority].n,
                             arrived->n_bytes + e->waiting[priority].n_bytes};
    TRY(check_waiting(e, &before, requests));
    *id = ++e->last_id; /* before the stepping thread can finish it */
    arrived->n += requests->n;
    arrived->n_bytes += requests->n_bytes;
    while (requests->first != NULL) {
        struct request *r = queue_pop(requests);
        r->id = *id;
        r->number = ++e->last_number;
        queue_push(&e->incoming, r);
    }
    pthread_cond_signal(&e->wake);
    return err_ok();
}

static struct err check_running(struct engine *e)
{
    BUF_AUTO why = BUF_INIT;
    engine_failure(e, &why);
    return why.len == 0 ? err_ok() : err_set(ERR_IO, "%s; start the server again", buf_str(&why));
}

struct err engine_submit(struct engine *e, uint64_t *id, const uint32_t *prompt, size_t n_prompt,
                         const struct engine_params *params, engine_sink *sink, void *context)
{
    bool own = e->generation.n_eos > 0;
    struct engine_params allowed = *params;
    struct request_source source = {.prompt = prompt,
                                    .n_prompt = n_prompt,
                                    .params = &allowed,
                                    .eos_ids = own ? e->generation.eos_ids : e->config.eos_ids,
                                    .n_eos = own ? e->generation.n_eos : e->config.n_eos,
                                    .sink = sink,
                                    .context = context};
    struct request_queue requests = {0};
    allowed.has_cache_salt = params->has_cache_salt && !e->options.no_prefix_cache;
    TRY(check_running(e));
    struct err err = request_new(&requests, &source, e->config.vocab_size, e->options.max_context);
    explicit_bzero(allowed.cache_salt, sizeof allowed.cache_salt);
    TRY(err);
    pthread_mutex_lock(&e->lock);
    err = queue_incoming(e, id, params->priority, &requests);
    pthread_mutex_unlock(&e->lock);
    while (requests.first != NULL) /* refused */
        request_free(queue_pop(&requests));
    return err;
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
    out->waiting_bytes += e->incoming.n_bytes;
    pthread_mutex_unlock(&e->lock);
}

void engine_failure(struct engine *e, struct buf *out)
{
    pthread_mutex_lock(&e->lock);
    buf_append_str(out, e->failure);
    pthread_mutex_unlock(&e->lock);
}

static struct timespec time_of_ms(uint64_t ms)
{
    return (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
}

/* Until there is something to do, idle pages to be zeroed included; false when stopping. */
static bool await_work(struct engine *e)
{
    uint64_t expiry = kv_next_expiry_ms(&e->kv, engine_cache_age_ms(e));
    struct timespec until = time_of_ms(expiry);
    int rc = 0;
    pthread_mutex_lock(&e->lock);
    while (!e->stopping && e->incoming.n == 0 && e->cancelled.len == 0 && rc == 0)
        rc = expiry == UINT64_MAX ? pthread_cond_wait(&e->wake, &e->lock)
                                  : pthread_cond_timedwait(&e->wake, &e->lock, &until);
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
