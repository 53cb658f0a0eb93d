/*
 * Threads that share out the items of one operation in parts, each a contiguous range, and take one
 * part after the other until none is left. Every item is computed by one thread alone, so no
 * result depends on how many threads there are. Threads look for the next operation for a moment
 * before they sleep; an idle pool uses no processor time.
 *
 * One caller at a time. Every thread computes with the default floating-point environment
 * (rounding to nearest, subnormals kept).
 */
#ifndef KERNELS_POOL_H
#define KERNELS_POOL_H

#include <stddef.h>

#include "common/err.h"

struct pool;

enum { POOL_THREADS_MAX = 1024 };

/* Items begin to end - 1; `thread` is 0 to pool_n_threads - 1, for scratch memory. */
typedef void pool_work(void *context, size_t begin, size_t end, unsigned thread);

/* n_threads counts the caller: 1 starts none. At most POOL_THREADS_MAX. */
struct err pool_new(struct pool **out, unsigned n_threads) MUST_USE;
void pool_free(struct pool *p);
unsigned pool_n_threads(const struct pool *p);

/* Runs `work` over all items and returns when it is done; a thread may be given several ranges. No
 * range has fewer than `grain` items (at least 1), so small work stays on the caller's thread. */
void pool_run(struct pool *p, size_t n_items, size_t grain, pool_work *work, void *context);

/* The CPUs that this process may use, at least 1. */
unsigned pool_cpus(void);

#endif
