/*
 * Attention of a prefill: causal, one sequence, all rows at once, with the heads of Llama-3.1-8B.
 * Against products whose operands lie in shared memory already, against what FlashAttention-3
 * reaches on an H100, and against our own without what makes it exact.
 */
#include "bench/attention_case.h"

/* FlashAttention-3, forward, causal, head dim 128, 16k positions, FP16, H100 SXM5: the chart in its
 * repository (assets/flash3_fp16_fwd.png). In operations a second. */
#define FLASH_ATTENTION_3 616e12

struct rates {
    struct series peak, ours, inexact, published;
    char hash[17];
};

static double rate_of(const struct attention_case *c, enum rig_code code)
{
    struct attention_run_of run = {c, code};
    return attention_case_operations(c) / rig_time(c->r, attention_case_run, &run, 0.1);
}

static void measure_round(struct rates *v, const struct attention_case *c, unsigned round)
{
    for (unsigned i = 0; i < 3; i++) {
        const unsigned turn = rig_turn(round, i, 3);
        if (turn == 0)
            series_add(&v->peak, rig_product_rate(c->r));
        else if (turn == 1)
            series_add(&v->ours, rate_of(c, RIG_EXACT));
        else if (c->r->modules[RIG_INEXACT] != NULL)
            series_add(&v->inexact, rate_of(c, RIG_INEXACT));
    }
    series_add(&v->published, FLASH_ATTENTION_3);
}

/* 450 TFLOP/s first, 560 in the end; without exactness 616. */
static void report(struct results *r, const struct rates *v, bool has_goal)
{
    const char *bound = v->peak.at[0] > 0 ? "products in shared memory" : NULL;
    if (bound != NULL)
        results_add_series(r, bound, &v->peak, 1e-12, "TFLOP/s", NULL, NULL, NULL);
    results_add_series(r, "ours", &v->ours, 1e-12, "TFLOP/s", bound, &v->peak, v->hash);
    if (has_goal)
        results_add_goal(r, "ours against others", &v->ours, 1e-12, "TFLOP/s",
                         "FlashAttention-3 on an H100 (616)", &v->published, 450 / 616.0,
                         560 / 616.0);
    if (v->inexact.n == 0)
        return;
    if (has_goal)
        results_add_goal(r, "without exactness", &v->inexact, 1e-12, "TFLOP/s",
                         "FlashAttention-3 on an H100 (616)", &v->published, 560 / 616.0, 1.00);
    results_add_goal(r, "what exactness costs", &v->ours, 1e-12, "TFLOP/s",
                     "ours without exactness", &v->inexact, 0.90, 1.00);
}

static void measure(struct results *r, struct rig *rig, const struct attention_size *size,
                    unsigned n_rounds)
{
    struct attention_case c;
    struct rates v = {0};
    char hash[17];
    results_group(r, "attention, prefill of %u, %u heads of %u on %u", size->len, size->n_heads,
                  size->head_dim, size->n_kv_heads);
    attention_case_init(&c, rig, size);
    attention_case_check(&c, RIG_EXACT, v.hash);
    if (rig->modules[RIG_INEXACT] != NULL)
        attention_case_check(&c, RIG_INEXACT, hash);
    for (unsigned round = 0; round < n_rounds; round++)
        measure_round(&v, &c, round);
    report(r, &v, size->head_dim == 128 && size->len == 16384);
    attention_case_cleanup(&c);
}

void bench_attention(struct results *r, const struct bench_options *o)
{
    static const uint32_t lens[] = {1024, 4096, 16384}, few[] = {70, 130};
    struct rig rig;
    rig_open(&rig, o, r);
    for (size_t i = 0; i < (o->tiny ? 2 : 3); i++) {
        const uint32_t len = o->tiny ? few[i] : lens[i];
        struct attention_size size = {.n_heads = o->tiny ? 4 : 32,
                                      .n_kv_heads = o->tiny ? 2 : 8,
                                      .head_dim = o->tiny ? 64 : 128,
                                      .n_sequences = 1,
                                      .len = len,
                                      .n_new = len,
                                      .n_layers = 2};
        measure(r, &rig, &size, o->n_rounds);
    }
    rig_close(&rig);
}
