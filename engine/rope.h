/*
 * The rotary embedding's table of cosines and sines, made at load in double with kernels/det.h and
 * rounded once to float: the same bits on every machine.
 */
#ifndef ENGINE_ROPE_H
#define ENGINE_ROPE_H

#include "engine/config.h"

/* The angle of pair i per position: theta^(-2i / dim), scaled as the config says for a context of
 * n_positions. */
double rope_frequency(const struct rope_config *r, unsigned n_positions, unsigned i);

/* out (n_positions, 2, dim / 2): cosines, then sines. */
void rope_table(float *out, const struct rope_config *r, unsigned n_positions);

#endif
