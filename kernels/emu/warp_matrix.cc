#include "kernels/emu/warp_matrix.h"

#include <cstring>

#include "kernels/emu/machine.h"

namespace
{

enum { LANES = 32, SIDE = 8, ROW_LEN = SIDE * 2 };

uint8_t *checked(void *p)
{
    size_t at = emu_shared_offset(p);
    if (at % ROW_LEN != 0)
        emu_fail("a row of a matrix in shared memory that is not aligned to 16 bytes");
    return (uint8_t *)emu_shared(at, ROW_LEN);
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
            if (turned)
                memcpy(rows[i * SIDE + col] + row * 2, &x, sizeof x);
            else
                memcpy(rows[i * SIDE + row] + col * 2, &x, sizeof x);
        }
}
