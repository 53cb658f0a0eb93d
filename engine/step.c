/* One step of the engine: take what came in, plan, compute, sample, deliver. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine_internal.h"

enum { EXPIRE_LEN = 256 << 20 }; /* bytes; some ten milliseconds of one thread */

void engine_enter_numerics(fenv_t *saved)
{
    fegetenv(saved);
    fesetenv(FE_DFL_ENV);
}

void engine_leave_numerics(const fenv_t *saved)
{
    fesetenv(saved);
}

uint64_t engine_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t engine_cache_age_ms(const struct engine *e)
{
    return (uint64_t)e->options.cache_idle_s * 1000;
}

/* Old pages can be many: a step zeroes as many as it can without holding up the others for long,
 * and the next one goes on. */
static void expire_pages(struct engine *e)
{
    size_t n = EXPIRE_LEN / kv_page_size(&e->config);
    kv_expire(&e->kv, engine_cache_age_ms(e), n > 0 ? n : 1);
}

static void send_event(struct engine *e, struct request *r, struct engine_event *event)
{
    event->n_prompt = (unsigned)r->n_prompt;
    event->n_generated = (unsigned)(r->n_tokens - r->n_prompt);
    event->n_cached = (unsigned)r->n_cached;
    event->choice = r->params.choice;
    event->seed = r->seed;
    if (event->finish != ENGINE_UNFINISHED)
        e->progress.n_finished++;
    r->sink(r->context, event);
}

/* The last event of a request that ends without a token. */
static void end_request(struct engine *e, struct request *r, enum engine_finish finish,
                        const char *error)
{
    sched_remove(&e->sched, r);
    struct engine_event event = {.finish = finish, .error = error};
    send_event(e, r, &event);
    request_free(r);
}

/* All choices of one id; none if they have finished, or were never there. */
static void cancel(struct engine *e, uint64_t id)
{
    struct request *r;
    while ((r = sched_find(&e->sched, id)) != NULL)
        end_request(e, r, ENGINE_CANCELLED, NULL);
}

/* Under the lock. */
static void count_waiting(struct engine *e)
{
    e->stats.waiting_bytes = 0;
    for (size_t i = 0; i < ENGINE_PRIORITIES; i++) {
        const struct request_queue *q = &e->sched.waiting[i];
        e->waiting[i] = (struct waiting){q->n, q->n_bytes};
        e->stats.waiting_bytes += q->n_bytes;
    }
}

static bool take_incoming(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    sched_add(&e->sched, &e->incoming);
    memset(e->arrived, 0, sizeof e->arrived);
    count_waiting(e); /* they still bound what may come in */
    e->stats.n_waiting = (unsigned)sched_n_waiting(&e->sched);
    BUF_AUTO cancelled = e->cancelled;
    e->cancelled = BUF_INIT;
    pthread_mutex_unlock(&e->lock);
    for (size_t at = 0; at < cancelled.len; at += sizeof(uint64_t)) {
        uint64_t id;
        memcpy(&id, cancelled.data + at, sizeof id);
        cancel(e, id);
    }
    return cancelled.len > 0;
}

static struct batch build_batch(struct engine *e, float *logits)
{
    struct batch b = {.tokens = e->batch_tokens,
                      .rows = e->batch_rows,
                      .logit_rows = e->batch_logit_rows,
                      .logits = logits};
    for (size_t i = 0; i < e->sched.n_items; i++) {
        const struct request *r = e->sched.items[i].request;
        size_t n = e->sched.items[i].n_rows;
        for (size_t j = 0; j < n; j++, b.n_rows++) {
            e->batch_tokens[b.n_rows] = r->tokens[r->n_computed + j];
            e->batch_rows[b.n_rows] =
                (struct kv_row){(uint32_t)(r->n_computed + j), r->pages.pages};
        }
        if (e->sched.items[i].chooses)
            e->batch_logit_rows[b.n_logits++] = (uint32_t)(b.n_rows - 1);
    }
    return b;
}

