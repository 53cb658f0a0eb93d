/*
 * What the parts of the emulated driver share: its objects, and the functions of its table that
 * streams and modules have. For the emulator alone.
 */
#ifndef KERNELS_EMU_GPU_PARTS_H
#define KERNELS_EMU_GPU_PARTS_H

/* C headers of ours, seen from C++. */
extern "C" {
#include "kernels/emu/gpu_emu.h"
}

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/emu/registry.h"

struct kernel_launch {
    const emu_registration *entry;
    struct gpu_launch how;
    std::vector<uint64_t> args;
};

/* What lies in a stream: a launch, or something else, which fails by setting the device's
 * `failure`. */
struct task {
    std::function<void()> run;
    std::shared_ptr<const kernel_launch> launch;
};

struct gpu {
    unsigned index = 0;
    std::string failure; /* "" while it is well */
    uint64_t memory_used = 0;
    std::vector<gpu_stream *> streams;
};

struct gpu_stream {
    gpu *home;
    std::deque<task> tasks;
    bool capturing = false;
    std::vector<task> captured;
};

/* Counts of records, so that a wait knows which one it waits for. */
struct gpu_event {
    gpu *home;
    uint64_t n_recorded = 0, n_passed = 0;
    gpu_stream *stream = nullptr; /* that it was last recorded on */
    double passed_s = 0;
};

struct gpu_kernel {
    const emu_registration *entry;
    size_t shared_len;
};

struct gpu_module {
    gpu *home;
    std::vector<std::unique_ptr<gpu_kernel>> kernels;
};

struct gpu_graph {
    gpu *home;
    std::vector<task> tasks;
};

extern emu_random gpu_dice;
/* What is drawn, and the machine that runs, are one for all devices. */
extern std::recursive_mutex gpu_turn;

/* Of a block. An Ampere has what the chips 8.6 and 8.9 have, the least of those that run its code.
 */
size_t gpu_shared_len_max();

/* Its failure, if it has one. */
struct err gpu_state(const gpu *g);
/* In some runs it is run at once, in some late: both are legal. */
struct err stream_enqueue(gpu_stream *s, task t);
/* Runs what lies in it, until the GPU fails. */
void stream_drain(gpu_stream *s);

/* Of the driver's table. */
struct err emu_stream_new(gpu *g, gpu_stream **out);
void emu_stream_free(gpu_stream *s);
struct err emu_stream_wait(gpu_stream *s);
struct err emu_stream_await(gpu_stream *s, gpu_event *e);
struct err emu_copy_to(gpu_stream *s, struct gpu_address to, const void *from, size_t len);
struct err emu_copy_from(gpu_stream *s, void *to, struct gpu_address from, size_t len);
struct err emu_copy(gpu_stream *s, struct gpu_address to, struct gpu_address from, size_t len);
struct err emu_fill(gpu_stream *s, struct gpu_address to, uint8_t value, size_t len);
struct err emu_event_new(gpu *g, gpu_event **out);
void emu_event_free(gpu_event *e);
struct err emu_event_record(gpu_event *e, gpu_stream *s);
struct err emu_event_wait(gpu_event *e);
struct err emu_event_elapsed(double *out_ms, gpu_event *from, gpu_event *to);
struct err emu_capture_begin(gpu_stream *s);
struct err emu_capture_end(gpu_stream *s, gpu_graph **out);
struct err emu_graph_launch(gpu_graph *g, gpu_stream *s);
void emu_graph_free(gpu_graph *g);
struct err emu_kernel_get(gpu_module *m, gpu_kernel **out, const char *name, size_t shared_len);
struct err emu_launch(gpu_stream *s, gpu_kernel *k, const struct gpu_launch *how, const void *args,
                      size_t args_len);
struct err emu_module_load(gpu *g, gpu_module **out, const void *image, size_t len);
void emu_module_free(gpu_module *m);

#endif
