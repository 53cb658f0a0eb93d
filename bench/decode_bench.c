/*
 * What a decoded token is made of: the four matrix products of a layer of Llama-3.1-8B for few
 * rows, in one graph over several layers' weights, and attention over long contexts. Both must read
 * every byte once, so each is compared with a copy within the GPU's memory.
 */
#include "bench/attention_case.h"
#include "bench/gemm.h"

enum { LAYERS = 4, ROWS_MAX = 64 };

/* --- products --- */

struct layers {
    struct rig *rig;
    struct gemm parts[GEMM_SHAPES];
    struct gpu_graph *graphs[RIG_PROBES];
};

struct rates {
    struct series copy, ours, inexact;
};

static void launch_layers(const struct layers *l, enum rig_code code)
{
    for (size_t layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < GEMM_SHAPES; i++)
            gemm_launch(&l->parts[i], code, layer);
}

static void record(struct layers *l, enum rig_code code)
{
    const struct gpu_driver *driver = l->rig->driver;
    must(driver->capture_begin(l->rig->stream));
    launch_layers(l, code);
    must(driver->capture_end(l->rig->stream, &l->graphs[code]));
}

struct replay {
    const struct layers *l;
    enum rig_code code;
};

static void replay_once(void *context, size_t turn)
{
    const struct replay *p = context;
    (void)turn;
    must(p->l->rig->driver->graph_launch(p->l->graphs[p->code], p->l->rig->stream));
}

static double bytes_of_layers(const struct layers *l)
{
    double sum = 0;
    for (size_t i = 0; i < GEMM_SHAPES; i++)
        sum += gemm_weight_bytes(&l->parts[i]);
    return LAYERS * sum;
}

static double rate_of_layers(const struct layers *l, enum rig_code code)
{
    struct replay p = {l, code};
    return bytes_of_layers(l) / rig_time(l->rig, replay_once, &p, 0.02);
}

static void measure_round(struct rates *v, struct layers *l)
{
    series_add(&v->copy, rig_copy_rate(l->rig));
    series_add(&v->ours, rate_of_layers(l, RIG_EXACT));
    if (l->graphs[RIG_INEXACT] != NULL)
        series_add(&v->inexact, rate_of_layers(l, RIG_INEXACT));
}

static void report(struct results *r, const struct rates *v, const char *what, double first,
                   double aim)
{
    results_add_series(r, "copy", &v->copy, 1e-9, "GB/s", NULL, NULL, NULL);
    results_add_goal(r, what, &v->ours, 1e-9, "GB/s", "copy", &v->copy, first, aim);
    if (v->inexact.n > 0)
        results_add_goal(r, "what exactness costs", &v->ours, 1e-9, "GB/s",
                         "ours without exactness", &v->inexact, 0.90, 1.00);
}

static void measure_rows(struct results *r, struct layers *l, uint32_t n_rows, unsigned n_rounds)
{
    struct rates v = {0};
    char hash[17];
    results_group(r, "decode, a layer's matrices, %u row%s", n_rows, n_rows > 1 ? "s" : "");
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        gemm_set(&l->parts[i], l->parts[i].shape->kind, n_rows, 0);
        gemm_check(&l->parts[i], RIG_EXACT, hash);
        if (l->rig->modules[RIG_INEXACT] != NULL)
            gemm_check(&l->parts[i], RIG_INEXACT, hash);
    }
    for (int code = 0; code < RIG_PROBES; code++)
        if (l->rig->modules[code] != NULL)
            record(l, (enum rig_code)code);
    for (unsigned round = 0; round < n_rounds; round++)
        measure_round(&v, l);
    report(r, &v, "weights read", 0.75, 0.90);
    for (int code = 0; code < RIG_PROBES; code++) {
        l->rig->driver->graph_free(l->graphs[code]);
        l->graphs[code] = NULL;
    }
}

static void measure_layers(struct results *r, struct rig *rig, const struct bench_options *o)
{
    static struct layers l;
    l = (struct layers){.rig = rig};
    for (size_t i = 0; i < GEMM_SHAPES; i++)
        gemm_init(&l.parts[i], rig, gemm_shape(i, o->tiny), ROWS_MAX, LAYERS);
    for (uint32_t n_rows = 1; n_rows <= (o->tiny ? 2 : ROWS_MAX); n_rows *= 2)
        measure_rows(r, &l, n_rows, o->n_rounds);
    rig_release(rig);
}

/* --- attention --- */

static double rate_of_attention(const struct attention_case *c, enum rig_code code)
{
    struct attention_run_of run = {c, code};
    const size_t n = c->r->tiny ? 2 : 32;
    return attention_case_bytes(c) / rig_time_graph(c->r, attention_case_run, &run, n, 0.02);
}

static void measure_attention(struct results *r, struct rig *rig, const struct attention_size *size,
                              unsigned n_rounds)
{
    struct attention_case c;
    struct rates v = {0};
    char hash[17];
    results_group(r, "decode, attention, context %u, batch %u", size->len, size->n_sequences);
    attention_case_init(&c, rig, size);
    attention_case_check(&c, RIG_EXACT, hash);
    if (rig->modules[RIG_INEXACT] != NULL)
        attention_case_check(&c, RIG_INEXACT, hash);
    for (unsigned round = 0; round < n_rounds; round++) {
        series_add(&v.copy, rig_copy_rate(rig));
        series_add(&v.ours, rate_of_attention(&c, RIG_EXACT));
        if (rig->modules[RIG_INEXACT] != NULL)
            series_add(&v.inexact, rate_of_attention(&c, RIG_INEXACT));
    }
    report(r, &v, "keys and values read", 0.70, 0.90);
    attention_case_cleanup(&c);
}

void bench_decode(struct results *r, const struct bench_options *o)
{
    static const struct attention_size large[] = {
        {32, 8, 128, 64, 8192, 1, 2}, {32, 8, 128, 8, 8192, 1, 2}, {32, 8, 128, 1, 8192, 1, 8}};
    static const struct attention_size small[] = {{4, 2, 64, 3, 600, 1, 2},
                                                  {4, 2, 64, 1, 70, 1, 2}};
    struct rig rig;
    rig_open(&rig, o, r);
    measure_layers(r, &rig, o);
    for (size_t i = 0; i < (o->tiny ? 2 : 3); i++)
        measure_attention(r, &rig, o->tiny ? &small[i] : &large[i], o->n_rounds);
    rig_close(&rig);
}
