/*
 * The engine: a model folder in, text out. It promises that a request's answer depends on the
 * request and the model alone, bit for bit: never on batch mates, chunking, page placement or the
 * number of threads (docs/NUMERICS.md).
 *
 * Threads: engine_submit, engine_cancel and the info functions may be called from any thread. Sinks
 * are called on the thread that steps the engine; a sink must not block and must not call the
 * engine, except engine_cancel.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <jansson.h>

#include "common/buf.h"
#include "common/hash.h"

struct engine;
struct gpu_backend;

enum {
    ENGINE_LOGPROBS_MAX = 20, /* alternatives that one token can report */
    ENGINE_STOP_MAX = 16,     /* stop strings of one request */
    ENGINE_STOP_LEN_MAX = 256,
    ENGINE_STOP_IDS_MAX = 64,  /* stop tokens of one request */
    ENGINE_BIAS_MAX = 1024,    /* tokens with a bias in one request */
    ENGINE_WAITING_MAX = 1024, /* choices of one class that may wait */
    ENGINE_CHOICES_MAX = 64,   /* of one request */
};

/* Interactive work goes first: a step's rows, pages and places are given to batch work only when no
 * interactive request wants them, and are taken back when one comes. Within a class, first come
 * first served. */
enum engine_priority { ENGINE_INTERACTIVE, ENGINE_BATCH, ENGINE_PRIORITIES };

struct engine_options {
    unsigned n_threads;    /* 0: one per CPU that this process may use */
    unsigned max_requests; /* rows that decode together; 0: 16 */
    unsigned max_context;  /* tokens of prompt and answer together; 0: what model and cache allow */
    uint64_t kv_bytes;     /* memory for the KV cache; 0: enough for max_requests full contexts,
                              at most a quarter of the machine's memory */
    unsigned token_budget; /* tokens of one step, decode and prefill together; 0: 512 */
    bool no_prefix_cache;  /* cache salts are passed over: no request finds another's pages */
    unsigned cache_idle_s; /* cached pages that nobody used for so long are zeroed; 0: 300 */
    /* What computes; borrowed for the call of engine_open. "auto" or NULL: a GPU if there is one
     * that works and can compute this model, else the CPU; "cuda": the GPU or nothing; "cpu": the
     * fastest set of this machine for the model's types of weights; or a name of kernels/backend.h.
     */
    const char *backend;
    const struct gpu_backend *gpu; /* kernels/cuda/gpu_backend.h; NULL: there is no GPU */
    unsigned gpu_index;            /* of several */
    bool gpu_recovers; /* after a failure of the GPU its weights are loaded again; else the engine
                          stops: every request fails, and engine_submit refuses with the reason */
    bool gpu_logits;   /* a GPU's rows of logits are copied here for events: for comparison */
};

/* One measured file of the model folder: what was hashed is what is used. */
struct engine_file {
    char name[256]; /* relative to the folder */
    uint64_t size;
    uint8_t sha256[SHA256_LEN];
};

struct engine_info {
    const char *model_id;     /* the folder's last component */
    const char *architecture; /* config.json's, such as "LlamaForCausalLM" */
    const char *numerics;     /* the numerics name, such as "ref-1" */
    const char *backend;      /* "cuda", or the CPU's set, such as "avx2" */
    const char *device;       /* the GPU's name; "" on the CPU */
    char gpu_uuid[41];        /* "GPU-" and 36 characters, as NVML writes it; "" on the CPU */
    const char *why_cpu;      /* why "auto" took no GPU; "" if it did or was not asked for */
    bool has_device_code;     /* a GPU computes with code that the program holds ... */
    uint8_t device_code[SHA256_LEN]; /* ... of this hash */
    unsigned vocab_size, n_layers, max_context;
    /* What one step of one decoding row reads: every matrix once (norms and biases, a few KiB, are
     * not counted), but of the embedding matrix one row; and of the cache the keys and values of
     * each position that the row sees, of all layers. A row sees all positions up to its own, or
     * the last kv_window of them (0: all). */
    uint64_t decode_weight_bytes, kv_position_bytes;
    unsigned kv_window;
    uint64_t n_parameters;
    const struct engine_file *files; /* sorted bytewise by name */
    size_t n_files;
};

