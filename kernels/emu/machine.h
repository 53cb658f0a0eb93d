/*
 * The emulated multiprocessor: runs a kernel's grid on one thread of the system, every GPU thread a
 * fiber. Which of the threads that could go on does so is drawn anew at every stop, by a seed: a
 * barrier that is missing shows as a wrong result, in some seed, instead of never.
 *
 * What it refuses, with the block, the thread and the reason: threads that wait for each other
 * for ever; lanes of a warp that meet in different calls of an operation for the whole warp; a
 * barrier that an ended thread was to join; shared memory beyond the launch's length.
 */
#ifndef KERNELS_EMU_MACHINE_H
#define KERNELS_EMU_MACHINE_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernels/emu/random.h"

struct emu_index {
    unsigned x, y, z;
};

using emu_kernel = void (*)(const void *args);

/* Runs the launch ahead of one that overlaps it. False, and the reason in `error`: it failed. */
using emu_before = std::function<bool(std::string &error)>;

struct emu_grid {
    emu_kernel kernel;
    const char *name;
    const void *args;
    emu_index grid, block; /* blocks; threads of one */
    unsigned cluster;      /* blocks along x, at least 1 */
    size_t shared_len;
    /* Of a launch that overlaps the one ahead: the blocks of the first cluster begin before that
     * one, and it runs at a drawn moment when one of them waits for it, at the latest. */
    emu_before before;
    unsigned launch; /* its number for races.h */
    /* Set when a thread lets the launch behind begin before it has waited for the one ahead. */
    bool *lets_early;
};

/* Runs all of it. True, or false and the reason in `error`: memory is then as it was left. */
bool emu_run(const emu_grid &grid, emu_random &random, std::string &error);

/* What a kernel sees; valid only on a fiber. */
const emu_index &emu_thread_index();
const emu_index &emu_block_index();
const emu_index &emu_block_size();
const emu_index &emu_grid_size();
unsigned emu_cluster_rank();
unsigned emu_cluster_size();

/* `len` bytes at `offset` of the block's dynamic shared memory. */
void *emu_shared(size_t offset, size_t len);

/* Waits until `n_threads` threads of the block have come to barrier `id`. */
void emu_barrier(unsigned id, unsigned n_threads, const void *call);
/* The two halves of the cluster's barrier: every thread that has not ended must arrive. */
void emu_cluster_arrive();
void emu_cluster_wait();
/* Until the launch ahead of this one has ended. */
void emu_grid_wait();
/* The launch behind this one may begin, once every block has said so or ended. */
void emu_grid_launch_dependents();
/* Each lane of `lanes` gives a value; each gets that of lane `from`. All must be at one `call`. */
uint64_t emu_exchange(uint32_t lanes, uint64_t value, unsigned from, const void *call);
/* The lanes of `lanes` whose `value` is not zero. */
uint32_t emu_ballot(uint32_t lanes, bool value, const void *call);
/* What each of the warp's lanes gives, `len` bytes, to all: 32 of them. */
void emu_gather(void *all, const void *own, size_t len, const void *call);
void emu_warp_barrier(uint32_t lanes, const void *call);
/* `len` bytes are read and changed in one. */
void emu_atomic(const void *at, size_t len);
/* Lets others go on. Where a kernel waits for memory in a loop. */
void emu_yield();
/* What happens later by itself: a copy that lands, a product that is done. It happens at a drawn
 * moment, `late`: only when no thread can go on, or when it is forced, once. A run that ends before
 * it is refused, unless it may outlast its threads. It runs on no thread: emu_fault, not
 * emu_fail. */
struct emu_effect {
    std::function<void()> run;
    bool done = false, may_outlast = false;
};
std::shared_ptr<emu_effect> emu_later(bool late, std::function<void()> run);
void emu_force(emu_effect &effect);
/* Lets threads that wait for `what` try again, and waits so. */
void emu_wake(const void *what);
void emu_wait(const void *what, const char *name);
bool emu_draw_half();

/* The chip that is emulated: 80 or 90. What it lacks is refused. */
unsigned emu_chip();
void emu_set_chip(unsigned chip);
void emu_needs_hopper();

/* The thread's number in its block; the offset of an address in the block's shared memory. */
unsigned emu_thread_number();
size_t emu_shared_offset(const void *p);
/* Room of the block for one part of the emulator; made by `make`, freed with the block. */
struct emu_part {
    virtual ~emu_part() = default;
    /* What a block must not end with; null: it may end. */
    virtual const char *unfinished() const
    {
        return nullptr;
    }
};
emu_part &emu_block_part(emu_part *(*make)());

/* Ends the whole run with a reason, a text that lasts: at the next stop, and now. */
void emu_fault(const char *reason);
[[noreturn]] void emu_fail(const char *reason);

#endif
