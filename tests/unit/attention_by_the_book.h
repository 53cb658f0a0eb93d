/* Attention of one query as docs/CUDA.md defines it, one element at a time: what the kernels are
 * compared with, bit for bit. It knows of no tile, page, item or launch. */
#ifndef TESTS_UNIT_ATTENTION_BY_THE_BOOK_H
#define TESTS_UNIT_ATTENTION_BY_THE_BOOK_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/det.h"
#include "kernels/emu/tensor_core.h"

enum { BOOK_BLOCK = 128, BOOK_SPLIT = 512, BOOK_HEAD_MAX = 128 };

/* A step of the chip's tensor cores. */
static float (*book_step)(float c, const uint16_t a[TENSOR_K],
                          const uint16_t b[TENSOR_K]) = tensor_core_step;

struct book_query {
    const uint16_t *q;             /* (head_dim) */
    const uint16_t *keys, *values; /* (position + 1, head_dim), bf16 */
    uint32_t head_dim, position, window;
    float scale;
};

/* What one split gives, or all splits so far. */
struct book_sums {
    float m, o[BOOK_HEAD_MAX + 1]; /* behind the values their weights' sum */
};

static uint16_t book_narrow(float x)
{
    uint32_t bits = det_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 0x7fff;
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static bool book_sees(const struct book_query *b, uint32_t j)
{
    return j <= b->position && (b->window == 0 || b->position - j < b->window);
}

static float book_score(const struct book_query *b, uint32_t j)
{
    float s = 0.0f;
    for (uint32_t d = 0; d < b->head_dim; d += 16)
        s = book_step(s, b->q + d, b->keys + (size_t)j * b->head_dim + d);
    return s;
}

/* The chain of element d over a block's keys; those that are not seen count as 0 times 0. Behind
 * the last element each key has a 1. */
static float book_values(const struct book_query *b, uint32_t block, const float *p, float o,
                         uint32_t d)
{
    for (uint32_t step = 0; step < BOOK_BLOCK; step += 16) {
        uint16_t weights[16] = {0}, values[16] = {0};
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t j = block * BOOK_BLOCK + step + i;
            if (!book_sees(b, j))
                continue;
            weights[i] = book_narrow(p[step + i]);
            values[i] = d < b->head_dim ? b->values[(size_t)j * b->head_dim + d] : 0x3f80;
        }
        o = book_step(o, weights, values);
    }
    return o;
}

static float book_integer(float x)
{
    return x + 12582912.0f - 12582912.0f;
}

/* Of a weight. */
static float book_exponent(float score, float c, float m)
{
    return fmaf(score, c, 12288.0f - m) - 12288.0f;
}

/* One block of a split. */
static void book_block(const struct book_query *b, struct book_sums *s, uint32_t block)
{
    const float c = b->scale * 1.44269504f;
    float scores[BOOK_BLOCK], p[BOOK_BLOCK] = {0}, best = -INFINITY;
    for (uint32_t i = 0; i < BOOK_BLOCK; i++)
        if (book_sees(b, block * BOOK_BLOCK + i)) {
            scores[i] = book_score(b, block * BOOK_BLOCK + i);
            best = fmaxf(best, scores[i]);
        }
    if (block % (BOOK_SPLIT / BOOK_BLOCK) == 0 && book_sees(b, block * BOOK_BLOCK))
        s->m = book_integer(scores[0] * c) + 24.0f;
    if (s->m == -INFINITY || book_exponent(best, c, s->m) > 5 / 1024.0f) {
        const float m = book_integer(best * c) + 8.0f;
        for (uint32_t d = 0; d <= b->head_dim; d++)
            s->o[d] = s->o[d] * det_exp2_integer(s->m - m);
        s->m = m;
    }
    for (uint32_t i = 0; i < BOOK_BLOCK; i++)
        if (book_sees(b, block * BOOK_BLOCK + i))
            p[i] = det_exp2(book_exponent(scores[i], c, s->m));
    for (uint32_t d = 0; d <= b->head_dim; d++)
        s->o[d] = book_values(b, block, p, s->o[d], d);
}

static bool book_sees_any(const struct book_query *b, uint32_t from, uint32_t n)
{
    for (uint32_t j = from; j < from + n; j++)
        if (book_sees(b, j))
            return true;
    return false;
}

static struct book_sums book_split(const struct book_query *b, uint32_t split)
{
    struct book_sums s = {.m = -INFINITY};
    const uint32_t n = BOOK_SPLIT / BOOK_BLOCK;
    for (uint32_t block = split * n; block < (split + 1) * n; block++)
        if (book_sees_any(b, block * BOOK_BLOCK, BOOK_BLOCK))
            book_block(b, &s, block);
    return s;
}

static void book_fold(const struct book_query *b, struct book_sums *all, const struct book_sums *s)
{
    float keep = 1.0f, add = 1.0f;
    if (s->m > all->m + 32.0f) {
        keep = det_exp2_integer(all->m - s->m);
        all->m = s->m;
    } else {
        add = det_exp2_integer(s->m - all->m);
    }
    for (uint32_t d = 0; d <= b->head_dim; d++)
        all->o[d] = fmaf(s->o[d], add, all->o[d] * keep);
}

/* out (head_dim), bf16. */
static void book_attention(uint16_t *out, const struct book_query *b)
{
    struct book_sums all = {.m = -INFINITY};
    for (uint32_t split = 0; split <= b->position / BOOK_SPLIT; split++)
        if (book_sees_any(b, split * BOOK_SPLIT, BOOK_SPLIT)) {
            struct book_sums s = book_split(b, split);
            book_fold(b, &all, &s);
        }
    const float by = 1.0f / all.o[b->head_dim];
    for (uint32_t d = 0; d < b->head_dim; d++)
        out[d] = book_narrow(all.o[d] * by + 0.0f);
}

#endif
