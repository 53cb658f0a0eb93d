/*
 * Host twins of what a warp does with small matrices: loads and stores of 8 by 8 bf16. As a product
 * has them: row lane / 4, columns 2 * (lane % 4) and the next, the lower half first.
 */
#ifndef KERNELS_EMU_WARP_MATRIX_H
#define KERNELS_EMU_WARP_MATRIX_H

#include <cstdint>

/* Matrix i's row r goes to the address that lane 8 * i + r gives; `turned`: its column r. */
void emu_stmatrix(void *to, const uint32_t *matrices, unsigned n, bool turned, const void *call);

#endif
