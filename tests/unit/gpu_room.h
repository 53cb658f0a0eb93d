/* A GPU with the project's kernels on it, for tests: what goes there and what comes back. The
 * emulated one, or the one of gpu_chosen.h. */
#ifndef TESTS_UNIT_GPU_ROOM_H
#define TESTS_UNIT_GPU_ROOM_H

#include <stdlib.h>
#include <string.h>

#include "kernels/det.h"
#include "tests/unit/gpu_chosen.h"

/* How many of n drawn orders or shapes a test takes: where races are watched for, a few, since
 * these are seen in whatever order. */
#if defined(BL_WATCHED)
#define DRAWN(n) (((n) + 4) / 5)
#else
#define DRAWN(n) (n)
#endif

/* Drawn by a test's own dice; bf16 as bits; an address as the kernels' arguments have it. */
static uint64_t dice = 1;

static inline uint32_t draw(uint32_t n)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((dice >> 33) % n);
}

static inline float widen(uint16_t x)
{
    return det_float((uint32_t)x << 16);
}

static inline uint16_t narrow(float x)
{
    uint32_t bits = det_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff;
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline void *of(struct gpu_address a)
{
    return (void *)(uintptr_t)a.at;
}

struct gpu_room {
    const struct gpu_driver *driver;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_module *module;
    struct gpu_address taken[64];
    size_t n_taken;
};

static void gpu_room_open(struct gpu_room *r, uint64_t seed)
{
    const struct gpu_backend *chosen = gpu_chosen();
    *r = (struct gpu_room){.driver = chosen->driver};
    gpu_emu_seed(seed);
    gpu_must(r->driver->open(&r->gpu, 0));
    gpu_must(r->driver->stream_new(r->gpu, &r->stream));
    gpu_must(r->driver->module_load(r->gpu, &r->module, chosen->image, chosen->image_len));
}

static void gpu_room_close(struct gpu_room *r)
{
    for (size_t i = 0; i < r->n_taken; i++)
        r->driver->free(r->gpu, r->taken[i]);
    r->driver->stream_free(r->stream);
    r->driver->module_free(r->module);
    r->driver->close(r->gpu);
}

/* Memory of the device with these bytes in it; NULL: poison, as the emulated one has by itself. */
static struct gpu_address gpu_room_put(struct gpu_room *r, const void *data, size_t len)
{
    struct gpu_address a = {0};
    assert_true(r->n_taken < sizeof r->taken / sizeof r->taken[0]);
    gpu_must(r->driver->alloc(r->gpu, &a, len));
    r->taken[r->n_taken++] = a;
    if (data == NULL)
        gpu_must(r->driver->fill(r->stream, a, 0xff, len));
    else
        gpu_must(r->driver->copy_to(r->stream, a, data, len));
    gpu_must(r->driver->stream_wait(r->stream));
    return a;
}

static void gpu_room_get(struct gpu_room *r, void *out, struct gpu_address from, size_t len)
{
    gpu_must(r->driver->copy_from(r->stream, out, from, len));
    gpu_must(r->driver->stream_wait(r->stream));
}

/* A matrix of bf16 as products read it: boxes of 64 columns. */
static inline void gpu_room_map(struct gpu_room *r, struct gpu_tensor_map *out,
                                struct gpu_address at, size_t n_rows, size_t n_cols,
                                unsigned box_rows)
{
    const struct gpu_tensor t = {.base = at,
                                 .type = GPU_TENSOR_BF16,
                                 .swizzle = GPU_SWIZZLE_128,
                                 .rank = 2,
                                 .dims = {n_cols, n_rows},
                                 .strides = {n_cols * 2},
                                 .box = {64, box_rows}};
    gpu_must(r->driver->tensor_map(r->gpu, out, &t));
}

static struct err gpu_room_enqueue(struct gpu_room *r, const char *kernel,
                                   const struct gpu_launch *how, const void *args, size_t args_len)
{
    struct gpu_kernel *k = NULL;
    TRY(r->driver->kernel_get(r->module, &k, kernel, how->shared_len));
    return r->driver->launch(r->stream, k, how, args, args_len);
}

/* The error of enqueueing and waiting, whichever comes first. */
static inline struct err gpu_room_try(struct gpu_room *r, const char *kernel,
                                      const struct gpu_launch *how, const void *args,
                                      size_t args_len)
{
    TRY(gpu_room_enqueue(r, kernel, how, args, args_len));
    return r->driver->stream_wait(r->stream);
}

#endif
