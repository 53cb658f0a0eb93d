/*
 * What the parts of the emulator share: threads, blocks, the machine that runs one cluster of a
 * grid. For the emulator alone.
 */
#ifndef KERNELS_EMU_BLOCK_H
#define KERNELS_EMU_BLOCK_H

#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/emu/fiber.h"
#include "kernels/emu/images.h"
#include "kernels/emu/machine.h"
#include "kernels/emu/races.h"

namespace emu
{

enum { WARP = 32, THREADS_MAX = 1024, CLUSTER_MAX = 8, BARRIERS = 16, SHARED_ALIGN = 1024 };

enum class state { ready, waiting, ended };

struct block;

/* Stores of a thread that are committed together: each with its reading of shared memory and its
 * writing, which is made when it was read. */
struct stored {
    std::shared_ptr<emu_effect> read, write;
};
using store_group = std::vector<std::shared_ptr<stored>>;

struct thread {
    fiber own;
    block *home = nullptr;
    unsigned number = 0; /* in the block */
    emu_index index = {};
    state now = state::ready;
    const char *waits_for = "";
    uint64_t got = 0; /* what the last exchange brought */
    uint32_t got_bits = 0;
    bool at_cluster = false;    /* it has arrived at the cluster's barrier and not waited yet */
    uint64_t cluster_phase = 0; /* that it arrived in */
    std::vector<store_group> stores; /* committed ones, then the open one */
    std::vector<std::vector<std::shared_ptr<emu_effect>>> copies; /* likewise, of its own */
    uint32_t n_stores = 0, n_copies = 0;                          /* groups committed so far */
};

/* A meeting of some lanes of one warp. */
struct meeting {
    uint32_t lanes = 0, arrived = 0;
    const void *call = nullptr;
    uint64_t value[WARP] = {};
    unsigned from[WARP] = {};
    const void *given[WARP] =
        {}; /* of a gathering: what each lane gives, and where all of it goes */
    void *gathered[WARP] = {};
    size_t len = 0;
    race_clock past; /* of the lanes, where it orders what they do */
};

struct barrier {
    unsigned n_wanted = 0;
    std::vector<thread *> arrived;
    /* Of each warp that has come: the call, since a barrier is one for all lanes of a warp. */
    const void *call[THREADS_MAX / WARP] = {};
    race_clock past; /* of those that have come */
};

struct block {
    emu_index index = {};
    unsigned rank = 0; /* in the cluster */
    uint8_t *shared = nullptr;
    size_t shared_room = 0;       /* its length, rounded up */
    std::unique_ptr<images> both; /* once something beside the threads uses the shared memory */
    std::vector<thread> threads;
    size_t n_ended = 0;
    std::vector<std::vector<meeting>> meetings; /* of each warp: those that wait for lanes */
    barrier barriers[BARRIERS];
    std::vector<std::pair<const uint64_t *, const thread *>> unfenced; /* mbarriers, by whom */
    std::unique_ptr<emu_part> part;

    ~block()
    {
        free(shared);
    }
};

/* One cluster at a time: nothing else may depend on blocks of others running beside it. */
struct machine {
    const emu_grid *grid = nullptr;
    emu_random *random = nullptr;
    fiber scheduler;
    std::vector<std::unique_ptr<block>> blocks;
    std::vector<thread *> ready;
    std::vector<std::pair<const void *, thread *>> waiters;
    std::vector<std::shared_ptr<emu_effect>> soon, late; /* what will happen by itself */
    size_t n_threads = 0, n_ended = 0;
    uint64_t cluster_phase = 0;
    size_t n_at_cluster = 0;
    size_t slow_rank = 0; /* of the block whose threads are drawn seldom, if it has one */
    emu_before before;    /* the launch that this one overlaps, until it has run */
    size_t n_at_grid = 0; /* threads that wait for it */
    std::string error_before;
    std::unique_ptr<race_run> races; /* null: nobody watches for them */
    size_t first_free_stack = 0;     /* that no thread of this machine has */
    thread *current = nullptr;       /* null: the scheduler */
    bool failed = false;
    const char *complaint = nullptr;
    const thread *culprit = nullptr; /* who broke the rule; null: nobody in particular */
};

extern machine *running;

thread &self();
/* Away from the current thread; back when the scheduler draws it again. */
void leave();
void wait_for(const char *what);
void wake(thread *t);
/* The block of the cluster that has this address in its shared memory. */
block &block_of(const void *p);
/* Runs what the launch overlaps. False: it failed. */
bool emu_run_before(machine &m);
/* Takes an ended thread out of the count at the cluster's barrier. */
void leave_cluster(thread &t);

} // namespace emu

#endif
