/* The arithmetic of the tensor cores: products of all sizes, near each other and far apart, against
 * the model that the emulated GPU computes with (kernels/emu/tensor_core.h), bit for bit. With
 * BL_TEST_GPU=cuda it is the first thing to run on a GPU: where it holds, every other test may
 * compare bits, too. Each output is a chain of four steps of 16: the first begins at +0, the others
 * at what the one before left. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "kernels/cuda/args.h"
#include "kernels/det.h"
#include "kernels/emu/tensor_core.h"
#include "tests/unit/gpu_room.h"

enum { ROWS = 64, OUT = 128, COLS = 64 };
#define TILE 64 /* of the kernel that is named below */

/* Any sign and significand, an exponent (biased) from `low` to `high`. */
static uint16_t draw_between(uint32_t low, uint32_t high)
{
    return (uint16_t)(draw(2) << 15 | (low + draw(high - low + 1)) << 7 | draw(128));
}

/* Operands of all outputs. */
struct problem {
    uint16_t x[ROWS][COLS], w[OUT][COLS];
};

static void fill_between(struct problem *p, uint32_t low, uint32_t high)
{
    for (uint32_t k = 0; k < COLS; k++) {
        for (uint32_t r = 0; r < ROWS; r++)
            p->x[r][k] = draw_between(low, high);
        for (uint32_t o = 0; o < OUT; o++)
            p->w[o][k] = draw_between(low, high);
    }
}

static void ordinary(struct problem *p)
{
    fill_between(p, 118, 126);
}

static void wide(struct problem *p)
{
    fill_between(p, 113, 141);
}

static void extreme(struct problem *p)
{
    fill_between(p, 69, 185);
}

static void subnormal(struct problem *p)
{
    fill_between(p, 0, 1);
    for (uint32_t o = 0; o < OUT; o++)
        for (uint32_t k = 0; k < COLS; k++)
            p->w[o][k] = draw_between(90, 180);
}

static void tiny(struct problem *p)
{
    fill_between(p, 50, 66);
}

static void any_finite_bits(struct problem *p)
{
    fill_between(p, 0, 254);
}

static void overflow(struct problem *p)
{
    fill_between(p, 186, 191);
}

/* Neighbours whose products cancel, but for the last bit now and then. */
static void cancelling(struct problem *p)
{
    fill_between(p, 120, 130);
    for (uint32_t k = 0; k < COLS; k += 2) {
        for (uint32_t r = 0; r < ROWS; r++)
            p->x[r][k + 1] = p->x[r][k];
        for (uint32_t o = 0; o < OUT; o++)
            p->w[o][k + 1] = (uint16_t)(p->w[o][k] ^ 0x8000u ^ (draw(8) == 0));
    }
}

/* One product of each step far above the others, which lie about its last bits. */
static void about_the_last_bits(struct problem *p)
{
    fill_between(p, 121, 127);
    for (uint32_t k = 0; k < COLS; k += TENSOR_K) {
        uint32_t high = k + draw(TENSOR_K);
        for (uint32_t r = 0; r < ROWS; r++)
            p->x[r][high] = draw_between(133, 136);
        for (uint32_t o = 0; o < OUT; o++)
            p->w[o][high] = draw_between(133, 138);
    }
}

/* The largest significands, one sign. */
static void one_sign(struct problem *p)
{
    fill_between(p, 126, 127);
    for (uint32_t k = 0; k < COLS; k++) {
        for (uint32_t r = 0; r < ROWS; r++)
            p->x[r][k] = (uint16_t)((p->x[r][k] & 0x7fffu) | 0x7cu);
        for (uint32_t o = 0; o < OUT; o++)
            p->w[o][k] = (uint16_t)((p->w[o][k] & 0x7fffu) | 0x7cu);
    }
}

/* Zeros of both signs, beside large and small numbers. */
static void zeros(struct problem *p)
{
    fill_between(p, 60, 190);
    for (uint32_t k = 0; k < COLS; k++)
        for (uint32_t r = 0; r < ROWS; r++)
            if (draw(3) > 0)
                p->x[r][k] = (uint16_t)(draw(2) << 15);
}

static void infinities_and_nans(struct problem *p)
{
    fill_between(p, 100, 150);
    for (uint32_t r = 0; r < ROWS; r++)
        if (draw(2) == 0)
            p->x[r][draw(COLS)] = (uint16_t)(draw(2) << 15 | 0x7f80u | (draw(3) == 0));
    for (uint32_t o = 0; o < OUT; o++)
        if (draw(4) == 0)
            p->w[o][draw(COLS)] = (uint16_t)(draw(2) << 15 | 0x7f80u | (draw(3) == 0));
}

static void multiply(float *out, const struct problem *p)
{
    struct gpu_room r;
    gpu_room_open(&r, 1);
    const size_t len = sizeof *out * ROWS * OUT;
    struct gpu_address y = gpu_room_put(&r, NULL, len);
    struct cuda_matmul_args args = {
        .sum_into = of(y), .n_rows = ROWS, .n_out = OUT, .n_cols = COLS};
    gpu_room_map(&r, &args.w, gpu_room_put(&r, p->w, sizeof p->w), OUT, COLS, MATMUL_OUT);
    gpu_room_map(&r, &args.x, gpu_room_put(&r, p->x, sizeof p->x), ROWS, COLS, TILE);
    const struct gpu_launch how = {.grid = {1, 1, 1},
                                   .block = {MATMUL_BLOCK, 1, 1},
                                   .shared_len = (size_t)MATMUL_SHARED_LEN(TILE)};
    gpu_must(gpu_room_try(&r, "matmul_logits_64", &how, &args, sizeof args));
    gpu_room_get(&r, out, y, len);
    gpu_room_close(&r);
}

