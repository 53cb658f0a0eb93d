/*
 * Philox4x32-10: random numbers that are a pure function of a key and a counter (Salmon, Moraes,
 * Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The same on CPU and GPU.
 */
#ifndef KERNELS_PHILOX_H
#define KERNELS_PHILOX_H

#include "kernels/det.h"

DET void philox4x32_10(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0]; /* the paper's multipliers */
        uint64_t b = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t next0 = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
        uint32_t next2 = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
        c[0] = next0;
        c[1] = (uint32_t)b;
        c[2] = next2;
        c[3] = (uint32_t)a;
        k[0] += 0x9e3779b9u; /* and its Weyl increments */
        k[1] += 0xbb67ae85u;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

/* The 64 random bits of one token: docs/NUMERICS.md, "Sampling". */
DET uint64_t philox_of_token(uint64_t seed, uint32_t position, uint32_t choice)
{
    uint32_t words[4], key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t counter[4] = {position, choice, 0, 0};
    philox4x32_10(words, counter, key);
    return (uint64_t)words[1] << 32 | words[0];
}

#endif
