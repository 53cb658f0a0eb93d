#include "engine/philox.h"

enum { ROUNDS = 10 };

/* The paper's multipliers and Weyl increments. */
static const uint32_t multiplier[2] = {0xd2511f53u, 0xcd9e8d57u};
static const uint32_t increment[2] = {0x9e3779b9u, 0xbb67ae85u};

void philox4x32_10(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k[2] = {key[0], key[1]};
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t a = (uint64_t)multiplier[0] * c[0];
        uint64_t b = (uint64_t)multiplier[1] * c[2];
        uint32_t next0 = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
        uint32_t next2 = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
        c[0] = next0;
        c[1] = (uint32_t)b;
        c[2] = next2;
        c[3] = (uint32_t)a;
        k[0] += increment[0];
        k[1] += increment[1];
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}
