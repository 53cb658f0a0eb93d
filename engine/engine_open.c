/* Opening a model folder: settings first, then sizes, then the weights, then the memory to work in.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_internal.h"
#include "engine/tokenizer.h"

#define DEFAULT_REQUESTS 16
#define DEFAULT_BUDGET 512
#define DEFAULT_GPU_BUDGET 2048
#define DEFAULT_CACHE_IDLE_S 300 /* between two turns of a conversation */

/* The folder's last component, also for "." and "models/". */
static struct err name_model(struct engine *e, const char *dir)
{
    char *resolved = realpath(dir, NULL);
    if (resolved == NULL)
        return err_errno("cannot resolve the model folder %s", dir);
    const char *slash = strrchr(resolved, '/');
    e->model_id = strdup(slash[1] != 0 ? slash + 1 : "model");
    free(resolved);
    return e->model_id != NULL ? err_ok() : err_set(ERR_MEMORY, "no memory for a name");
}

static struct err in_file(const struct engine *e, struct err err, const char *name)
{
    return is_err(err) ? err_context(err, "%s/%s", e->files.dir, name) : err;
}

/* A mask where the tokenizer's ids have gaps, as those of added tokens may. */
static struct err find_gaps(struct engine *e)
{
    size_t n_present = 0;
    uint32_t *mask = calloc((e->n_sampled_vocab + 31) / 32, sizeof *mask);
    if (mask == NULL)
        return err_set(ERR_MEMORY, "no memory for a mask of %zu tokens", e->n_sampled_vocab);
    for (uint32_t id = 0; id < e->n_sampled_vocab; id++)
        if (tokenizer_has(e->tokenizer, id)) {
            mask[id / 32] |= (uint32_t)1 << id % 32;
            n_present++;
        }
    if (n_present < e->n_sampled_vocab)
        e->sampled_ids = mask;
    else
        free(mask);
    return err_ok();
}

/* Everything but the weights. */
static struct err load_settings(struct engine *e)
{
    struct bytes text;
    TRY(model_files_read(&e->files, "config.json", CONFIG_LEN_MAX, &text));
    TRY(in_file(e, config_parse(&e->config, text), "config.json"));
    TRY(model_files_read_optional(&e->files, "generation_config.json", CONFIG_LEN_MAX, &text));
    e->generation = generation_default;
    if (text.data != NULL)
        TRY(in_file(e, generation_parse(&e->generation, text), "generation_config.json"));
    TRY(model_files_read(&e->files, "tokenizer.json", TOKENIZER_JSON_MAX, &text));
    TRY(in_file(e, tokenizer_new(&e->tokenizer, text), "tokenizer.json"));
    size_t n_tokens = tokenizer_n_tokens(e->tokenizer);
    if (n_tokens == 0 || n_tokens > e->config.vocab_size)
        return err_set(ERR_MALFORMED,
                       "%s: tokenizer.json has ids up to %zu, but \"vocab_size\" in config.json is "
                       "%u; they are not of one model",
                       e->files.dir, n_tokens, e->config.vocab_size);
    e->n_sampled_vocab = n_tokens;
    TRY(find_gaps(e));
    return engine_load_chat(e);
}

/* What was asked for is had or refused; the default is the model's own. */
static struct err choose_context(struct engine *e)
{
    struct engine_options *o = &e->options;
    if (o->max_context > e->config.max_positions)
        return err_set(ERR_USAGE,
                       "a context of %u tokens was asked for, but the model takes at most %u; ask "
                       "for no more than that",
                       o->max_context, e->config.max_positions);
    if (o->max_context == 0)
        o->max_context = e->config.max_positions;
    return err_ok();
}

/* A context that nobody asked for shrinks to what the KV cache holds. */
static struct err fit_context(struct engine_options *o, bool asked, size_t n_pages)
{
    uint64_t n_tokens = (uint64_t)n_pages * KV_PAGE_TOKENS;
    if (o->max_context <= n_tokens)
        return err_ok();
    if (asked)
        return err_set(ERR_USAGE,
                       "a context of %u tokens was asked for, but the KV cache of %" PRIu64
                       " bytes holds %" PRIu64 "; ask for a smaller context or a larger cache",
                       o->max_context, o->kv_bytes, n_tokens);
    o->max_context = (unsigned)n_tokens;
    return err_ok();
}

