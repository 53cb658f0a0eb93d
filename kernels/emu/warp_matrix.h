/*
 * Host twins of what a warp does with small matrices: loads and stores of 8 by 8 bf16, products. As
 * a product has them: row lane / 4, columns 2 * (lane % 4) and the next, the lower half first.
 */
#ifndef KERNELS_EMU_WARP_MATRIX_H
#define KERNELS_EMU_WARP_MATRIX_H

#include <cstdint>

/* Matrix i's row r goes to the address that lane 8 * i + r gives; `turned`: its column r. */
void emu_stmatrix(void *to, const uint32_t *matrices, unsigned n, bool turned, const void *call);
void emu_ldmatrix(uint32_t *matrices, const void *from, unsigned n, bool turned, const void *call);

/* d (16, 8) += a (16, 16) b (8, 16)^T by the tensor cores of the chip that is emulated. */
void emu_mma(float d[4], const uint32_t a[4], const uint32_t b[2], const void *call);

#endif
