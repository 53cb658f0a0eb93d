/* Results of attention against its definition in double, for rows here and there. */
#ifndef BENCH_ATTENTION_CHECK_H
#define BENCH_ATTENTION_CHECK_H

#include "bench/attention_case.h"

/* Bytes of `out`. */
size_t attention_results_len(const struct attention_case *c);
/* All of it was written, and its sample is no further off than `most`, relative L2; else the
 * program ends. */
void attention_check_results(const struct attention_case *c, const uint16_t *results, double most);

#endif
