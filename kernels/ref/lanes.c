/* Compiled once per instruction set (kernels/CMakeLists.txt); see lanes.h for the order. */
#include "kernels/ref/lanes.h"

#include <math.h>
#include <string.h>

#include "kernels/det.h"

enum {
    LANES = 16,
    TILE_N = 4,   /* weight rows side by side: hides the latency of the additions */
    TILE_M = 4,   /* activation rows that share one widening of a weight */
    BLOCK_M = 64, /* activation rows walked before the next weights, to stay in the cache */
};

/* Generic vectors: the compiler maps each operation to the machine's, lane by lane. */
typedef float f32x16 __attribute__((vector_size(64)));
typedef float f32x8 __attribute__((vector_size(32)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

INLINE void load_f32(f32x16 *out, const float *p)
{
    memcpy(out, p, sizeof *out);
}

/* Exact widening of 16 weights. Half floats: the exponent and fraction become a float 2^112 times
 * too small, which also normalises subnormals; infinity and NaN get their exponent set. */
INLINE void load_weights(f32x16 *out, const uint8_t *p, enum weight_type type)
{
    if (type == WEIGHT_F32) {
        memcpy(out, p, sizeof *out);
        return;
    }
    u16x16 raw;
    memcpy(&raw, p, sizeof raw);
    u32x16 u = __builtin_convertvector(raw, u32x16);
    if (type == WEIGHT_BF16) {
        u = u << 16;
        memcpy(out, &u, sizeof u);
        return;
    }
    u32x16 magnitude = (u & 0x7fffu) << 13, bits;
    f32x16 scaled;
    memcpy(&scaled, &magnitude, sizeof scaled);
    scaled = scaled * 0x1p112f;
    memcpy(&bits, &scaled, sizeof bits);
    u32x16 special = (u32x16)(magnitude >= 0x0f800000u);
    bits = bits | (special & 0x7f800000u) | ((u & 0x8000u) << 16);
    memcpy(out, &bits, sizeof bits);
}

/* The lanes' join: l with l + 8, then + 4, + 2, + 1. */
INLINE float join(const f32x16 *acc)
{
    f32x8 a8 = __builtin_shufflevector(*acc, *acc, 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(*acc, *acc, 8, 9, 10, 11, 12, 13, 14, 15);
    f32x4 a4 =
        __builtin_shufflevector(a8, a8, 0, 1, 2, 3) + __builtin_shufflevector(a8, a8, 4, 5, 6, 7);
    return (a4[0] + a4[2]) + (a4[1] + a4[3]);
}

/* y[m][n] of a tile of tile_m rows and tile_n columns; constants after inlining. */
INLINE void tile(float *y, const float *x, const struct weight *w, size_t n, size_t tile_m,
                 size_t tile_n, enum weight_type type)
{
    size_t n_cols = w->n_cols, size = type == WEIGHT_F32 ? 4 : 2;
    const uint8_t *rows = (const uint8_t *)w->data + n * n_cols * size;
    f32x16 acc[TILE_M][TILE_N] = {0};
    size_t whole = n_cols / LANES * LANES;
    for (size_t k = 0; k < whole; k += LANES) {
        f32x16 wide[TILE_N], a;
        for (size_t j = 0; j < tile_n; j++)
            load_weights(&wide[j], rows + (j * n_cols + k) * size, type);
        for (size_t i = 0; i < tile_m; i++) {
            load_f32(&a, x + i * n_cols + k);
            for (size_t j = 0; j < tile_n; j++)
                acc[i][j] = acc[i][j] + a * wide[j];
        }
    }
    for (size_t j = 0; whole < n_cols && j < tile_n; j++) {
        uint8_t padded[LANES * 4] = {0};
        memcpy(padded, rows + (j * n_cols + whole) * size, (n_cols - whole) * size);
        f32x16 wide;
        load_weights(&wide, padded, type);
        for (size_t i = 0; i < tile_m; i++) {
            f32x16 a = {0};
            memcpy(&a, x + i * n_cols + whole, (n_cols - whole) * sizeof *x);
            acc[i][j] = acc[i][j] + a * wide;
        }
    }
    for (size_t i = 0; i < tile_m; i++)
        for (size_t j = 0; j < tile_n; j++)
            y[i * w->n_rows + n + j] = join(&acc[i][j]);
}

INLINE void tile_columns(float *y, const float *x, const struct weight *w, size_t n_rows, size_t n,
                         size_t tile_n, enum weight_type type)
{
    size_t m = 0;
    for (; m + TILE_M <= n_rows; m += TILE_M)
        tile(y + m * w->n_rows, x + m * w->n_cols, w, n, TILE_M, tile_n, type);
    for (; m < n_rows; m++)
        tile(y + m * w->n_rows, x + m * w->n_cols, w, n, 1, tile_n, type);
}

INLINE void matmul_typed(float *y, const float *x, const struct weight *w, size_t n_rows,
                         size_t first, size_t last, enum weight_type type)
{
    for (size_t m = 0; m < n_rows; m += BLOCK_M) {
        size_t block = n_rows - m < BLOCK_M ? n_rows - m : BLOCK_M;
        float *y_block = y + m * w->n_rows;
        const float *x_block = x + m * w->n_cols;
        size_t n = first;
        for (; n + TILE_N <= last; n += TILE_N)
            tile_columns(y_block, x_block, w, block, n, TILE_N, type);
        for (; n < last; n++)
            tile_columns(y_block, x_block, w, block, n, 1, type);
    }
}

static void matmul(float *y, const float *x, const struct weight *w, size_t n_rows, size_t first,
                   size_t last)
{
    switch (w->type) {
    case WEIGHT_F32:
        matmul_typed(y, x, w, n_rows, first, last, WEIGHT_F32);
        break;
    case WEIGHT_F16:
        matmul_typed(y, x, w, n_rows, first, last, WEIGHT_F16);
        break;
    case WEIGHT_BF16:
        matmul_typed(y, x, w, n_rows, first, last, WEIGHT_BF16);
    }
}

static void widen(float *out, const void *data, enum weight_type type, size_t n)
{
    const uint8_t *p = data;
    size_t size = type == WEIGHT_F32 ? 4 : 2;
    for (size_t i = 0; i < n; i += LANES) {
        size_t part = n - i < LANES ? n - i : LANES;
        uint8_t padded[LANES * 4] = {0};
        f32x16 wide;
        memcpy(padded, p + i * size, part * size);
        load_weights(&wide, padded, type);
        memcpy(out + i, &wide, part * sizeof *out);
    }
}

/* The lanes' sum of a[i] b[i]. */
INLINE float dot(const float *a, const float *b, size_t n)
{
    f32x16 acc = {0}, va, vb;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        load_f32(&va, a + i);
        load_f32(&vb, b + i);
        acc = acc + va * vb;
    }
    if (i < n) {
        va = vb = (f32x16){0};
        memcpy(&va, a + i, (n - i) * sizeof *a);
        memcpy(&vb, b + i, (n - i) * sizeof *b);
        acc = acc + va * vb;
    }
    return join(&acc);
}

static float sum_squares(const float *x, size_t n)
{
    return dot(x, x, n);
}

static void scores(float *out, const float *q, const float *keys, size_t n_keys, size_t head_dim,
                   float scale)
{
    for (size_t j = 0; j < n_keys; j++)
        out[j] = dot(q, keys + j * head_dim, head_dim) * scale;
}

static float exp_sum(float *x, size_t n, float max)
{
    f32x16 acc = {0}, part;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t l = 0; l < LANES; l++)
            x[i + l] = det_exp(x[i + l] - max);
        load_f32(&part, x + i);
        acc = acc + part;
    }
    if (i < n) {
        part = (f32x16){0};
        for (size_t l = 0; i + l < n; l++)
            part[l] = x[i + l] = det_exp(x[i + l] - max);
        acc = acc + part;
    }
    return join(&acc);
}

