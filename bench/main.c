/*
 * Benchmarks of the engine, the tokenizer, loading and the log, and of the kernels on a GPU: ratios
 * of numbers that were measured in turn in one run. Absolute numbers are one machine's alone.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/bench_model.h"
#include "common/text.h"
#include "kernels/backend.h"

static const struct bench {
    const char *name;
    void (*run)(struct results *r, const struct bench_options *o);
    bool on_gpu; /* not one of "all" */
} benches[] = {{"engine", bench_engine, false},
               {"log", bench_log, false},
               {"tokenizer", bench_tokenizer, false},
               {"load", bench_load, false},
               {"gemm", bench_gemm, true},
               {"attention", bench_attention, true},
               {"decode", bench_decode, true},
               {"step", bench_step, true}};

enum { N_BENCHES = sizeof benches / sizeof benches[0], ROUNDS = 7 };

struct options {
    struct bench_options bench;
    const char *name, *json, *commit;
    bool record;
};

static bool is_bench(const char *name)
{
    bool known = strcmp(name, "all") == 0;
    for (size_t i = 0; i < N_BENCHES; i++)
        known = known || strcmp(name, benches[i].name) == 0;
    return known;
}

/* Whether a GPU computes, real or emulated. */
static bool is_on_gpu(const struct options *o)
{
    bool on_gpu = o->bench.backend != NULL && strcmp(o->bench.backend, "cuda") == 0;
    for (size_t i = 0; i < N_BENCHES; i++)
        on_gpu |= o->name != NULL && strcmp(o->name, benches[i].name) == 0 && benches[i].on_gpu;
    return on_gpu;
}

static unsigned number(struct argp_state *state, const char *text, const char *flag, unsigned max)
{
    uint64_t n = 0;
    if (is_err(decimal_decode(&n, bytes_of_str(text), max)) || n == 0)
        argp_error(state, "%s takes a number from 1 to %u, not \"%s\"", flag, max, text);
    return (unsigned)n;
}

static error_t parse_bench_option(struct bench_options *o, int key, char *text,
                                  struct argp_state *state)
{
    if (key == 'b')
        o->backend = text;
    else if (key == 's')
        o->shape = text;
    else if (key == 'm')
        o->model = text;
    else if (key == 'f')
        o->folder = text;
    else if (key == 'p')
        o->part = text;
    else if (key == 't')
        o->n_threads = number(state, text, "--threads", 1024);
    else if (key == 'r')
        o->n_rounds = number(state, text, "--rounds", ROUNDS_MAX);
    else if (key == 'n')
        o->n_streams = number(state, text, "--streams", 4096);
    else if (key == 'y')
        o->tiny = true;
    else if (key == 'e')
        o->emulated = true;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    if (key == 'j')
        o->json = text;
    else if (key == 'c')
        o->commit = text;
    else if (key == 'R')
        o->record = true;
    else if (key == ARGP_KEY_ARG && !is_bench(text))
        argp_error(
            state,
            "there is no benchmark \"%s\"; there are: engine log tokenizer load all, and on a GPU "
            "gemm attention decode step",
            text);
    else if (key == ARGP_KEY_ARG && o->name != NULL)
        argp_error(state, "one benchmark at a time, or all");
    else if (key == ARGP_KEY_ARG)
        o->name = text;
    else
        return parse_bench_option(&o->bench, key, text, state);
    return 0;
}