/* Appends to `text` what the newest token lets the sink see, and says whether the answer ends. */
static struct err advance_text(const struct engine *e, struct request *r, struct buf *text,
                               enum engine_finish *finish)
{
    uint32_t id = r->tokens[r->n_tokens - 1];
    struct buf piece __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    if (request_ends_with(r, id))
        *finish = ENGINE_STOP;
    else
        TRY(detokenizer_next(&r->detokenizer, e->tokenizer, id, &piece));
    if (*finish == ENGINE_UNFINISHED && r->n_tokens == r->n_max)
        *finish = ENGINE_LENGTH;
    if (*finish != ENGINE_UNFINISHED)
        detokenizer_finish(&r->detokenizer, &piece);
    if (r->n_tokens - r->n_prompt <= r->params.min_tokens)
        buf_append_bytes(text, buf_bytes(&piece)); /* stop strings are looked for behind it */
    else if (output_push(&r->output, buf_bytes(&piece), text))
        *finish = ENGINE_STOP;
    else if (*finish != ENGINE_UNFINISHED)
        output_finish(&r->output, text);
    return err_ok();
}

/* `result` must live as long as the event. */
static struct err sample_next(struct engine *e, struct request *r, size_t n,
                              struct engine_event *event, struct sample_result *result)
{
    TRY(engine_choose(e, r, n, result));
    TRY(request_append(r, result->token.id));
    event->logits = engine_logit_row(e, e->progress.n_steps, n);
    event->has_token = true;
    event->token = result->token;
    event->top = result->top;
    event->n_top = result->n_top;
    return err_ok();
}

/* One token of one request, from the step's n-th row of logits: turned to text, given to the sink.
 */
static void deliver(struct engine *e, struct request *r, size_t n)
{
    struct sample_result result;
    struct engine_event event = {.finish = ENGINE_UNFINISHED};
    struct buf text __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    struct err err = sample_next(e, r, n, &event, &result);
    if (!is_err(err))
        err = advance_text(e, r, &text, &event.finish);
    if (is_err(err)) {
        end_request(e, r, ENGINE_FAILED, err_message());
        return;
    }
    e->progress.n_generated_tokens++;
    event.text = buf_bytes(&text);
    if (event.finish == ENGINE_UNFINISHED) {
        send_event(e, r, &event);
        return;
    }
    /* Its pages are free again before its sink hears of the end. */
    sched_remove(&e->sched, r);
    send_event(e, r, &event);
    request_free(r);
}

static void stop_engine(struct engine *e, const char *why)
{
    pthread_mutex_lock(&e->lock);
    snprintf(e->failure, sizeof e->failure, "%s", why);
    e->progress.stopped = true;
    pthread_mutex_unlock(&e->lock);
}

static void refuse_waiting(struct engine *e)
{
    for (struct request *r; (r = sched_first_waiting(&e->sched)) != NULL;)
        end_request(e, r, ENGINE_FAILED, e->failure);
}

/* What it was computing is lost, and so is its cache: those that run fail. Those that wait go on
 * when the GPU comes back, and fail too when it does not. */
static void lose_device(struct engine *e)
{
    char why[512];
    snprintf(why, sizeof why, "the GPU failed: %s", err_message());
    e->progress.n_gpu_failures++;
    sched_lose_flights(&e->sched);
    while (e->sched.n_running > 0)
        end_request(e, e->sched.running[0], ENGINE_FAILED, why);
    kv_expire_all(&e->kv);
    if (e->options.gpu_recovers && !is_err(engine_reload_device(e)))
        return;
    if (e->options.gpu_recovers)
        snprintf(why, sizeof why, "the GPU failed and did not come back: %s", err_message());
    stop_engine(e, why);
    refuse_waiting(e);
}

/* The plan's rows through the model; logits of those that end what is there of their sequence. */
static struct err compute(struct engine *e)
{
    float *logits = engine_logit_row(e, e->progress.n_steps + e->sched.n_flights, 0);
    e->activations_dirty = true;
    if (e->device != NULL)
        return engine_device_launch(e, logits);
    struct batch b = build_batch(e, logits);
    model_forward(&e->model, &e->kv.cache, &b);
    return err_ok();
}

static void count_prompt_tokens(struct engine *e)
{
    for (size_t i = 0; i < e->sched.n_items; i++) {
        const struct request *r = e->sched.items[i].request;
        size_t n = e->sched.items[i].n_rows;
        if (r->n_computed < r->n_prompt)
            e->progress.n_prompt_tokens +=
                n < r->n_prompt - r->n_computed ? n : r->n_prompt - r->n_computed;
    }
}

