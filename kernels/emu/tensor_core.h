/*
 * One step of the tensor cores on bf16, as an H200 computes it (docs/NUMERICS.md, "Tensor cores"):
 * 16 products and the accumulator are aligned to the largest exponent of those that are not zero,
 * or to -133 where that is larger, and cut toward zero to 25 fractional bits, added exactly, and
 * the sum is cut toward zero to float. A longer K is a chain of such steps. Ampere (sm_80) is taken
 * to do the same with two chained steps of 8, cut at 24 fractional bits, as was published (MMA-Sim,
 * arXiv 2511.10909); nobody has compared.
 */
#ifndef KERNELS_EMU_TENSOR_CORE_H
#define KERNELS_EMU_TENSOR_CORE_H

#include <stdint.h>

enum { TENSOR_K = 16 };

#ifdef __cplusplus
extern "C" {
#endif

/* Hopper: c plus the sum of a[i] b[i], bf16 as bits. A NaN is 7fffffff, a zero result is +0. */
float tensor_core_step(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K]);
float tensor_core_step_80(float c, const uint16_t a[TENSOR_K], const uint16_t b[TENSOR_K]);

#ifdef __cplusplus
}
#endif

#endif
