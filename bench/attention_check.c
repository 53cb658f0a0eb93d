#include "bench/attention_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = ATTENTION_KEYS, SAMPLES = 12, HEAD_MAX = 128 };

size_t attention_results_len(const struct attention_case *c)
{
    return (size_t)c->n_rows * c->shape.n_heads * c->shape.head_dim * sizeof(uint16_t);
}

static double widen(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return (double)out;
}

/* Keys (or values) of the first layer, one head, positions 0 to n - 1: (n, head_dim). */
static uint16_t *read_head(const struct attention_case *c, uint32_t sequence, uint32_t head,
                           bool values, uint32_t n)
{
    const uint32_t n_pages = (n + PAGE - 1) / PAGE;
    const size_t len = (size_t)PAGE * c->shape.head_dim * sizeof(uint16_t);
    uint8_t *out = malloc(n_pages * len);
    if (out == NULL)
        must(err_set(ERR_MEMORY, "no memory for keys"));
    for (uint32_t i = 0; i < n_pages; i++) {
        uint64_t page = c->table[(size_t)sequence * c->table_len + i];
        uint64_t at = (page * c->size.n_layers * 2 + values) * c->shape.n_kv_heads + head;
        must(c->r->driver->copy_from(c->r->stream, out + i * len,
                                     (struct gpu_address){c->cache.at + at * len}, len));
    }
    must(c->r->driver->stream_wait(c->r->stream));
    return (uint16_t *)(void *)out;
}

/* out (head_dim) of positions 0 to n - 1. */
static void attend(double *out, const uint16_t *q, const uint16_t *keys, const uint16_t *values,
                   uint32_t n, uint32_t d)
{
    double *p = malloc(n * sizeof *p), most = -INFINITY, sum = 0;
    if (p == NULL)
        must(err_set(ERR_MEMORY, "no memory for scores"));
    for (uint32_t j = 0; j < n; j++) {
        p[j] = 0;
        for (uint32_t i = 0; i < d; i++)
            p[j] += widen(q[i]) * widen(keys[(size_t)j * d + i]);
        p[j] /= sqrt(d);
        most = fmax(most, p[j]);
    }
    memset(out, 0, d * sizeof *out);
    for (uint32_t j = 0; j < n; j++) {
        const double weight = exp(p[j] - most);
        sum += weight;
        for (uint32_t i = 0; i < d; i++)
            out[i] += weight * widen(values[(size_t)j * d + i]);
    }
    for (uint32_t i = 0; i < d; i++)
        out[i] /= sum;
    free(p);
}

/* Adds the square error and size of one head of one row. */
static void compare(const struct attention_case *c, const uint16_t *results, uint32_t row,
                    uint32_t head, double *error, double *size)
{
    const struct attention_shape *s = &c->shape;
    const uint32_t d = s->head_dim, kv_head = head / (s->n_heads / s->n_kv_heads);
    const uint32_t n = c->size.len - c->size.n_new + row % c->size.n_new + 1;
    const size_t width = (size_t)(s->n_heads + 2 * s->n_kv_heads) * d;
    uint16_t q[HEAD_MAX];
    double want[HEAD_MAX];
    rig_get(c->r, q, (struct gpu_address){c->qkv.at + (row * width + (size_t)head * d) * 2}, d * 2);
    uint16_t *keys = read_head(c, row / c->size.n_new, kv_head, false, n);
    uint16_t *values = read_head(c, row / c->size.n_new, kv_head, true, n);
    attend(want, q, keys, values, n, d);
    for (uint32_t i = 0; i < d; i++) {
        double by = widen(results[((size_t)row * s->n_heads + head) * d + i]) - want[i];
        *error += by * by;
        *size += want[i] * want[i];
    }
    free(keys);
    free(values);
}

void attention_check_results(const struct attention_case *c, const uint16_t *results, double most)
{
    const size_t n = attention_results_len(c) / sizeof *results;
    double error = 0, size = 0;
    uint64_t random = 11;
    for (size_t i = 0; i < n; i++)
        if (results[i] == 0xffff)
            must(err_set(ERR_UNTRUE, "attention: result %zu of %zu was not written", i, n));
    for (uint32_t i = 0; i < SAMPLES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t row = i == 0 ? 0 : i == 1 ? c->n_rows - 1 : (uint32_t)((random >> 33) % c->n_rows);
        compare(c, results, row, (uint32_t)(random >> 20) % c->shape.n_heads, &error, &size);
    }
    if (!(sqrt(error / size) < most))
        must(err_set(ERR_UNTRUE, "attention is %.2g off, relative; %.2g is the most",
                     sqrt(error / size), most));
}