static void launch_plan(struct engine *e)
{
    struct err err = compute(e);
    if (is_err(err)) {
        lose_device(e);
        return;
    }
    count_prompt_tokens(e);
    sched_launch(&e->sched);
}

/* The oldest step on its way: its tokens to those who are still there. */
static void read_step(struct engine *e)
{
    const struct sched_flight *f = &e->sched.flights[0];
    if (e->device != NULL && is_err(device_read(e->device))) {
        lose_device(e);
        return;
    }
    if (e->device == NULL)
        engine_choose_ahead(e, f);
    size_t n = 0;
    for (size_t i = 0; i < f->n_items; i++) {
        struct request *r = f->items[i].request;
        if (f->items[i].chooses && r != NULL) {
            sched_read(&e->sched, r);
            deliver(e, r, n);
        }
        n += f->items[i].chooses ? 1 : 0;
    }
    sched_land(&e->sched);
    e->progress.n_steps++;
}

static void wipe_cpu(struct engine *e)
{
    model_wipe(&e->model);
    for (size_t i = 0; i < e->n_samplers; i++)
        sampler_wipe(e->samplers[i]);
    explicit_bzero(e->choices, e->options.max_requests * sizeof *e->choices);
    explicit_bzero(e->batch_tokens, e->options.token_budget * sizeof *e->batch_tokens);
}

/* Also the device: what it cannot wipe any more is lost with it. */
static void wipe_when_idle(struct engine *e)
{
    if (!e->activations_dirty)
        return;
    if (e->device == NULL)
        wipe_cpu(e);
    else if (!e->progress.stopped && is_err(device_wipe(e->device)))
        lose_device(e);
    if (e->logits != NULL)
        explicit_bzero(e->logits, engine_logits_size(e));
    e->activations_dirty = false;
}

static void publish_stats(struct engine *e)
{
    struct engine_stats *s = &e->progress;
    s->n_running = (unsigned)e->sched.n_running;
    s->n_waiting = (unsigned)sched_n_waiting(&e->sched);
    s->n_pages = (unsigned)e->kv.cache.n_pages;
    s->n_pages_used = (unsigned)(e->kv.cache.n_pages - e->kv.n_free - e->kv.n_idle);
    s->n_pages_cached = (unsigned)e->kv.n_idle;
    s->n_preempted = e->sched.n_preempted;
    s->n_prefix_queries = e->sched.n_prefix_queries;
    s->n_prefix_hits = e->sched.n_prefix_hits;
    s->n_evicted = e->kv.n_evicted;
    s->n_expired = e->kv.n_expired;
    pthread_mutex_lock(&e->lock);
    e->stats = *s;
    count_waiting(e);
    pthread_mutex_unlock(&e->lock);
}

/* A waiting request that there was no memory for when its turn came. */
static bool end_refused(struct engine *e)
{
    if (e->sched.refused == NULL)
        return false;
    end_request(e, e->sched.refused, ENGINE_FAILED,
                "there is no memory for its answer; ask for fewer tokens or try again later");
    return true;
}

/* Launches what can be planned, and reads the oldest step where no further one may be launched
 * before that, or none can be planned. False when there was nothing to do. */
static bool advance(struct engine *e)
{
    sched_plan(&e->sched, e->options.token_budget);
    bool refused = end_refused(e);
    engine_free_slots(e);
    bool planned = e->sched.n_items > 0;
    if (planned)
        launch_plan(e);
    size_t n_flights = e->sched.n_flights;
    if (n_flights == e->depth || (!planned && n_flights > 0))
        read_step(e);
    else if (!planned && !refused)
        wipe_when_idle(e);
    return planned || refused || n_flights > 0;
}

bool engine_step(struct engine *e)
{
    fenv_t saved;
    engine_enter_numerics(&saved);
    if (e->device != NULL && !e->progress.stopped && is_err(device_enter(e->device)))
        lose_device(e);
    e->kv.now_ms = engine_now_ms();
    expire_pages(e);
    bool busy = take_incoming(e);
    if (e->progress.stopped)
        refuse_waiting(e);
    busy |= advance(e);
    publish_stats(e);
    engine_leave_numerics(&saved);
    return busy;
}
