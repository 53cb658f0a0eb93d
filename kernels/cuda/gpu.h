/*
 * A GPU as the backend needs it: memory, streams, events, modules, launches, graphs, tensor maps.
 * One table, two makers: gpu_cuda (the driver's libcuda.so.1, opened at run time, so that one
 * program runs with and without a GPU) and gpu_emu (kernels/emu: the same kernels on the CPU).
 * What is enqueued on a stream runs in order, later; its errors show at the next call that waits.
 *
 * Errors: ERR_NOT_FOUND (no driver, no such GPU), ERR_UNSUPPORTED (driver too old, chip not
 * supported), ERR_MEMORY (with the numbers), ERR_LIMIT (a launch that the device cannot do), ERR_IO
 * (the device failed: nothing on it can be used any more; open it anew or end). Each names the call
 * and the driver's own reason.
 *
 * A struct gpu and what was made from it belong to one thread at a time: the one that opened it,
 * until another one enters.
 */
#ifndef KERNELS_CUDA_GPU_H
#define KERNELS_CUDA_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/cuda/tensor_map.h"

struct gpu;
struct gpu_stream;
struct gpu_event;
struct gpu_module;
struct gpu_kernel;
struct gpu_graph;

struct gpu_info {
    char name[128];
    uint8_t uuid[16];
    unsigned major, minor; /* compute capability: 9.0 is Hopper */
    unsigned n_multiprocessors;
    unsigned driver_version; /* 1000 * major + 10 * minor of the CUDA version that it speaks */
    size_t shared_len_max;   /* bytes of shared memory that one block can have */
    uint64_t memory_len, memory_free;
    uint64_t l2_len;
    bool has_ecc;
};

/* An address in the device's memory. */
struct gpu_address {
    uint64_t at;
};

struct gpu_launch {
    unsigned grid[3], block[3]; /* blocks; threads of one */
    unsigned cluster;           /* blocks along x that form a cluster; 0 or 1: none */
    size_t shared_len;          /* bytes of dynamic shared memory of a block */
    /* May begin before the launch ahead of it has ended: the kernel then waits by itself
     * (griddepcontrol.wait) before it reads what that one wrote. */
    bool overlaps_previous;
};

/* How a tile of a matrix is copied by the device's copy engine (PTX ISA, "Tensors"). */
enum gpu_tensor_type { GPU_TENSOR_BF16, GPU_TENSOR_F32 };
enum gpu_swizzle { GPU_SWIZZLE_NONE, GPU_SWIZZLE_32, GPU_SWIZZLE_64, GPU_SWIZZLE_128 };
enum { GPU_TENSOR_RANK_MAX = 5 };

struct gpu_tensor {
    struct gpu_address base; /* a multiple of 16 */
    enum gpu_tensor_type type;
    enum gpu_swizzle swizzle; /* bytes of a box's row: at most the swizzle's 32, 64 or 128 */
    unsigned rank;            /* 1 to 5; dimension 0 is the one whose elements are neighbours */
    uint64_t dims[GPU_TENSOR_RANK_MAX];
    uint64_t strides[GPU_TENSOR_RANK_MAX - 1]; /* bytes, of dimensions 1 and up; multiples of 16 */
    unsigned box[GPU_TENSOR_RANK_MAX];         /* elements that one copy moves, each 1 to 256 */
    bool read_once; /* the L2 cache fetches what a copy asks for; else up to 256 bytes around it */
};

struct gpu_driver {
    const char *name; /* "cuda", "emu" */
    bool is_emulated; /* by this program: slow, and the same everywhere */

    struct err (*count)(unsigned *out);
    /* Takes the device's primary context. Needs a CUDA driver of version GPU_DRIVER_MIN. */
    struct err (*open)(struct gpu **out, unsigned index);
    void (*close)(struct gpu *g);
    /* The calling thread takes the device over from the one that had it. */
    struct err (*enter)(struct gpu *g);
    struct err (*info)(struct gpu *g, struct gpu_info *out);

    struct err (*alloc)(struct gpu *g, struct gpu_address *out, size_t len);
    void (*free)(struct gpu *g, struct gpu_address a);
    /* Memory of this process that the device copies at full speed. */
    struct err (*host_alloc)(struct gpu *g, void **out, size_t len);
    void (*host_free)(struct gpu *g, void *p);

    struct err (*stream_new)(struct gpu *g, struct gpu_stream **out);
    void (*stream_free)(struct gpu_stream *s);
    struct err (*stream_wait)(struct gpu_stream *s); /* until all that was enqueued is done */
    /* What is enqueued on `s` from now on waits for the event. */
    struct err (*stream_await)(struct gpu_stream *s, struct gpu_event *e);

    /* Enqueued; host memory must be left alone until the stream has passed. */
    struct err (*copy_to)(struct gpu_stream *s, struct gpu_address to, const void *from,
                          size_t len);
    struct err (*copy_from)(struct gpu_stream *s, void *to, struct gpu_address from, size_t len);
    struct err (*copy)(struct gpu_stream *s, struct gpu_address to, struct gpu_address from,
                       size_t len);
    struct err (*fill)(struct gpu_stream *s, struct gpu_address to, uint8_t value, size_t len);

    struct err (*event_new)(struct gpu *g, struct gpu_event **out);
    void (*event_free)(struct gpu_event *e);
    struct err (*event_record)(struct gpu_event *e, struct gpu_stream *s);
    struct err (*event_wait)(struct gpu_event *e);
    /* Both were recorded and have passed. */
    struct err (*event_elapsed)(double *out_ms, struct gpu_event *from, struct gpu_event *to);

    /* A fatbin: machine code for a list of chips. ERR_UNSUPPORTED when this chip is not in it. */
    struct err (*module_load)(struct gpu *g, struct gpu_module **out, const void *image,
                              size_t len);
    void (*module_free)(struct gpu_module *m);
    /* Borrowed from the module. `shared_len` is the most that any launch of it will ask for. */
    struct err (*kernel_get)(struct gpu_module *m, struct gpu_kernel **out, const char *name,
                             size_t shared_len);
    /* `args` is the kernel's one argument, copied before the call returns. */
    struct err (*launch)(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *how,
                         const void *args, size_t args_len);

    /* Between begin and end nothing of the stream runs: it is kept as a graph. */
    struct err (*capture_begin)(struct gpu_stream *s);
    struct err (*capture_end)(struct gpu_stream *s, struct gpu_graph **out);
    struct err (*graph_launch)(struct gpu_graph *g, struct gpu_stream *s);
    void (*graph_free)(struct gpu_graph *g);

    struct err (*tensor_map)(struct gpu *g, struct gpu_tensor_map *out,
                             const struct gpu_tensor *tensor);
};

enum { GPU_DRIVER_MIN = 13000 }; /* of nvcc 13.0, which makes the kernels' machine code */

extern const struct gpu_driver gpu_cuda;

#endif
