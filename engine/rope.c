#include "engine/rope.h"

#include "kernels/det.h"

#define TWO_PI 6.28318530717958647693

/* "llama3" scaling: long waves are stretched by `factor`, short ones are left alone, those between
 * are mixed linearly in original_max_positions / wavelength. */
static double scale_llama3(const struct rope_config *r, double frequency)
{
    double original = (double)r->original_max_positions;
    double wavelength = TWO_PI / frequency;
    if (wavelength < original / r->high_freq_factor)
        return frequency;
    if (wavelength > original / r->low_freq_factor)
        return frequency / r->factor;
    double smooth =
        (original / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1.0 - smooth) * frequency / r->factor + smooth * frequency;
}

/* Which of the two lists is a matter of the whole context, so a row's angles never depend on how
 * long its sequence became. */
static double scale_longrope(const struct rope_config *r, unsigned n_positions, unsigned i,
                             double frequency)
{
    bool is_long = n_positions > r->original_max_positions;
    return frequency / (is_long ? r->long_factor[i] : r->short_factor[i]);
}

double rope_frequency(const struct rope_config *r, unsigned n_positions, unsigned i)
{
    double exponent = (double)(2 * i) / (double)r->dim;
    double frequency = det_exp64(-exponent * det_log64(r->theta));
    switch (r->kind) {
    case ROPE_LLAMA3:
        return scale_llama3(r, frequency);
    case ROPE_LONGROPE:
        return scale_longrope(r, n_positions, i, frequency);
    default:
        return frequency;
    }
}

void rope_table(float *out, const struct rope_config *r, unsigned n_positions)
{
    unsigned half = r->dim / 2;
    double scale = r->kind == ROPE_LONGROPE ? r->attention_factor : 1.0;
    for (unsigned i = 0; i < half; i++) {
        double frequency = rope_frequency(r, n_positions, i);
        for (unsigned p = 0; p < n_positions; p++) {
            double sine, cosine;
            det_sincos64((double)p * frequency, &sine, &cosine);
            float *row = out + (size_t)p * 2 * half;
            row[i] = (float)(cosine * scale);
            row[half + i] = (float)(sine * scale);
        }
    }
}