/* Reads and hashes every file once (config, generation config, tokenizer, template, weights) and
 * checks all shapes. Errors name the file, the reason and the remedy: a file that is missing,
 * truncated or corrupt; an architecture, key or value that is not supported; too little memory. */
struct err engine_open(struct engine **out, const char *model_dir,
                       const struct engine_options *options) MUST_USE;
/* Stops the stepping thread if there is one; ends requests in flight without calling their sinks;
 * zeroes what held prompts. */
void engine_free(struct engine *e);

/* Valid as long as the engine. */
const struct engine_info *engine_info(const struct engine *e);

/* Added to one token's logit: -100 to 100. */
struct engine_bias {
    uint32_t id;
    float bias;
};

/* Which tokens may come next in one choice's answer: clears the bits of those that may not. All of
 * `allowed`, ((vocab_size + 31) / 32) words, id % 32 of word id / 32, is 1 before. Called before
 * each token on the thread that steps the engine; must not block nor call the engine. If it allows
 * nothing, the request fails. */
typedef void engine_mask(void *context, unsigned choice, const uint32_t *answer, size_t n_answer,
                         uint32_t *allowed);

/* Sampling and stopping. engine_params_default() gives the model's own defaults
 * (generation_config.json). */
struct engine_params {
    float temperature;                         /* 0: greedy */
    float top_p, min_p;                        /* 1 and 0: off */
    unsigned top_k;                            /* 0: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    float repetition_penalty;                  /* 1: off */
    bool has_seed;                             /* else one is drawn */
    uint64_t seed;
    unsigned choice;    /* index of the first choice: part of the random key */
    unsigned n_choices; /* choice to choice + n_choices - 1 are answered, from one prompt that is
                           computed once; each as if it had been asked for alone. 0: one */
    enum engine_priority priority;
    /* Whoever knows the same 32 bytes shares computed prompts with this request, and can tell by
     * the time to its first token whether a prompt with the same beginning was there not long ago.
     * So a salt is a client's secret. Without one the request shares with nobody. */
    bool has_cache_salt;
    uint8_t cache_salt[SHA256_LEN];
    unsigned max_tokens; /* 0: as many as the context holds */
    unsigned n_logprobs; /* alternatives to report, 0 to 20 */
    bool logprobs;
    const char *const *stop;  /* stop strings, borrowed for the call of engine_submit */
    size_t n_stop;            /* at most 16, each 1 to 256 bytes */
    const uint32_t *stop_ids; /* tokens that end the answer as EOS does; borrowed as `stop` is */
    size_t n_stop_ids;        /* at most 64 */
    unsigned min_tokens;      /* before the answer has that many tokens it is not ended by EOS, stop
                                 tokens or stop strings; at most max_tokens */
    bool ignore_eos;          /* EOS is a token like others; stop_ids still end the answer */
    const struct engine_bias *logit_bias; /* borrowed as `stop` is; each id once */
    size_t n_logit_bias;                  /* at most 1,024 */
    engine_mask *mask; /* NULL: all tokens may come; a request with one waits for each token */
    void *mask_context;
};
void engine_params_default(const struct engine *e, struct engine_params *out);

/* Renders the model's chat template over `chat`: an array of messages, or an object with "messages"
 * and, each optional, "tools" and "documents" (arrays, given to the template as they are) and
 * "add_generation_prompt" (true unless given). Messages are OpenAI-style (objects with "role"
 * and "content", content a string or an array of {"type":"text","text":...}, joined by newlines).
 * Then tokenizes the whole: the ids are those of `transformers`, except
 * that special tokens in users' text stay text. ERR_USAGE for messages that the template refuses or
 * that are not messages (other types of parts, named) and for other keys, ERR_UNSUPPORTED when the
 * model has no template. Appends u32 token ids to `out`. */
struct err engine_chat_tokens(const struct engine *e, const json_t *chat, struct buf *out) MUST_USE;
/* Plain text with the tokenizer's own BOS rule; special tokens stay text. */
struct err engine_text_tokens(const struct engine *e, struct bytes text, struct buf *out) MUST_USE;

enum engine_finish {
    ENGINE_UNFINISHED,
    ENGINE_STOP,   /* an EOS token, a stop token or a stop string */
    ENGINE_LENGTH, /* max_tokens, or the context is full */
    ENGINE_CANCELLED,
    ENGINE_FAILED,
};

struct engine_logprob {
    uint32_t id;
    float logprob;
};