/* Fills in the defaults that depend on the model; the KV cache's pages. */
static struct err choose_options(struct engine *e, size_t *n_pages)
{
    struct engine_options *o = &e->options;
    if (o->n_threads == 0)
        o->n_threads = pool_cpus();
    if (o->max_requests == 0)
        o->max_requests = DEFAULT_REQUESTS;
    if (o->token_budget == 0)
        o->token_budget = e->device != NULL ? DEFAULT_GPU_BUDGET : DEFAULT_BUDGET;
    if (o->cache_idle_s == 0)
        o->cache_idle_s = DEFAULT_CACHE_IDLE_S;
    if (o->n_threads > 1024 || o->max_requests > 65536 || o->token_budget > 1 << 20)
        return err_set(ERR_USAGE, "at most 1024 threads, 65536 requests and a token budget of "
                                  "1048576 are possible");
    bool asked = o->max_context != 0;
    TRY(choose_context(e));
    uint64_t page = engine_page_size(e);
    if (o->kv_bytes == 0) {
        uint64_t room = engine_kv_room(e);
        bool overflow = __builtin_mul_overflow(page * kv_pages_for(o->max_context),
                                               (uint64_t)o->max_requests, &o->kv_bytes);
        if (overflow || o->kv_bytes > room)
            o->kv_bytes = room;
    }
    *n_pages = o->kv_bytes / page;
    if (*n_pages == 0)
        return err_set(ERR_LIMIT,
                       "a KV cache of %" PRIu64 " bytes holds not even one page of %d tokens "
                       "(%" PRIu64 " bytes); allow more",
                       o->kv_bytes, KV_PAGE_TOKENS, page);
    if (*n_pages > engine_max_pages(e))
        *n_pages = engine_max_pages(e);
    TRY(fit_context(o, asked, *n_pages));
    e->waiting_max = request_waiting_max(o->max_context);
    return err_ok();
}

uint64_t engine_logits_size(const struct engine *e)
{
    bool here = e->device == NULL || e->options.gpu_logits;
    uint64_t row = e->config.vocab_size * sizeof(float);
    return here ? e->depth * e->options.max_requests * row : 0;
}

uint64_t engine_requests_size(const struct engine *e)
{
    const struct engine_options *o = &e->options;
    uint64_t running = request_running_size(o->max_context, e->config.vocab_size);
    return ENGINE_PRIORITIES * (e->waiting_max + o->max_requests * running);
}

static struct err allocate_batch(struct engine *e)
{
    const struct engine_options *o = &e->options;
    e->batch_tokens = calloc(o->token_budget, sizeof *e->batch_tokens);
    e->batch_rows = calloc(o->token_budget, sizeof *e->batch_rows);
    e->batch_logit_rows = calloc(o->token_budget, sizeof *e->batch_logit_rows);
    if (e->batch_tokens == NULL || e->batch_rows == NULL || e->batch_logit_rows == NULL)
        return err_set(ERR_MEMORY, "no memory for batches of %u tokens", o->token_budget);
    return err_ok();
}

static struct err allocate_rows(struct engine *e)
{
    uint64_t len = engine_logits_size(e);
    e->allowed = calloc((e->config.vocab_size + 31) / 32, sizeof *e->allowed);
    if (len > 0)
        e->logits = calloc(1, len);
    if (e->allowed == NULL || (len > 0 && e->logits == NULL))
        return err_set(ERR_MEMORY, "no memory for %u rows of logits", e->options.max_requests);
    return err_ok();
}

static size_t n_samplers(const struct engine *e)
{
    size_t n = e->options.n_threads < e->options.max_requests ? e->options.n_threads
                                                              : e->options.max_requests;
    return n < ENGINE_SAMPLERS_MAX ? n : ENGINE_SAMPLERS_MAX;
}

uint64_t engine_samplers_size(const struct engine *e)
{
    return n_samplers(e) * sampler_size(e->n_sampled_vocab) +
           (uint64_t)e->options.max_requests * sizeof *e->choices;
}

static struct err allocate_samplers(struct engine *e)
{
    e->choices = calloc(e->options.max_requests, sizeof *e->choices);
    if (e->choices == NULL)
        return err_set(ERR_MEMORY, "no memory for the tokens of %u requests",
                       e->options.max_requests);
    for (size_t n = n_samplers(e); e->n_samplers < n; e->n_samplers++)
        TRY(sampler_new(&e->samplers[e->n_samplers], e->n_sampled_vocab));
    return err_ok();
}

