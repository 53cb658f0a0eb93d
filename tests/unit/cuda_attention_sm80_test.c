/* Attention for chips of compute capability 8, on an emulated Ampere, which refuses what that
 * lacks: all that holds for Hopper's, by its own tensor cores. */
#define CUDA_CHIP 80
#include "tests/unit/cuda_attention_test.c"
