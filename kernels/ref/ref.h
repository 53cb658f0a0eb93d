/*
 * The reference backend, numerics name "ref-1" (docs/NUMERICS.md): plain C, float activations and
 * cache, weights widened exactly.
 */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H

#include "kernels/backend.h"

extern const struct backend backend_ref;

void ref_attention(struct pool *pool, const struct attention_args *args);

#endif