/* As the model has it. The bias that is not there is +0. */
static float by_the_model(const struct problem *p, uint32_t r, uint32_t o)
{
    float sum = 0.0f;
    for (uint32_t k = 0; k < COLS; k += TENSOR_K)
        sum = tensor_core_step(sum, &p->w[o][k], &p->x[r][k]);
    return sum + 0.0f;
}

/* Of a NaN only that it is one. */
static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || det_bits(a) == det_bits(b);
}

static void check(const char *what, void (*make)(struct problem *))
{
    static struct problem p;
    static float got[ROWS][OUT];
    uint32_t n_other = 0, at_r = 0, at_o = 0;
    make(&p);
    multiply(&got[0][0], &p);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t o = 0; o < OUT; o++)
            if (!same(got[r][o], by_the_model(&p, r, o)) && n_other++ == 0)
                at_r = r, at_o = o;
    print_message("%s: %u of %d results are others than the model's\n", what, n_other, ROWS * OUT);
    if (n_other > 0)
        fail_msg("%s: row %u, output %u is %08x, by the model %08x", what, at_r, at_o,
                 det_bits(got[at_r][at_o]), det_bits(by_the_model(&p, at_r, at_o)));
}

/* What an H200 gave where zeros or the least exponent matter
 * (bench/results/device/2026-11-26-nvidia-h200-tensor-cores.json). */
static void the_model_gives_what_an_h200_gave(void **state)
{
    (void)state;
    static const struct {
        uint32_t c, got;
        uint16_t a[TENSOR_K], b[TENSOR_K];
    } seen[] = {
        {0x00000000,
         0xbe3bbaef,
         {0x803d, 0x0000, 0x8074, 0x0739, 0x002e, 0x044e, 0x8676, 0x8020, 0x8118, 0x8359, 0x01c4,
          0x8027, 0x002b, 0x005c, 0x0df2, 0x8043},
         {0xf9e7, 0xfe1d, 0xf52a, 0x6f98, 0x6fd8, 0xf121, 0xf0de, 0xf3af, 0x767f, 0x7a4c, 0x7a43,
          0x77be, 0xfb23, 0x6d0b, 0x8044, 0x7c6c}},
        {0x00000000,
         0x000003f1,
         {0x0000, 0x8000, 0x0000, 0x8000, 0x8000, 0x9a18, 0x8000, 0x9a46, 0x0000, 0x0000, 0x8000,
          0x0000, 0x9a0b, 0x19e2, 0x8000, 0x0000},
         {0x95a9, 0x97e8, 0x1851, 0x96fe, 0x95af, 0x9cec, 0x98b3, 0x9bf1, 0x18f6, 0x17dc, 0x1b00,
          0x1abc, 0x9f39, 0x1e34, 0x1731, 0x1ab0}},
        {0x00000000,
         0x2e664033,
         {0x371c, 0xb722, 0xb160, 0x385e, 0x2bc1, 0x0000, 0x2c85, 0x35f6, 0xeb1d, 0x35ed, 0x2e72,
          0xb450, 0xad1d, 0x340d, 0xb19c, 0xadd3},
         {0x2eda, 0x347d, 0x2c9c, 0x357a, 0x35e7, 0xedef, 0x2e56, 0xafea, 0x8000, 0x3644, 0xb2e0,
          0xb598, 0xb51e, 0xae2e, 0x371d, 0xad95}},
    };
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++)
        assert_int_equal(det_bits(tensor_core_step(det_float(seen[i].c), seen[i].a, seen[i].b)),
                         seen[i].got);
}

#define ARITHMETIC_CASE(name)                                                                      \
    static void name##_products_are_the_models(void **state)                                       \
    {                                                                                              \
        (void)state;                                                                               \
        for (int i = 0; i < 3; i++)                                                                \
            check(#name, name);                                                                    \
    }
ARITHMETIC_CASE(ordinary)
ARITHMETIC_CASE(wide)
ARITHMETIC_CASE(extreme)
ARITHMETIC_CASE(subnormal)
ARITHMETIC_CASE(tiny)
ARITHMETIC_CASE(any_finite_bits)
ARITHMETIC_CASE(overflow)
ARITHMETIC_CASE(cancelling)
ARITHMETIC_CASE(about_the_last_bits)
ARITHMETIC_CASE(one_sign)
ARITHMETIC_CASE(zeros)
ARITHMETIC_CASE(infinities_and_nans)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_gives_what_an_h200_gave),
        cmocka_unit_test(ordinary_products_are_the_models),
        cmocka_unit_test(wide_products_are_the_models),
        cmocka_unit_test(extreme_products_are_the_models),
        cmocka_unit_test(subnormal_products_are_the_models),
        cmocka_unit_test(tiny_products_are_the_models),
        cmocka_unit_test(any_finite_bits_products_are_the_models),
        cmocka_unit_test(overflow_products_are_the_models),
        cmocka_unit_test(cancelling_products_are_the_models),
        cmocka_unit_test(about_the_last_bits_products_are_the_models),
        cmocka_unit_test(one_sign_products_are_the_models),
        cmocka_unit_test(zeros_products_are_the_models),
        cmocka_unit_test(infinities_and_nans_products_are_the_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
