/*
 * Where the time of a decode step goes: each of its kernels by itself, a layer with and without its
 * products, and sampling, for shapes of Llama-3.1-8B. Everything is measured as graphs, as the
 * engine launches it; what is told of a kernel is the time from one launch to the next.
 */
#include <stdio.h>

#include "bench/step_case.h"

enum { LAYERS = 4, LAUNCHES = 32 };

struct scene {
    struct step_case step;
    struct gemm parts[GEMM_SHAPES];
};

/* What is timed: launches of one kernel (enum step_kernel), or of several in turn. */
enum { LAYER = STEP_KERNELS, PRODUCTS, OTHERS, SAMPLING, LISTS };

static void launch_layer(const struct scene *s, size_t turn, bool products, bool others)
{
    static const struct {
        enum step_kernel kernels[2];
        size_t n;
    } before[GEMM_SHAPES] = {{{STEP_NORM}, 1}, {{STEP_ROPE, STEP_ATTENTION}, 2}, {{STEP_NORM}, 1}};
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        for (size_t j = 0; others && j < before[i].n; j++)
            step_case_launch(&s->step, before[i].kernels[j], turn);
        if (products)
            gemm_launch(&s->parts[i], RIG_EXACT, turn);
    }
}

static void launch(const struct scene *s, int what, size_t turn)
{
    if (what < STEP_KERNELS)
        step_case_launch(&s->step, (enum step_kernel)what, turn);
    else if (what != SAMPLING)
        launch_layer(s, turn, what != OTHERS, what != PRODUCTS);
    for (int i = STEP_SCAN; what == SAMPLING && i <= STEP_CHOOSE; i++)
        step_case_launch(&s->step, (enum step_kernel)i, turn);
}

struct list {
    const struct scene *scene;
    int what;
};

static void launch_list(void *context, size_t turn)
{
    const struct list *l = context;
    launch(l->scene, l->what, turn);
}

static double time_of(const struct scene *s, int what)
{
    struct rig *rig = s->step.rig;
    struct list l = {s, what};
    return rig_time_graph(rig, launch_list, &l, rig->tiny ? 3 : LAUNCHES, 0.004);
}

/* --- what is told --- */

static double layer_bytes(const struct scene *s)
{
    double sum = attention_case_bytes(&s->step.attention);
    for (size_t i = 0; i < GEMM_SHAPES; i++)
        sum += gemm_weight_bytes(&s->parts[i]);
    return sum;
}

static double layer_operations(const struct scene *s)
{
    double sum = 0;
    for (size_t i = 0; i < GEMM_SHAPES; i++)
        sum += gemm_operations(&s->parts[i]);
    return sum;
}

static void check(struct scene *s)
{
    char hash[17];
    attention_case_check(&s->step.attention, RIG_EXACT, hash);
    for (size_t i = 0; i < GEMM_SHAPES; i++)
        gemm_check(&s->parts[i], RIG_EXACT, hash);
}

/* Layers a second that reading, or multiplying where that takes longer, allows. */
static double allowed(const struct scene *s, double bytes_s, double operations_s)
{
    const double kv = attention_case_bytes(&s->step.attention);
    const double read = (layer_bytes(s) - kv) / bytes_s;
    const double multiply = operations_s > 0 ? layer_operations(s) / operations_s : 0;
    return 1 / ((read > multiply ? read : multiply) + kv / bytes_s);
}

struct times {
    struct series layers, allowed;              /* a second */
    struct series seconds[LISTS], top_p[LISTS]; /* with top_p: of the kernels of sampling */
};

static void measure_round(struct times *t, struct scene *s)
{
    struct rig *rig = s->step.rig;
    series_add(&t->allowed, allowed(s, rig_copy_rate(rig), rig_product_rate(rig)));
    for (int i = 0; i < LISTS; i++)
        series_add(&t->seconds[i], time_of(s, i));
    series_add(&t->layers, 1 / t->seconds[LAYER].at[t->layers.n]);
    step_case_choose(&s->step, 0.9f);
    series_add(&t->top_p[SAMPLING], time_of(s, SAMPLING));
    series_add(&t->top_p[STEP_CHOOSE], time_of(s, STEP_CHOOSE)); /* of what lies there now */
    step_case_choose(&s->step, 0);
}

static void report(struct results *r, const struct times *t)
{
    static const char *const names[LISTS] = {[STEP_PREPARE] = "prepare_rows",
                                             [STEP_EMBED] = "embed_rows",
                                             [STEP_NORM] = "rmsnorm_rows",
                                             [STEP_ROPE] = "rope_write",
                                             [STEP_ATTENTION] = "attention",
                                             [STEP_FOLD] = "attention_fold",
                                             [STEP_SCAN] = "sample_scan",
                                             [STEP_WEIGH] = "sample_weigh",
                                             [STEP_CHOOSE] = "sample_choose",
                                             [LAYER] = "a layer",
                                             [PRODUCTS] = "a layer's products",
                                             [OTHERS] = "a layer without them",
                                             [SAMPLING] = "sampling"};
    char name[64];
    results_add_goal(r, "layers", &t->layers, 1, "/s", "what copy and products allow", &t->allowed,
                     0.65, 0.85);
    for (int i = 0; i < LISTS; i++)
        results_add_series(r, names[i], &t->seconds[i], 1e6, "us", "a layer", &t->seconds[LAYER],
                           NULL);
    for (int i = 0; i < LISTS; i++) {
        if (t->top_p[i].n == 0)
            continue;
        snprintf(name, sizeof name, "%s, top_p 0.9", names[i]);
        results_add_series(r, name, &t->top_p[i], 1e6, "us", "a layer", &t->seconds[LAYER], NULL);
    }
}

static void measure(struct results *r, struct scene *s, unsigned n_rounds)
{
    struct times times = {0};
    for (unsigned round = 0; round < n_rounds; round++)
        measure_round(&times, s);
    report(r, &times);
}

static void measure_rows(struct results *r, struct rig *rig, const struct step_size *size,
                         const struct bench_options *o)
{
    static struct scene s;
    results_group(r, "a decode step, %u row%s at %u", size->n_rows, size->n_rows > 1 ? "s" : "",
                  size->len);
    s = (struct scene){0};
    step_case_init(&s.step, rig, size);
    for (size_t i = 0; i < GEMM_SHAPES; i++) {
        gemm_init(&s.parts[i], rig, gemm_shape(i, o->tiny), size->n_rows, LAYERS);
        gemm_set(&s.parts[i], gemm_shape(i, o->tiny)->kind, size->n_rows, 0);
    }
    check(&s);
    measure(r, &s, o->n_rounds);
    step_case_cleanup(&s.step);
}

void bench_step(struct results *r, const struct bench_options *o)
{
    static const struct step_size large[] = {
        {1, 1024, 32, 8, 128, 4096, 128256, 32}, {1, 8192, 32, 8, 128, 4096, 128256, 8},
        {8, 1024, 32, 8, 128, 4096, 128256, 8},  {8, 8192, 32, 8, 128, 4096, 128256, 4},
        {64, 1024, 32, 8, 128, 4096, 128256, 4}, {256, 1024, 32, 8, 128, 4096, 128256, 4}};
    static const struct step_size small[] = {{1, 300, 4, 2, 64, 72, 5000, 2},
                                             {3, 70, 4, 2, 64, 72, 300, 2}};
    struct rig rig;
    rig_open(&rig, o, r);
    for (size_t i = 0; i < (o->tiny ? 2 : 6); i++)
        measure_rows(r, &rig, o->tiny ? &small[i] : &large[i], o);
    rig_close(&rig);
}
