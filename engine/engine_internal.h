/*
 * What the engine's own files share. `lock` guards what submitting and cancelling threads touch;
 * all else belongs to the thread that steps.
 */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include <fenv.h>
#include <pthread.h>

#include "engine/chat_template.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/generation.h"
#include "engine/model.h"
#include "engine/sample.h"
#include "engine/sched.h"
#include "engine/shards.h"

/* So many threads choose tokens at most, each with scratch memory for a whole vocabulary. */
enum { ENGINE_SAMPLERS_MAX = 8 };

/* What a row of logits of the step that is read gave, where it was chosen ahead of its delivery. */
struct engine_choice {
    const struct request *request; /* NULL: it has left */
    bool is_made;
    struct sample_result result;
};

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

    /* One of the two computes: the CPU with pool and model, or a GPU. */
    struct device *device;
    struct device_sizes device_sizes;
    char why_cpu[512];
    uint64_t *slot_owners; /* (max_requests): numbers of requests, by slot of the device; 0: free */
    struct pool *pool;
    struct model model;
    struct sampler *samplers[ENGINE_SAMPLERS_MAX]; /* the CPU's, as pool and model are */
    size_t n_samplers;
    struct engine_choice *choices; /* (max_requests), by row of logits; on the CPU */
    struct kv kv;
    struct sched sched;
    size_t depth; /* steps that are on their way together: 1 on the CPU */

    /* One step's batch on the CPU: room for token_budget rows. */
    uint32_t *batch_tokens, *batch_logit_rows;
    struct kv_row *batch_rows;
    float *logits;          /* (depth, max_requests, vocab_size); NULL: they stay on the GPU */
    uint32_t *allowed;      /* a mask, ((vocab_size + 31) / 32) words: of one row at a time */
    bool activations_dirty; /* hold what came from prompts */
    struct engine_stats progress;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* something came in, or stopping */
    struct request_queue incoming;
    /* Of each class what waits in `incoming`, and in the scheduler. */
    struct waiting {
        size_t n; /* choices */
        uint64_t n_bytes;
    } arrived[ENGINE_PRIORITIES], waiting[ENGINE_PRIORITIES];
    uint64_t waiting_max; /* bytes of one class */
    struct buf cancelled; /* uint64_t ids */
    uint64_t last_id, last_number;
    struct engine_stats stats; /* a copy of `progress`, renewed at the end of each step */
    char failure[512];         /* why it stopped; "" while it runs */
    bool started, stopping;
    pthread_t thread;
};

/* Bytes of `logits`. */
uint64_t engine_logits_size(const struct engine *e);
/* Bytes of what chooses on the CPU. */
uint64_t engine_samplers_size(const struct engine *e);
/* Bytes of all requests at most: those that wait and, of each class, max_requests that run or made
 * way for others. */
uint64_t engine_requests_size(const struct engine *e);
/* Bytes of a page, where it is. */
uint64_t engine_page_size(const struct engine *e);
/* Rows of logits that are computed at a time for engine_logits. */
size_t engine_chunk_rows(const struct engine *e);

/* engine_backend.c, in the order of their calls: takes the GPU if it is to compute. */
struct err engine_choose_backend(struct engine *e) MUST_USE;
/* Bytes that a KV cache nobody asked for may have. */
uint64_t engine_kv_room(const struct engine *e);
size_t engine_max_pages(const struct engine *e);
void engine_choose_device_sizes(struct engine *e, size_t n_pages);
/* Before anything large is read: does it all fit? */
struct err engine_check_memory(const struct engine *e, size_t n_pages) MUST_USE;
struct err engine_load_weights(struct engine *e) MUST_USE;
/* After its failure the GPU is opened anew and the weights, whose hashes must be the same, are
 * loaded again. */
struct err engine_reload_device(struct engine *e) MUST_USE;
/* What is known of the backend, for engine_info. */
void engine_describe_backend(const struct engine *e, struct engine_info *info);

/* step_sample.c: the n-th row of logits of a step, by its number in progress.n_steps; NULL where
 * they stay on the GPU. */
float *engine_logit_row(const struct engine *e, uint64_t step, size_t n);
/* On the CPU, before any token of the step that is read is delivered: chooses those of all rows
 * that nothing keeps from it, by several threads. */
void engine_choose_ahead(struct engine *e, const struct sched_flight *f);
/* The token that the n-th row of logits of the step that is read gives. */
struct err engine_choose(struct engine *e, const struct request *r, size_t n,
                         struct sample_result *out) MUST_USE;
/* The ids that may come next, of a request that has a mask; valid until the next one's. */
const uint32_t *engine_allowed(struct engine *e, const struct request *r);

/* step_device.c: after each plan: the slots of those that run no more, by whatever end, are free.
 */
void engine_free_slots(struct engine *e);
/* Sends the plan on its way; its rows of logits go there, unless NULL. */
struct err engine_device_launch(struct engine *e, float *logits) MUST_USE;
/* Steps that decode one row each of `n` slots, for 1, 2, 4, ... and all of them. */
struct err engine_device_warm_up(struct engine *e, const struct page_list *pages) MUST_USE;
struct err engine_device_logits(struct engine *e, const uint32_t *tokens, size_t first, size_t n,
                                const struct page_list *pages, float *rows) MUST_USE;

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
