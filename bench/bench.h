/*
 * The benchmarks, one function each: measures, prints its table and adds the figures to `r`. They
 * run from the root of the sources, whose texts they use, and leave nothing behind in the folder
 * for temporary files.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "bench/results.h"

struct bench_options {
    const char *backend; /* of the engine; NULL: the machine's best */
    const char *shape;   /* of the engine's random models; NULL: all of them */
    const char *model;   /* a model folder instead of random weights */
    const char *part;    /* of the log's; NULL: all of them */
    const char *folder;  /* for temporary files */
    unsigned n_threads;  /* of the engine; 0: one thread, then one per CPU */
    unsigned n_rounds;   /* 1 to ROUNDS_MAX */
    bool emulated;       /* the emulated GPU: shows that it runs, and nothing else */
    unsigned n_streams;  /* of the engine on a GPU: requests that run together; 0: 256 */
    bool tiny;           /* the smallest inputs: shows that it runs, not how fast */
};

void bench_engine(struct results *r, const struct bench_options *o);
void bench_log(struct results *r, const struct bench_options *o);
/* NULL is fine; ERR_USAGE lists the names. */
struct err bench_log_part_check(const char *name) MUST_USE;
void bench_tokenizer(struct results *r, const struct bench_options *o);
void bench_load(struct results *r, const struct bench_options *o);
/* On a GPU, as `bench engine --backend cuda` is (bench_engine_gpu). */
void bench_gemm(struct results *r, const struct bench_options *o);
void bench_attention(struct results *r, const struct bench_options *o);
void bench_decode(struct results *r, const struct bench_options *o);
void bench_step(struct results *r, const struct bench_options *o);
void bench_engine_gpu(struct results *r, const struct bench_options *o);

#endif