static void accumulate(float *out, const float *p, const float *values, size_t n_keys,
                       size_t head_dim)
{
    for (size_t j = 0; j < n_keys; j++)
        for (size_t d = 0; d < head_dim; d++)
            out[d] = out[d] + p[j] * values[j * head_dim + d];
}

static void silu_mul(float *restrict gate, const float *restrict up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1.0f + det_exp(-gate[i])) * up[i];
}

static float block_max(const float *z)
{
    float lanes[LANES], most = -INFINITY;
    int n_nan = 0;
    memcpy(lanes, z, sizeof lanes);
    for (size_t at = LANES; at < LANES_BLOCK; at += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] = z[at + l] > lanes[l] ? z[at + l] : lanes[l];
    for (size_t i = 0; i < LANES_BLOCK; i++)
        n_nan += z[i] != z[i];
    for (size_t l = 0; l < LANES; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return n_nan > 0 ? NAN : most;
}

static void block_exp(float *restrict w, const float *restrict z, float best, float temperature,
                      float min_p)
{
    for (size_t i = 0; i < LANES_BLOCK; i++) {
        float p = det_exp((z[i] - best) / temperature), scaled = p * 0x1p40f;
        w[i] = p >= min_p ? scaled : 0.0f;
    }
}

/* In two halves of 20 bits, whose sums fit 32 bits. Every float operation here is exact. */
static uint64_t block_floors(const float *w)
{
    int32_t high = 0, low = 0;
    for (size_t i = 0; i < LANES_BLOCK; i++) {
        int32_t h = (int32_t)(w[i] * 0x1p-20f);
        high += h;
        low += (int32_t)(w[i] - (float)h * 0x1p20f);
    }
    return ((uint64_t)(uint32_t)high << 20) + (uint32_t)low;
}

#define NAME_TEXT_(name) #name
#define NAME_TEXT(name) NAME_TEXT_(name)

extern const struct lanes LANES_VARIANT;
const struct lanes LANES_VARIANT = {
    .name = NAME_TEXT(LANES_VARIANT),
    .matmul = matmul,
    .widen = widen,
    .sum_squares = sum_squares,
    .scores = scores,
    .exp_sum = exp_sum,
    .accumulate = accumulate,
    .silu_mul = silu_mul,
    .block_max = block_max,
    .block_exp = block_exp,
    .block_floors = block_floors,
};
