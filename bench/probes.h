/*
 * What bounds the engine on this machine, measured: reading memory, and dot products in registers.
 * On the threads of a pool.
 */
#ifndef BENCH_PROBES_H
#define BENCH_PROBES_H

#include <stdint.h>

#include "kernels/pool.h"

/* Bytes a second of reading `len` bytes once with the machine's widest vectors. */
double probe_read(struct pool *pool, const uint8_t *data, size_t len);

/* Operations a second, two for each multiply-add, with vectors of `n_lanes` floats (8 or 16). */
double probe_fma(struct pool *pool, unsigned n_lanes);

/* Whether the machine has vdpbf16ps, and its operations a second: four for each of 16 lanes. */
bool probe_has_dot(void);
double probe_dot(struct pool *pool);

#endif
