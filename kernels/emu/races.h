/*
 * Races: two accesses to the same bytes of shared or device memory, one of them a write, by threads
 * (or by copies and products that they started) between which nothing puts an order. What orders is
 * what the machine promises (PTX ISA, "Memory consistency model"): barriers of a block and a
 * cluster, arrivals at an mbarrier and waits for it, __syncwarp, waits for copies and products, the
 * wait for the launch ahead, launches of one stream. Shuffles, votes, ldmatrix and the issue of a
 * product order nothing, atomics order nothing but do not race with each other. A write of the
 * value that is there already is no race by itself.
 *
 * So a missing barrier is found in any order of the threads, also where the result is right. It
 * works with kernels that are compiled with -fsanitize=thread and linked with race_hooks.cc, which
 * hears of each of their loads and stores; with others everything here does nothing. Two bytes are
 * looked at together. Streams are taken as ordered with each other.
 *
 * Vector clocks (Fidge, Mattern; for races Flanagan and Freund, "FastTrack", PLDI 2009): an actor
 * counts its own ticks, and a clock says how many ticks of every actor are known to be over.
 */
#ifndef KERNELS_EMU_RACES_H
#define KERNELS_EMU_RACES_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace emu
{

struct machine;
struct thread;

struct race_clock {
    std::vector<uint32_t> ticks; /* of each actor of the cluster: of those behind the end, none */
    bool waited = false;         /* for the launch ahead */

    void join(const race_clock &other);
    void reach(size_t actor, uint32_t tick);
};

enum class race_kind : uint8_t { read, write, atomic };

/* Something that a thread has started and that goes on beside it. */
struct race_op {
    race_clock clock; /* when it was started */
    size_t actor = 0;
    uint32_t tick = 0, run = 0;
    const void *call = nullptr; /* where it was started: a return address */
};

struct race_mbarrier {
    race_clock arrived, over; /* all that has arrived; up to the last phase that is over */
    uint32_t n_phases = 0;
};

/* An actor that is no thread. */
struct race_agent {
    const char *what; /* "a copy" */
    size_t thread;    /* that has started it, or one of those */
};

/* A cluster that runs: the threads of its blocks are the first actors. */
struct race_run {
    uint32_t number = 0;
    std::vector<race_clock> threads;
    std::unordered_map<const void *, size_t> actors; /* by what stands for them */
    std::vector<race_agent> agents;
    std::unordered_map<const void *, race_mbarrier> mbarriers;
    race_clock at_cluster, past_cluster; /* its barrier: arrived, and of the phase that is over */
};

/* Kernels that tell of their accesses are in this program. */
void races_watch();

/* A launch of a stream, in the stream's order: its number. `lets_early`: the launch behind it may
 * begin before it has waited for the one ahead. Something else in the stream, which waits for all
 * launches ahead of it. */
unsigned races_launch(const void *stream, bool overlaps_previous, bool lets_early);
void races_no_launch(const void *stream);

/* The blocks of `m` are made; they have ended, and what was done in their shared memory is of no
 * account any more. */
void races_begin(machine &m);
void races_end(const machine &m);
/* Memory of the device. */
void races_allocated(const void *p, size_t len);
void races_freed(const void *p);

/* What a thread has done so far goes into the clock; what the clock knows, the thread knows. */
void races_release(thread &t, race_clock &to);
void races_acquire(thread &t, const race_clock &from);
void races_launch_waited(thread &t);

/* The cluster's barrier: `passed` when all have arrived. */
void races_cluster_arrive(thread &t);
void races_cluster_passed();
void races_cluster_waited(thread &t);

/* At an mbarrier. `comes`: before a thread waits, `waited`: after. `lands`: what `op` brings counts
 * in the barrier's phase. */
void races_mbarrier_init(const void *barrier);
void races_mbarrier_arrive(const void *barrier);
void races_mbarrier_comes(const void *barrier);
void races_mbarrier_waited(const void *barrier);
void races_mbarrier_over(const void *barrier);
void races_mbarrier_lands(const std::shared_ptr<race_op> &op, const void *barrier);

/* The calling thread's own; `call`: where, a return address. */
void races_access(const void *p, size_t len, race_kind kind, const void *call);

/* The calling thread's last store was made: looks at what it has changed. */
void races_settle();

/* The actor that stands for `key` works beside the calling thread, from now on, in its `tick`. Null
 * where nothing is watched. */
std::shared_ptr<race_op> races_start(const void *key, uint32_t tick, const char *what,
                                     const void *call);
/* The same as another's beginning, as a further actor. */
std::shared_ptr<race_op> races_start_from(const std::shared_ptr<race_op> &first, const void *key,
                                          uint32_t tick);
/* One more thread has started its part of it. */
void races_join_start(race_op *op, thread &t);
void races_access_by(const std::shared_ptr<race_op> &op, const void *p, size_t len, race_kind kind);
/* The actor of `key` is known by the thread to be past that tick. */
void races_reach(thread &t, const void *key, uint32_t tick);

} // namespace emu

#endif