static const struct argp_option known[] = {
    {"json", 'j', "FILE", 0, "Write the figures there, too", 0},
    {"record", 'R', NULL, 0,
     "Write them to bench/results/DATE-cpu-NUMERICS[-BENCH[-PART]].json, or DATE-GPU-BENCH.json",
     0},
    {"rounds", 'r', "N", 0, "Rounds of which the median is taken (default 7)", 0},
    {"threads", 't', "N", 0, "Engine: that many threads (default: one, then one per CPU)", 0},
    {"backend", 'b', "NAME", 0, "Engine: default is the machine's best set of the CPU; cuda: a GPU",
     0},
    {"streams", 'n', "N", 0, "Engine on a GPU: requests that run together (default 256)", 0},
    {"shape", 's', "NAME", 0, "Engine: random weights of that shape; a wrong name lists them", 0},
    {"model", 'm', "DIR", 0, "Engine: that model instead of random weights", 0},
    {"part", 'p', "NAME", 0, "Log: that part alone; a wrong name lists them", 0},
    {"folder", 'f', "DIR", 0, "For temporary files, on the disk to measure (default /tmp)", 0},
    {"tiny", 'y', NULL, 0, "Smallest inputs: shows that it runs, not how fast", 0},
    {"emulated", 'e', NULL, 0, "On the emulated GPU: shows that it runs; with --tiny", 0},
    {"commit", 'c', "TEXT", 0, "What was measured, for the JSON", 0},
    {0}};

/* What is measured must be a GPU's, and large. */
static void check_gpu(const struct options *o)
{
    if (o->bench.emulated && !o->bench.tiny)
        must(err_set(ERR_USAGE, "--emulated takes --tiny: larger inputs would take days"));
    if (o->record && o->bench.tiny)
        must(err_set(ERR_USAGE, "--record: with --tiny nothing is measured"));
    if (o->name == NULL || strcmp(o->name, "all") == 0)
        must(err_set(ERR_USAGE, "--backend cuda takes the name of one benchmark: engine"));
    if (strcmp(o->name, "log") == 0 || strcmp(o->name, "tokenizer") == 0 ||
        strcmp(o->name, "load") == 0)
        must(err_set(ERR_USAGE, "%s has nothing to do with a GPU", o->name));
}

/* Refuses what could not be measured before anything is. */
static void check(const struct options *o, const struct backend **backend)
{
    if (is_on_gpu(o))
        check_gpu(o);
    else if (o->bench.emulated)
        must(
            err_set(ERR_USAGE, "--emulated takes gemm, attention, decode, step or --backend cuda"));
    else
        must(backend_get(backend, o->bench.backend, true)); /* random weights are bf16 */
    must(bench_shape_check(o->bench.shape));
    must(bench_log_part_check(o->bench.part));
    if (o->json == NULL)
        return;
    FILE *file = fopen(o->json, "ae"); /* what is in it stays until there are results */
    if (file == NULL)
        must(err_errno("cannot write %s", o->json));
    else
        fclose(file);
}

static void record(const struct results *r, const struct options *o, const char *numerics)
{
    char date[11], path[256], gpu[64];
    bool all = o->name == NULL || strcmp(o->name, "all") == 0;
    const char *part = all ? NULL : o->bench.part;
    date_today(date);
    if (results_device(r, gpu))
        snprintf(path, sizeof path, "bench/results/%s-%s-%s.json", date, gpu, o->name);
    else
        snprintf(path, sizeof path, "bench/results/%s-cpu-%s%s%s%s%s.json", date, numerics,
                 all ? "" : "-", all ? "" : o->name, part ? "-" : "", part ? part : "");
    must(results_write(r, path, o->commit));
    printf("\nrecorded in %s\n", path);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {known,
                                     parse,
                                     "[engine|log|tokenizer|load|all|gemm|attention|decode|step]",
                                     "Benchmarks, as ratios measured in one run.",
                                     NULL,
                                     NULL,
                                     NULL};
    struct options o = {.bench = {.n_rounds = ROUNDS, .folder = "/tmp"}, .commit = "unknown"};
    const struct backend *backend = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    check(&o, &backend);
    struct results *r = results_new();
    bool all = o.name == NULL || strcmp(o.name, "all") == 0;
    if (o.bench.emulated)
        results_without_values(r);
    for (size_t i = 0; i < N_BENCHES; i++)
        if (all ? !benches[i].on_gpu : strcmp(o.name, benches[i].name) == 0)
            benches[i].run(r, &o.bench);
    if (o.json != NULL)
        must(results_write(r, o.json, o.commit));
    if (o.record)
        record(r, &o, backend != NULL ? backend->numerics : "");
    results_free(r);
    return 0;
}
