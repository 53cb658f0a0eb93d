/*
 * Matrix products of many rows, as a prefill has them, with the shapes of Llama-3.1-8B: against the
 * best that NVIDIA's library does with the same inputs, against products whose operands lie in
 * shared memory already, and against our own without what makes it exact.
 */
#include <stdio.h>
#include <string.h>

#include "bench/cublaslt.h"
#include "bench/gemm.h"

/* One value a round of each, in operations a second. */
struct rates {
    struct series peak, ours, own_kind, inexact, theirs;
    char hash[17];
    size_t n_theirs; /* algorithms among which the best was looked for */
};

struct scene {
    struct gemm gemm;
    struct cublaslt *cublaslt; /* NULL: there is none */
    bool has_inexact;
};

/* Another tile gives the same bits: so it is the product of docs/CUDA.md, not just a near one. */
static void check_ours(struct scene *s, uint32_t n_rows, char hash[17])
{
    char other[17];
    gemm_set(&s->gemm, GEMM_STORE, n_rows, n_rows > 64 ? 64 : 8);
    gemm_check(&s->gemm, RIG_EXACT, other);
    gemm_set(&s->gemm, GEMM_STORE, n_rows, 0);
    gemm_check(&s->gemm, RIG_EXACT, hash);
    if (strcmp(hash, other) != 0)
        must(err_set(ERR_UNTRUE, "tiles of another size gave other bits"));
    if (s->has_inexact)
        gemm_check(&s->gemm, RIG_INEXACT, other);
}

static size_t prepare_theirs(struct scene *s)
{
    const struct gemm *g = &s->gemm;
    char hash[17];
    const struct cublaslt_product p = {.n_rows = g->n_rows,
                                       .n_out = g->shape->n_out,
                                       .n_cols = g->shape->n_cols,
                                       .y = g->out,
                                       .x = g->x,
                                       .w = g->w,
                                       .n_inputs = g->n_inputs};
    size_t n = s->cublaslt != NULL ? cublaslt_prepare(s->cublaslt, &p) : 0;
    if (n == 0)
        return 0;
    rig_fill(g->r, g->out, 0xff, (size_t)g->n_rows * g->shape->n_out * 2);
    cublaslt_multiply(s->cublaslt, 0);
    must(g->r->driver->stream_wait(g->r->stream));
    gemm_check_results(g, "cuBLASLt", hash);
    return n;
}

static double rate_of(const struct gemm *g, enum rig_code code)
{
    struct gemm_run run = {g, code};
    return gemm_operations(g) / rig_time(g->r, gemm_run, &run, 0.02);
}

/* What takes turns in a round. */
enum turn { PEAK, OURS, THEIRS, INEXACT, OWN_KIND, TURNS };

static void measure_own_kind(struct rates *v, struct gemm *g, uint32_t n_rows)
{
    if (g->shape->kind == GEMM_STORE)
        return;
    gemm_set(g, g->shape->kind, n_rows, 0);
    series_add(&v->own_kind, rate_of(g, RIG_EXACT));
    gemm_set(g, GEMM_STORE, n_rows, 0);
}

static void measure_turn(struct rates *v, struct scene *s, uint32_t n_rows, enum turn turn)
{
    struct gemm *g = &s->gemm;
    if (turn == PEAK)
        series_add(&v->peak, rig_product_rate(g->r));
    else if (turn == OURS)
        series_add(&v->ours, rate_of(g, RIG_EXACT));
    else if (turn == THEIRS && v->n_theirs > 0)
        series_add(&v->theirs,
                   gemm_operations(g) / rig_time(g->r, cublaslt_multiply, s->cublaslt, 0.02));
    else if (turn == INEXACT && s->has_inexact)
        series_add(&v->inexact, rate_of(g, RIG_INEXACT));
    else if (turn == OWN_KIND)
        measure_own_kind(v, g, n_rows);
}

static void measure_round(struct rates *v, struct scene *s, uint32_t n_rows, unsigned round)
{
    for (unsigned i = 0; i < TURNS; i++)
        measure_turn(v, s, n_rows, (enum turn)rig_turn(round, i, TURNS));
}

static void report(struct results *r, const struct rates *v)
{
    char best[48];
    const struct series *theirs = &v->theirs;
    const char *bound = v->peak.at[0] > 0 ? "products in shared memory" : NULL;
    if (bound != NULL)
        results_add_series(r, bound, &v->peak, 1e-12, "TFLOP/s", NULL, NULL, NULL);
    results_add_series(r, "ours", &v->ours, 1e-12, "TFLOP/s", bound, &v->peak, v->hash);
    snprintf(best, sizeof best, "cuBLASLt, best of %zu", v->n_theirs);
    if (v->n_theirs > 0) {
        results_add_series(r, best, theirs, 1e-12, "TFLOP/s", bound, &v->peak, NULL);
        results_add_goal(r, "ours against the best", &v->ours, 1e-12, "TFLOP/s", "cuBLASLt", theirs,
                         0.90, 1.00);
    }
    if (v->own_kind.n > 0)
        results_add_series(r, "with its epilogue", &v->own_kind, 1e-12, "TFLOP/s", "ours", &v->ours,
                           NULL);
    if (v->inexact.n > 0)
        results_add_goal(r, "what exactness costs", &v->ours, 1e-12, "TFLOP/s",
                         "ours without exactness", &v->inexact, 0.90, 1.00);
}

static void measure(struct results *r, struct rig *rig, struct cublaslt *cublaslt,
                    const struct gemm_shape *shape, uint32_t n_rows, unsigned n_rounds)
{
    struct rates v = {0};
    struct scene s = {.cublaslt = cublaslt, .has_inexact = rig->modules[RIG_INEXACT] != NULL};
    char hash[17];
    uint64_t len = 2 * (uint64_t)shape->n_cols * (n_rows + shape->n_out);
    results_group(r, "gemm, %s (%u x %u), %u rows", shape->name, shape->n_out, shape->n_cols,
                  n_rows);
    gemm_init(&s.gemm, rig, shape, n_rows, rig_rotation(rig, len));
    gemm_set(&s.gemm, shape->kind, n_rows, 0);
    gemm_check(&s.gemm, RIG_EXACT, hash);
    check_ours(&s, n_rows, v.hash);
    v.n_theirs = prepare_theirs(&s);
    for (unsigned round = 0; round < n_rounds; round++)
        measure_round(&v, &s, n_rows, round);
    report(r, &v);
    rig_release(rig);
}

void bench_gemm(struct results *r, const struct bench_options *o)
{
    static const uint32_t rows[] = {4096, 8192}, few[] = {24, 11};
    struct rig rig;
    rig_open(&rig, o, r);
    struct cublaslt *cublaslt = cublaslt_open(&rig, r);
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < GEMM_SHAPES; j++)
            measure(r, &rig, cublaslt, gemm_shape(j, o->tiny), o->tiny ? few[i] : rows[i],
                    o->n_rounds);
    cublaslt_close(cublaslt);
    rig_close(&rig);
}
