#include "engine/generation.h"

#include "engine/json_fields.h"

static const struct field_rule rules[] = {
    {"do_sample", FIELD_READ, NULL},
    {"temperature", FIELD_READ, NULL},
    {"top_p", FIELD_READ, NULL},
    {"top_k", FIELD_READ, NULL},
    {"min_p", FIELD_READ, NULL},
    {"repetition_penalty", FIELD_READ, NULL},
    {"eos_token_id", FIELD_READ, NULL},
    {"num_beams", FIELD_MUST_BE, "1|null"},
    {"num_beam_groups", FIELD_MUST_BE, "1|null"},
    {"num_return_sequences", FIELD_MUST_BE, "1|null"},
    {"typical_p", FIELD_MUST_BE, "1.0|null"},
    {"epsilon_cutoff", FIELD_MUST_BE, "0|null"},
    {"eta_cutoff", FIELD_MUST_BE, "0|null"},
    {"diversity_penalty", FIELD_MUST_BE, "0|null"},
    {"encoder_repetition_penalty", FIELD_MUST_BE, "1.0|null"},
    {"penalty_alpha", FIELD_MUST_BE, "0|null"},
    {"no_repeat_ngram_size", FIELD_MUST_BE, "0|null"},
    {"bad_words_ids", FIELD_MUST_BE, "null|[]"},
    {"suppress_tokens", FIELD_MUST_BE, "null|[]"},
    {"begin_suppress_tokens", FIELD_MUST_BE, "null|[]"},
    {"forced_bos_token_id", FIELD_MUST_BE, "null"},
    {"forced_eos_token_id", FIELD_MUST_BE, "null"},
    {"guidance_scale", FIELD_MUST_BE, "1|null"},
    {"min_length", FIELD_MUST_BE, "0|null"},
    {"min_new_tokens", FIELD_MUST_BE, "0|null"},
    {"bos_token_id", FIELD_IGNORED, NULL},
    {"pad_token_id", FIELD_IGNORED, NULL},
    {"max_length", FIELD_IGNORED, NULL}, /* requests say how much they want */
    {"max_new_tokens", FIELD_IGNORED, NULL},
    {"length_penalty", FIELD_IGNORED, NULL}, /* beams only */
    {"early_stopping", FIELD_IGNORED, NULL},
    {"use_cache", FIELD_IGNORED, NULL},
    {"output_attentions", FIELD_IGNORED, NULL}, /* what else is returned there */
    {"output_hidden_states", FIELD_IGNORED, NULL},
    {"output_scores", FIELD_IGNORED, NULL},
    {"return_dict_in_generate", FIELD_IGNORED, NULL},
    {"cache_implementation", FIELD_IGNORED, NULL}, /* how it is computed there */
    {"transformers_version", FIELD_IGNORED, NULL},
    {"_from_model_config", FIELD_IGNORED, NULL},
    {"trust_remote_code", FIELD_IGNORED, NULL},
};

const struct generation_config generation_default = {
    .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f};

static struct err read_generation(struct generation_config *g, const json_t *root)
{
    TRY(fields_check(root, rules, sizeof rules / sizeof rules[0]));
    double temperature = 1, top_p = 1, min_p = 0, repetition = 1;
    bool sample = true;
    TRY(field_bool(root, "do_sample", &sample));
    TRY(field_double(root, "temperature", 0, 100, &temperature));
    TRY(field_double(root, "top_p", 0, 1, &top_p));
    TRY(field_double(root, "min_p", 0, 1, &min_p));
    TRY(field_double(root, "repetition_penalty", 0.01, 100, &repetition));
    TRY(field_unsigned(root, "top_k", 0, 1 << 22, &g->top_k));
    g->temperature = sample ? (float)temperature : 0.0f;
    g->top_p = (float)top_p;
    g->min_p = (float)min_p;
    g->repetition_penalty = (float)repetition;
    return field_token_ids(root, "eos_token_id", g->eos_ids, CONFIG_EOS_MAX, &g->n_eos);
}

struct err generation_parse(struct generation_config *out, struct bytes json)
{
    if (json.len > CONFIG_LEN_MAX)
        return err_set(ERR_LIMIT, "%zu bytes; at most %d are allowed", json.len, CONFIG_LEN_MAX);
    json_t *root = NULL;
    TRY(fields_parse(&root, json));
    struct generation_config g = generation_default;
    struct err e = read_generation(&g, root);
    json_decref(root);
    if (!is_err(e))
        *out = g;
    return e;
}
