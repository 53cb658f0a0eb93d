/* The emulator's dice: splitmix64 (Steele, Lea and Flood, OOPSLA 2014). The same seed gives the
 * same run. */
#ifndef KERNELS_EMU_RANDOM_H
#define KERNELS_EMU_RANDOM_H

#include <cstddef>
#include <cstdint>

struct emu_random {
    uint64_t state = 0;

    uint64_t next()
    {
        uint64_t z = (state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }

    /* 0 to n - 1, n at most 2^32. */
    size_t below(size_t n)
    {
        return (size_t)(((next() >> 32) * (uint64_t)n) >> 32);
    }
};

#endif