static struct err prepare_cpu(struct engine *e, size_t n_pages)
{
    const struct backend *backend = NULL;
    TRY(backend_get(&backend, e->options.backend, e->weights.has_bf16));
    TRY(pool_new(&e->pool, e->options.n_threads));
    TRY(model_init(&e->model, backend, e->pool, &e->config, &e->weights, e->options.token_budget,
                   e->options.max_context));
    TRY(allocate_samplers(e));
    TRY(allocate_batch(e));
    return kv_init(&e->kv, &e->config, n_pages, e->pool);
}

static struct err prepare_device(struct engine *e, size_t n_pages)
{
    const struct kv_store store = device_kv_store(e->device);
    e->slot_owners = calloc(e->options.max_requests, sizeof *e->slot_owners);
    if (e->slot_owners == NULL)
        return err_set(ERR_MEMORY, "no memory for %u slots", e->options.max_requests);
    return kv_init_elsewhere(&e->kv, &e->config, n_pages, &store);
}

static struct err prepare(struct engine *e, size_t n_pages)
{
    TRY(e->device != NULL ? prepare_device(e, n_pages) : prepare_cpu(e, n_pages));
    _Static_assert((int)DEVICE_FLIGHTS <= SCHED_FLIGHTS_MAX, "a plan is kept of each");
    TRY(sched_init(&e->sched, &e->kv, e->options.max_requests));
    return allocate_rows(e);
}

static uint64_t matrix_size(const struct weight *w)
{
    return (uint64_t)w->n_rows * w->n_cols * (w->type == WEIGHT_F32 ? 4 : 2);
}

static uint64_t decode_weight_bytes(const struct engine *e)
{
    uint64_t size = matrix_size(&e->weights.output);
    for (unsigned i = 0; i < e->config.n_layers; i++) {
        const struct layer_weights *l = &e->weights.layers[i];
        const struct linear *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
            size += matrix_size(&all[j]->matrix);
    }
    return size + matrix_size(&e->weights.embed) / e->config.vocab_size;
}

static struct err describe(struct engine *e)
{
    model_files_sort(&e->files);
    e->file_list = calloc(e->files.n, sizeof *e->file_list);
    if (e->file_list == NULL)
        return err_set(ERR_MEMORY, "no memory for the list of files");
    for (size_t i = 0; i < e->files.n; i++)
        e->file_list[i] = e->files.items[i].info;
    e->info = (struct engine_info){.model_id = e->model_id,
                                   .architecture = e->config.architecture,
                                   .vocab_size = e->config.vocab_size,
                                   .n_layers = e->config.n_layers,
                                   .max_context = e->options.max_context,
                                   .decode_weight_bytes = decode_weight_bytes(e),
                                   .kv_position_bytes = engine_page_size(e) / KV_PAGE_TOKENS,
                                   .kv_window = e->config.sliding_window,
                                   .n_parameters = e->weights.n_parameters,
                                   .files = e->file_list,
                                   .n_files = e->files.n};
    engine_describe_backend(e, &e->info);
    e->progress.n_pages = e->stats.n_pages = (unsigned)e->kv.cache.n_pages;
    return err_ok();
}

static struct err load(struct engine *e, const char *model_dir)
{
    size_t n_pages = 0;
    TRY(model_files_init(&e->files, model_dir));
    TRY(name_model(e, model_dir));
    TRY(load_settings(e));
    TRY(shards_find(&e->shards, &e->files));
    TRY(engine_choose_backend(e));
    e->depth = e->device != NULL ? DEVICE_FLIGHTS : 1;
    TRY(choose_options(e, &n_pages));
    engine_choose_device_sizes(e, n_pages);
    TRY(engine_check_memory(e, n_pages));
    TRY(engine_load_weights(e));
    TRY(prepare(e, n_pages));
    return describe(e);
}

/* Waits on it are timed by the clock of engine_now_ms. */
static void init_wake(pthread_cond_t *wake)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct err engine_open(struct engine **out, const char *model_dir,
                       const struct engine_options *options)
{
    struct engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return err_set(ERR_MEMORY, "no memory for an engine");
    pthread_mutex_init(&e->lock, NULL);
    init_wake(&e->wake);
    if (options != NULL)
        e->options = *options;
    fenv_t saved;
    engine_enter_numerics(&saved);
    struct err err = load(e, model_dir);
    engine_leave_numerics(&saved);
    if (is_err(err)) {
        engine_free(e);
        return err;
    }
    e->options.backend = e->info.backend; /* the caller's text is not ours to keep */
    *out = e;
    return err_ok();
}
