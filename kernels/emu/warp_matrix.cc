#include "kernels/emu/warp_matrix.h"

#include <cstring>

#include "kernels/emu/machine.h"
#include "kernels/emu/races.h"
#include "kernels/emu/tensor_core.h"

namespace
{

enum { LANES = 32, SIDE = 8, ROW_LEN = SIDE * 2 };

uint8_t *checked(const void *p)
{
    size_t at = emu_shared_offset(p);
    if (at % ROW_LEN != 0)
        emu_fail("a row of a matrix in shared memory that is not aligned to 16 bytes");
    return (uint8_t *)emu_shared(at, ROW_LEN);
}

struct operands {
    uint32_t a[4], b[2];
};

uint16_t half_of(uint32_t x, unsigned k)
{
    return (uint16_t)(x >> 16 * (k % 2));
}

/* Row m of a, or column n of b, from the lanes that hold it. */
void read_a(const operands *all, unsigned m, uint16_t out[TENSOR_K])
{
    for (unsigned k = 0; k < TENSOR_K; k++)
        out[k] = half_of(all[m % 8 * 4 + k % 8 / 2].a[k / 8 * 2 + m / 8], k);
}

void read_b(const operands *all, unsigned n, uint16_t out[TENSOR_K])
{
    for (unsigned k = 0; k < TENSOR_K; k++)
        out[k] = half_of(all[n * 4 + k % 8 / 2].b[k / 8], k);
}

} // namespace

void emu_stmatrix(void *to, const uint32_t *matrices, unsigned n, bool turned, const void *call)
{
    uint8_t *rows[LANES], *own = emu_thread_number() % LANES < n * SIDE ? checked(to) : nullptr;
    unsigned lane = emu_thread_number() % LANES;
    emu_gather(rows, &own, sizeof own, call);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < 2; k++) {
            uint16_t x = (uint16_t)(matrices[i] >> 16 * k);
            unsigned row = lane / 4, col = lane % 4 * 2 + k;
            uint8_t *its = turned ? rows[i * SIDE + col] + row * 2 : rows[i * SIDE + row] + col * 2;
            memcpy(its, &x, sizeof x);
            emu::races_access(its, sizeof x, emu::race_kind::write, call);
        }
}

void emu_ldmatrix(uint32_t *matrices, const void *from, unsigned n, bool turned, const void *call)
{
    uint8_t *rows[LANES], *own = emu_thread_number() % LANES < n * SIDE ? checked(from) : nullptr;
    unsigned row = emu_thread_number() % LANES / 4, col = emu_thread_number() % 4 * 2;
    emu_gather(rows, &own, sizeof own, call);
    for (unsigned i = 0; i < n; i++) {
        uint16_t x[2];
        for (unsigned k = 0; k < 2; k++) {
            const uint8_t *its =
                turned ? rows[i * SIDE + col + k] + row * 2 : rows[i * SIDE + row] + (col + k) * 2;
            memcpy(&x[k], its, sizeof x[k]);
            emu::races_access(its, sizeof x[k], emu::race_kind::read, call);
        }
        matrices[i] = (uint32_t)x[0] | (uint32_t)x[1] << 16;
    }
}

void emu_mma(float d[4], const uint32_t a[4], const uint32_t b[2], const void *call)
{
    operands all[LANES], own;
    unsigned lane = emu_thread_number() % LANES;
    memcpy(own.a, a, sizeof own.a);
    memcpy(own.b, b, sizeof own.b);
    emu_gather(all, &own, sizeof own, call);
    for (unsigned i = 0; i < 4; i++) {
        uint16_t row[TENSOR_K], col[TENSOR_K];
        read_a(all, lane / 4 + i / 2 * 8, row);
        read_b(all, lane % 4 * 2 + i % 2, col);
        d[i] = (emu_chip() >= 90 ? tensor_core_step : tensor_core_step_80)(d[i], row, col);
    }
}
