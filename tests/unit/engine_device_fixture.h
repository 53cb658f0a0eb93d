/*
 * What the tests of the engine on a GPU share: the emulated one behind a driver in which a test may
 * break something, and a small model with everything that has a case of its own. Included once,
 * after cmocka.h.
 */
#ifndef TESTS_UNIT_ENGINE_DEVICE_FIXTURE_H
#define TESTS_UNIT_ENGINE_DEVICE_FIXTURE_H

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

#endif
