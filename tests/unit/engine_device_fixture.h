/*
 * What the tests of the engine on a GPU share: the emulated one behind a driver in which a test may
 * break something, and a small model with everything that has a case of its own. Included once,
 * after cmocka.h.
 */
#ifndef TESTS_UNIT_ENGINE_DEVICE_FIXTURE_H
#define TESTS_UNIT_ENGINE_DEVICE_FIXTURE_H

#include <math.h>

#include "engine/device_internal.h"
#include "kernels/cuda/gpu_backend.h"
#include "tests/unit/engine_fixture.h"
#include "tests/unit/gpu_chosen.h"

static const struct gpu_driver *whole; /* the emulated one, or that of BL_TEST_GPU */
static struct gpu_driver driver;       /* the same, in which a test may break something */
static struct gpu_backend backend = {.driver = &driver};

/* Small, with everything that has a case of its own: no multiple of the tiles, two query heads on
 * one key head, an output matrix of its own, long waves stretched. */
static const struct tiny_spec plain = {.vocab_size = 264,
                                       .hidden = 72,
                                       .inner = 88,
                                       .n_layers = 2,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_dim = 64,
                                       .max_positions = 640,
                                       .rope_theta = 10000.0,
                                       .eps = 1e-5,
                                       .llama3 = 1,
                                       .type = TINY_BF16,
                                       .seed = 5};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static struct engine_options gpu_options(unsigned max_requests, unsigned budget)
{
    struct engine_options o = options(1, max_requests, budget);
    o.backend = "cuda";
    o.gpu = &backend;
    o.max_context = 256;
    o.gpu_logits = true;
    return o;
}

static int setup(void **state)
{
    (void)state;
    backend = *gpu_chosen();
    whole = backend.driver;
    driver = *whole;
    backend.driver = &driver;
    gpu_emu_chip(90);
    gpu_emu_seed(7);
    return 0;
}

struct difference {
    double worst, worst_l2; /* of a logit; of a row, relative */
};

static inline struct difference compare(const float *got, const float *want, size_t n_rows,
                                        size_t n)
{
    struct difference d = {0};
    for (size_t r = 0; r < n_rows; r++) {
        double error = 0, size = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++) {
            double by = (double)got[i] - (double)want[i];
            error += by * by;
            size += (double)want[i] * (double)want[i];
            d.worst = fmax(d.worst, fabs(by));
        }
        d.worst_l2 = fmax(d.worst_l2, sqrt(error / size));
    }
    return d;
}

/* Logits of a prompt on the CPU's ref, or on the GPU. */
static inline float *logits_of(const char *dir, struct engine_options o, const uint32_t *tokens,
                               size_t n)
{
    struct engine *e = NULL;
    must(engine_open(&e, dir, &o));
    float *out = calloc(n * e->config.vocab_size, sizeof *out);
    assert_non_null(out);
    must(engine_logits(e, tokens, n, out));
    engine_free(e);
    return out;
}

static inline struct difference from_ref(const char *dir, struct engine_options gpu,
                                         const uint32_t *tokens, size_t n, size_t vocab_size)
{
    struct engine_options ref = {.backend = "ref", .n_threads = 1, .max_requests = 1};
    ref.max_context = gpu.max_context;
    float *got = logits_of(dir, gpu, tokens, n), *want = logits_of(dir, ref, tokens, n);
    struct difference d = compare(got, want, n, vocab_size);
    print_message("from ref: largest difference %.2g, relative L2 %.2g\n", d.worst, d.worst_l2);
    free(got);
    free(want);
    return d;
}

#endif
