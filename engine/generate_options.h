/*
 * The command line of blindllama-generate. Numbers are checked as they are read, so that a mistyped
 * one is refused before a model is opened; what a model decides (its defaults, its vocabulary) is
 * checked by the engine.
 */
#ifndef ENGINE_GENERATE_OPTIONS_H
#define ENGINE_GENERATE_OPTIONS_H

#include "engine/engine.h"

enum { GENERATE_EXIT_FAILED = 1, GENERATE_EXIT_USAGE = 2 };

enum generate_key {
    KEY_MODEL = 0x100,
    KEY_PROMPT,
    KEY_PROMPT_IDS,
    KEY_CHAT,
    KEY_LOGITS_OUT,
    KEY_BACKEND,
    KEY_GPU,
    KEY_THREADS,
    KEY_CONTEXT,
    KEY_KV_BYTES,
    KEY_KV_MIB,
    KEY_MAX_TOKENS,
    KEY_MIN_TOKENS,
    KEY_SEED,
    KEY_TEMPERATURE,
    KEY_TOP_P,
    KEY_TOP_K,
    KEY_MIN_P,
    KEY_REPETITION,
    KEY_PRESENCE,
    KEY_FREQUENCY,
    KEY_LOGPROBS,
    KEY_TEXTS_END, /* those above are one text each */
    KEY_LOGIT_BIAS,
    KEY_STOP,
    KEY_STOP_ID,
    KEY_IGNORE_EOS,
    KEY_JSON,
};

struct generate_options {
    const char *texts[KEY_TEXTS_END - KEY_MODEL]; /* by key; NULL: not given */
    const char *stops[ENGINE_STOP_MAX];
    uint32_t stop_ids[ENGINE_STOP_IDS_MAX];
    struct engine_bias biases[ENGINE_BIAS_MAX];
    size_t n_stops, n_stop_ids, n_biases;
    bool ignore_eos, json;
};

/* Ends the process, with the reason, for what is no such command line (and for --help). */
void generate_options_parse(struct generate_options *out, int argc, char **argv);

const char *generate_text(const struct generate_options *o, enum generate_key key);

struct err generate_engine_options(const struct generate_options *o,
                                   struct engine_options *out) MUST_USE;
/* Puts what was given in the place of the defaults that `p` holds; `p` borrows from `o`. */
struct err generate_params(const struct generate_options *o, struct engine_params *p) MUST_USE;

#endif
