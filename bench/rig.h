/*
 * A GPU to measure on: the project's kernels and those of benchmarks alone, random numbers in its
 * memory, and times by its own events. An error ends the program (must).
 *
 * On the emulated GPU, of builds with tests, everything runs as on a real one, so that no benchmark
 * meets a GPU as its first run; times mean nothing there and are not told.
 */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include "bench/bench.h"
#include "bench/rig_args.h"
#include "kernels/cuda/gpu_backend.h"

/* Whose kernels: the shipped ones; the same without what makes them exact (inexact.cu); probes.cu.
 */
enum rig_code { RIG_EXACT, RIG_INEXACT, RIG_PROBES, RIG_CODES };

enum { RIG_ALLOCATIONS = 256, RIG_KERNELS = 64 };

struct rig_found {
    enum rig_code code;
    char name[32];
    struct gpu_kernel *kernel;
};

struct rig {
    const struct gpu_backend *backend;
    const struct gpu_driver *driver;
    struct gpu *gpu;
    struct gpu_info info;
    struct gpu_stream *stream;
    struct gpu_module *modules[RIG_CODES];
    struct gpu_event *from, *to;
    struct gpu_address taken[RIG_ALLOCATIONS];
    size_t n_taken;
    struct rig_found found[RIG_KERNELS];
    size_t n_found;
    struct gpu_address values; /* random ones, of which rig_random makes more */
    struct gpu_address copy_from, copy_to;
    size_t turn;
    bool emulated, tiny;
};

/* Opens the first GPU, or the emulated one, and tells the results what it is. */
void rig_open(struct rig *r, const struct bench_options *o, struct results *results);
void rig_close(struct rig *r);
/* The backend that `o` names, for the engine; ends the program where this build has none. */
const struct gpu_backend *rig_backend(const struct bench_options *o);

/* Freed by rig_release, which keeps nothing. */
struct gpu_address rig_alloc(struct rig *r, size_t len);
struct gpu_address rig_put(struct rig *r, const void *from, size_t len);
/* bf16 between -2 and 2, of random bits; they come again after 8 Mi values. Never zeros, with which
 * a GPU is faster. */
struct gpu_address rig_random(struct rig *r, size_t n_values);
void rig_fill(struct rig *r, struct gpu_address at, uint8_t byte, size_t len);
void rig_get(struct rig *r, void *out, struct gpu_address from, size_t len);
void rig_release(struct rig *r);

/* What is measured as the i-th of n in a round. A chip that gets hot is slower for whoever comes
 * later, most of all for whoever comes behind what heats it: every other round begins with another,
 * and the ones between go the other way. */
static inline unsigned rig_turn(unsigned round, unsigned i, unsigned n)
{
    const unsigned turn = (round / 2 + i) % n;
    return round % 2 == 0 ? turn : n - 1 - turn;
}

static inline void *rig_pointer(struct gpu_address a)
{
    return (void *)(uintptr_t)a.at;
}

/* The kernel of that name; `shared_len` as gpu.h has it. */
struct gpu_kernel *rig_kernel(struct rig *r, enum rig_code code, const char *name,
                              size_t shared_len);

/* Enqueues one piece of work; which of several inputs it takes goes by `turn`. */
typedef void rig_work(void *context, size_t turn);
/* Seconds of one, once it has run: by events around as many as fill `seconds`, one behind the
 * other.
 */
double rig_time(struct rig *r, rig_work *work, void *context, double seconds);

/* The same of a graph that holds `n` of them, in turn. */
double rig_time_graph(struct rig *r, rig_work *work, void *context, size_t n, double seconds);

/* Bytes a second of a copy within the GPU's memory, those read and those written. Its two buffers
 * of 1 GiB are kept from the first time on. */
double rig_copy_rate(struct rig *r);
/* Operations a second of products whose operands lie in shared memory already, on random numbers:
 * what the tensor cores do at most, at the clock that the GPU keeps then. 0: there is no such probe
 * for this chip. */
double rig_product_rate(struct rig *r);

/* Numbers of inputs to take in turn so that none is in the L2 cache when it comes again. */
size_t rig_rotation(const struct rig *r, uint64_t len);

#endif
