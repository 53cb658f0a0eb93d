/*
 * Whether weights are numbers. A NaN or an infinity in a matrix would show only when a prompt
 * reaches it, and then as a request that fails; at load it costs one more pass over bytes that were
 * just hashed, and the tensor is named.
 */
#ifndef ENGINE_FINITE_H
#define ENGINE_FINITE_H

#include "kernels/backend.h"

/* True when all n elements at `data` are finite; else *first is the first one that is not. */
bool weights_finite(const void *data, enum weight_type type, size_t n, size_t *first);

#endif
