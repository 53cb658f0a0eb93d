/* Rank order of a vocabulary's ids, as keys: docs/NUMERICS.md, "Sampling". The same on CPU and GPU.
 */
#ifndef KERNELS_RANK_H
#define KERNELS_RANK_H

#include "kernels/det.h"

/* The smallest is the first: larger z, then the lower id. z is not NaN; -0 equals 0. */
DET uint64_t rank_key(float z, uint32_t id)
{
    uint32_t u = det_bits(z + 0.0f);
    uint32_t ascending = u >> 31 ? ~u : u | 0x80000000u;
    return (uint64_t)~ascending << 32 | id;
}

#endif
