/*
 * Engines of one model, one for each GPU, behind one door: each has the whole model, and a request
 * runs on one of them. Which one changes no bit of its answer: all have one numerics name.
 *
 * A request goes to the engine with the fewest choices that run or wait, the first of equals. One
 * with a cache salt goes to the engine that its salt names, so that it finds what it computed
 * before, unless that one has a whole batch more to do than the least busy, or has stopped.
 *
 * engine_group_submit, _stopped and what they return may be called from any thread. Sinks are
 * called on the thread of their request's engine.
 */
#ifndef ENGINE_GROUP_H
#define ENGINE_GROUP_H

#include "engine/engine.h"

enum { ENGINE_GROUP_MAX = 16 };

struct engine_group;

/* One engine for each of the `n` GPUs (their indices, none twice), or for n = 0 one as `options`
 * say. Opened one after the other; each reads and hashes the model's files, which must be the same
 * each time. Errors are engine_open's, naming the GPU. */
struct err engine_group_open(struct engine_group **out, const char *model_dir,
                             const struct engine_options *options, const unsigned *gpus,
                             size_t n) MUST_USE;
void engine_group_free(struct engine_group *g);

size_t engine_group_count(const struct engine_group *g);
/* The first one serves for all that computes nothing: templates, tokens, defaults. */
struct engine *engine_group_at(const struct engine_group *g, size_t i);

/* engine_warm_up of each. */
struct err engine_group_warm_up(struct engine_group *g) MUST_USE;
/* A thread for each. */
struct err engine_group_start(struct engine_group *g) MUST_USE;

/* Where a request is: engine_cancel(place.engine, place.id). */
struct engine_place {
    struct engine *engine;
    uint64_t id;
};
/* As engine_submit, on an engine that has not stopped. */
struct err engine_group_submit(struct engine_group *g, struct engine_place *out,
                               const uint32_t *prompt, size_t n_prompt,
                               const struct engine_params *params, engine_sink *sink,
                               void *context) MUST_USE;

/* How many have stopped; appends why the first of them did. */
size_t engine_group_stopped(struct engine_group *g, struct buf *why);

#endif