struct engine_event {
    unsigned choice;   /* its index */
    struct bytes text; /* new whole UTF-8 characters; may be empty; never part of a stop string */
    bool has_token;    /* one token was sampled in this event (an end token has no text) */
    struct engine_logprob token;      /* its logprob is 0 unless logprobs were asked for */
    const struct engine_logprob *top; /* n_top alternatives, best first; fewer than n_logprobs
                                         where fewer tokens have a probability */
    size_t n_top;
    const float *logits; /* (vocab_size) that it was chosen from; NULL: they stayed on a GPU */
    enum engine_finish
        finish;        /* set in the request's last event, its only one without a successor */
    const char *error; /* with ENGINE_FAILED */
    unsigned n_prompt, n_generated; /* tokens so far */
    unsigned n_cached;              /* of the prompt: found in the cache, not computed */
    uint64_t seed;                  /* the one used */
};

typedef void engine_sink(void *context, const struct engine_event *event);

/* Queues a request: at least one prompt token, all of its choices or none. ERR_LIMIT when prompt
 * and max_tokens exceed the context (with the numbers), which is never more than the KV cache
 * holds, so whatever is queued will run; ERR_BUSY when more than 1,024 choices of its class would
 * wait, or they would hold more memory than 64 MiB, or than the largest request where that is more
 * (with the numbers). The sink is called until an event with `finish` set has come for each choice,
 * and not after. */
struct err engine_submit(struct engine *e, uint64_t *id, const uint32_t *prompt, size_t n_prompt,
                         const struct engine_params *params, engine_sink *sink,
                         void *context) MUST_USE;
/* Takes effect at the next step; the sink still gets the last event (ENGINE_CANCELLED) of each
 * choice that had not finished. An unknown or finished id is ignored. */
void engine_cancel(struct engine *e, uint64_t id);

/* One step: interactive work, then batch work; of each decode rows first, then prefill chunks,
 * under the token budget. On a GPU it is launched, and the tokens of the step before it are read
 * and given to sinks. False when there was nothing to do. Not while engine_start's thread runs. */
bool engine_step(struct engine *e);
/* Before engine_start: computes a few tokens of nobody by every way that a GPU's steps can go, so
 * that what its driver makes at the first use is made. Does nothing on the CPU. */
struct err engine_warm_up(struct engine *e) MUST_USE;
/* Steps on a thread of the engine's own until engine_free. */
struct err engine_start(struct engine *e) MUST_USE;

/* The text of one token, as bytes (may be part of a UTF-8 character). For logprobs. */
struct err engine_token_bytes(const struct engine *e, uint32_t id, struct buf *out) MUST_USE;

struct engine_stats {
    uint64_t n_steps, n_prompt_tokens, n_generated_tokens, n_finished;
    unsigned n_running, n_waiting; /* choices */
    uint64_t waiting_bytes;        /* memory that those hold which wait */
    unsigned n_pages, n_pages_used;
    unsigned n_pages_cached; /* held by no request, kept for requests with the same salt */
    uint64_t n_preempted;    /* times that a request gave up its pages and was recomputed */
    /* Prompt tokens that were looked up in the cache (of requests with a salt), and found. */
    uint64_t n_prefix_queries, n_prefix_hits;
    uint64_t n_evicted, n_expired; /* cached pages zeroed: for room, for age */
    uint64_t n_gpu_failures;
    bool stopped; /* because of one: engine_failure says why */
};
void engine_stats(struct engine *e, struct engine_stats *out);
/* Appends why the engine stopped; nothing while it runs. */
void engine_failure(struct engine *e, struct buf *out);

/* The logits of every position of `tokens` as one prompt: float, (n_tokens, vocab_size), row by
 * row. For tests and comparison with other implementations; not while engine_start's thread runs.
 */
struct err engine_logits(struct engine *e, const uint32_t *tokens, size_t n_tokens,
                         float *out) MUST_USE;
/* The same without holding all rows: they are given to `take` in order, some at a time, each valid
 * for the call only. Its error ends the work and is returned. */
typedef struct err engine_rows_sink(void *context, const float *rows, size_t n_rows);
struct err engine_logits_rows(struct engine *e, const uint32_t *tokens, size_t n_tokens,
                              engine_rows_sink *take, void *context) MUST_USE;

#endif
