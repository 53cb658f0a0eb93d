/*
 * generation_config.json: the model's own sampling defaults and end tokens. Keys that would change
 * the answer in ways not supported (beams, banned words and so on) are refused unless neutral.
 *
 * Maximum: 1 MiB.
 */
#ifndef ENGINE_GENERATION_H
#define ENGINE_GENERATION_H

#include "engine/config.h"

struct generation_config {
    float temperature; /* 0 when "do_sample" is false; 1 when nothing is said */
    float top_p, min_p, repetition_penalty;
    unsigned top_k; /* 0: off; when nothing is said too */
    uint32_t eos_ids[CONFIG_EOS_MAX];
    size_t n_eos; /* 0: config.json's count */
};

extern const struct generation_config generation_default;

struct err generation_parse(struct generation_config *out, struct bytes json) MUST_USE;

#endif
