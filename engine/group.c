#include "engine/group.h"

#include <stdlib.h>
#include <string.h>

struct engine_group {
    struct engine *engines[ENGINE_GROUP_MAX];
    size_t n;
    unsigned batch; /* max_requests of each */
    bool no_prefix_cache;
};

static struct err check_gpus(const unsigned *gpus, size_t n)
{
    if (n > ENGINE_GROUP_MAX)
        return err_set(ERR_USAGE, "%zu GPUs, more than %d", n, ENGINE_GROUP_MAX);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (gpus[i] == gpus[k])
                return err_set(ERR_USAGE, "GPU %u is named twice", gpus[i]);
    return err_ok();
}

static bool files_equal(const struct engine_info *a, const struct engine_info *b)
{
    if (a->n_files != b->n_files)
        return false;
    for (size_t i = 0; i < a->n_files; i++)
        if (strcmp(a->files[i].name, b->files[i].name) != 0 ||
            a->files[i].size != b->files[i].size ||
            memcmp(a->files[i].sha256, b->files[i].sha256, SHA256_LEN) != 0)
            return false;
    return true;
}

/* What is said of the first is said of all. */
static struct err check_alike(const struct engine_group *g, size_t i, unsigned gpu)
{
    const struct engine_info *first = engine_info(g->engines[0]),
                             *info = engine_info(g->engines[i]);
    if (strcmp(first->numerics, info->numerics) != 0)
        return err_set(ERR_UNSUPPORTED,
                       "GPU %u computes by %s, the first one by %s: name GPUs of one kind", gpu,
                       info->numerics, first->numerics);
    if (strcmp(first->gpu_uuid, info->gpu_uuid) == 0)
        return err_set(ERR_USAGE, "GPU %u is the first one again, %s", gpu, info->gpu_uuid);
    if (!files_equal(first, info))
        return err_set(ERR_UNTRUE, "the model's files have changed while they were read for GPU %u",
                       gpu);
    return err_ok();
}

/* All take what the first takes. */
static struct err open_one(struct engine_group *g, const char *model_dir,
                           struct engine_options options, unsigned gpu)
{
    options.gpu_index = gpu;
    if (g->n > 0)
        options.max_context = engine_info(g->engines[0])->max_context;
    TRY(engine_open(&g->engines[g->n], model_dir, &options));
    g->n++;
    return g->n > 1 ? check_alike(g, g->n - 1, gpu) : err_ok();
}

static struct err open_all(struct engine_group *g, const char *model_dir,
                           const struct engine_options *options, const unsigned *gpus, size_t n)
{
    TRY(check_gpus(gpus, n));
    if (n == 0)
        return open_one(g, model_dir, *options, options->gpu_index);
    for (size_t i = 0; i < n; i++)
        TRY(err_context(open_one(g, model_dir, *options, gpus[i]), "GPU %u", gpus[i]));
    return err_ok();
}

struct err engine_group_open(struct engine_group **out, const char *model_dir,
                             const struct engine_options *options, const unsigned *gpus, size_t n)
{
    struct engine_group *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_set(ERR_MEMORY, "no memory for engines");
    g->batch = options->max_requests;
    g->no_prefix_cache = options->no_prefix_cache;
    struct err e = open_all(g, model_dir, options, gpus, n);
    if (is_err(e)) {
        engine_group_free(g);
        return e;
    }
    *out = g;
    return err_ok();
}

void engine_group_free(struct engine_group *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->n; i++)
        engine_free(g->engines[i]);
    free(g);
}

size_t engine_group_count(const struct engine_group *g)
{
    return g->n;
}

struct engine *engine_group_at(const struct engine_group *g, size_t i)
{
    return g->engines[i];
}

struct err engine_group_warm_up(struct engine_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        TRY(engine_warm_up(g->engines[i]));
    return err_ok();
}

struct err engine_group_start(struct engine_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        TRY(engine_start(g->engines[i]));
    return err_ok();
}

struct load {
    bool stopped;
    size_t n; /* choices that run or wait */
};

static struct load load_of(struct engine *e)
{
    struct engine_stats stats;
    engine_stats(e, &stats);
    return (struct load){stats.stopped, (size_t)stats.n_running + stats.n_waiting};
}

/* The salt is a hash: its first bytes are as good as any. */
static size_t home_of(const struct engine_group *g, const struct engine_params *params)
{
    uint64_t number = 0;
    memcpy(&number, params->cache_salt, sizeof number);
    return (size_t)(number % g->n);
}

/* g->n: all have stopped. */
static size_t choose(const struct engine_group *g, const struct engine_params *params)
{
    struct load loads[ENGINE_GROUP_MAX];
    size_t least = g->n;
    for (size_t i = 0; i < g->n; i++) {
        loads[i] = load_of(g->engines[i]);
        if (!loads[i].stopped && (least == g->n || loads[i].n < loads[least].n))
            least = i;
    }
    if (least == g->n || !params->has_cache_salt || g->no_prefix_cache)
        return least;
    size_t home = home_of(g, params);
    bool far = loads[home].n > loads[least].n + g->batch;
    return loads[home].stopped || far ? least : home;
}

struct err engine_group_submit(struct engine_group *g, struct engine_place *out,
                               const uint32_t *prompt, size_t n_prompt,
                               const struct engine_params *params, engine_sink *sink, void *context)
{
    struct err e = err_ok();
    /* One that stops between the choice and the request refuses it, and is not chosen again. */
    for (size_t attempt = 0; attempt <= g->n; attempt++) {
        size_t i = choose(g, params);
        struct engine_place place = {g->engines[i < g->n ? i : 0], 0};
        e = engine_submit(place.engine, &place.id, prompt, n_prompt, params, sink, context);
        if (!is_err(e))
            *out = place;
        if (e.code != ERR_IO || i == g->n)
            break;
    }
    return e;
}

size_t engine_group_stopped(struct engine_group *g, struct buf *why)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        BUF_AUTO failure = BUF_INIT;
        engine_failure(g->engines[i], &failure);
        if (failure.len > 0 && n++ == 0)
            buf_append_bytes(why, buf_bytes(&failure));
    }
    return n;
}
