/* Why nothing can be chosen from a row of logits: one text for each reason, whoever sampled. */
#ifndef ENGINE_SAMPLE_FAULT_H
#define ENGINE_SAMPLE_FAULT_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum sample_fault { /* the numbers of enum cuda_sample_fault */
                    SAMPLE_NOT_A_NUMBER = 1,
                    SAMPLE_INFINITE,     /* +infinity, or nothing but -infinity */
                    SAMPLE_NONE_ALLOWED, /* the mask allows no token */
                    SAMPLE_ONLY_ENDS,    /* it allows tokens that are banned here and no others */
};

/* ERR_UNTRUE for the first two, ERR_USAGE for the others. `id`: whose logit it is; n_vocab and
 * min_tokens: of the row and its request. */
struct err sample_fault(enum sample_fault fault, size_t id, size_t n_vocab,
                        unsigned min_tokens) MUST_USE;

#endif
