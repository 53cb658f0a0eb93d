/*
 * What the engine's own files share. `lock` guards what submitting and cancelling threads touch;
 * all else belongs to the thread that steps.
 */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include <fenv.h>
#include <pthread.h>

#include "engine/chat_template.h"
#include "engine/engine.h"
#include "engine/generation.h"
#include "engine/model.h"
#include "engine/sample.h"
#include "engine/sched.h"
#include "engine/shards.h"

struct engine {
    struct engine_options options; /* with the defaults filled in */
    struct engine_info info;
    char *model_id;
    struct engine_file *file_list; /* what info.files points to */
    struct model_files files;
    struct shards shards;
    struct model_config config;
    struct generation_config generation;
    struct weights weights;
    struct tokenizer *tokenizer;
    struct chat_template *template, *tool_template; /* NULL: the model has none */
    json_t *special_tokens; /* an object of names and texts for templates: "bos_token" and so on */
    /* Ids that can be sampled, those that the tokenizer has: all below the first number but those
     * whose bit in the mask (struct sample_request) is 0; NULL where there are no gaps. */
    size_t n_sampled_vocab;
    uint32_t *sampled_ids;

    struct pool *pool;
    struct model model;
    struct kv kv;
    struct sampler *sampler;
    struct sched sched;

    /* One step's batch: room for token_budget rows, max_requests rows of logits. */
    uint32_t *batch_tokens, *batch_logit_rows;
    struct kv_row *batch_rows;
    float *logits;
    bool activations_dirty; /* hold what came from prompts */
    struct engine_stats progress;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something came in, or stopping */
    struct request_queue incoming;
    /* Choices of each class that wait in `incoming`, and in the scheduler. */
    size_t n_incoming[ENGINE_PRIORITIES], n_waiting[ENGINE_PRIORITIES];
    struct buf cancelled; /* uint64_t ids */
    uint64_t last_id, last_number;
    struct engine_stats stats; /* a copy of `progress`, renewed at the end of each step */
    bool started, stopping;
    pthread_t thread;
};

/* Bytes of `logits`. */
uint64_t engine_logits_size(const struct engine *e);

/* step.c: the floating-point environment of every computation, whatever the caller's is; `saved`
 * brings the caller's back. */
void engine_enter_numerics(fenv_t *saved);
void engine_leave_numerics(const fenv_t *saved);

/* step.c: a clock that never goes back, and how long idle pages are kept on it. */
uint64_t engine_now_ms(void);
uint64_t engine_cache_age_ms(const struct engine *e);

/* chat_load.c: reads tokenizer_config.json and the templates. */
struct err engine_load_chat(struct engine *e) MUST_USE;
/* The text of tokenizer_config.json; its templates count only where no files hold any. */
struct err engine_parse_chat_settings(struct engine *e, struct bytes settings,
                                      bool has_files) MUST_USE;
/* The template of a chat with or without tools; ERR_UNSUPPORTED when the model has none. */
struct err engine_find_template(const struct engine *e, bool has_tools,
                                const struct chat_template **out) MUST_USE;

#endif
