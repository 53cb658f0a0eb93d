/*
 * Philox4x32-10: random numbers that are a pure function of a key and a counter (Salmon, Moraes,
 * Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 */
#ifndef ENGINE_PHILOX_H
#define ENGINE_PHILOX_H

#include <stdint.h>

void philox4x32_10(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

#endif
