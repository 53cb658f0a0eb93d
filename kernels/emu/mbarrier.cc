/* Barriers in shared memory. */
#include <algorithm>
#include <cstring>

#include "kernels/emu/async.h"
#include "kernels/emu/block.h"

using namespace emu;

namespace
{

/* What the eight bytes hold here; on the chip they are opaque. */
struct counters {
    uint16_t n_arrivals, n_missing;
    int32_t bytes_and_phase; /* bytes still to come, times two; the phase's parity */
};
static_assert(sizeof(counters) == sizeof(uint64_t), "an mbarrier is eight bytes");

/* Of shared memory that nobody has written. */
enum : uint16_t { NEVER_MADE = 0xffff };

counters load(const uint64_t *barrier)
{
    counters c;
    memcpy(&c, barrier, sizeof c);
    return c;
}

void write(uint64_t *barrier, const counters &c)
{
    block &b = block_of(barrier);
    images_set(b, (size_t)((uint8_t *)barrier - b.shared), &c, sizeof c);
}

/* A phase with nothing missing is over: the next begins, and whoever waited goes on. */
void store(uint64_t *barrier, counters c)
{
    bool over = c.n_missing == 0 && c.bytes_and_phase / 2 == 0;
    if (over) {
        c.n_missing = c.n_arrivals;
        c.bytes_and_phase ^= 1;
    }
    write(barrier, c);
    if (over) {
        races_mbarrier_over(barrier);
        emu_wake(barrier);
    }
}

bool is_unfenced(const block &b, const uint64_t *barrier)
{
    return std::any_of(b.unfenced.begin(), b.unfenced.end(),
                       [barrier](const auto &made) { return made.first == barrier; });
}

unsigned parity_of(const uint64_t *barrier)
{
    return (unsigned)load(barrier).bytes_and_phase & 1u;
}

} // namespace

void emu_mbarrier_init(uint64_t *barrier, unsigned n_arrivals)
{
    if (n_arrivals == 0 || n_arrivals >= NEVER_MADE || (uintptr_t)barrier % 8 != 0)
        emu_fail("an mbarrier is aligned to 8 bytes and counts at least one arrival");
    (void)emu_shared_offset(barrier);
    counters c = {(uint16_t)n_arrivals, (uint16_t)n_arrivals, 0};
    races_mbarrier_init(barrier);
    write(barrier, c);
    self().home->unfenced.emplace_back(barrier, &self());
}

void emu_fence_mbarrier_init()
{
    auto &all = self().home->unfenced;
    const thread *own = &self();
    all.erase(std::remove_if(all.begin(), all.end(),
                             [own](const auto &made) { return made.second == own; }),
              all.end());
}

void emu_mbarrier_arrive(uint64_t *barrier, uint32_t n_bytes)
{
    images_note(*self().home);
    counters c = load(barrier);
    if (c.n_arrivals == NEVER_MADE || c.n_missing == 0)
        emu_fail("an arrival at an mbarrier that counts no more, or was never made");
    c.bytes_and_phase += 2 * (int32_t)n_bytes;
    c.n_missing--;
    races_mbarrier_arrive(barrier);
    store(barrier, c);
    emu_yield();
}

void emu_mbarrier_wait(uint64_t *barrier, unsigned parity)
{
    emu_yield();
    if (load(barrier).n_arrivals == NEVER_MADE)
        emu_fail("a wait at an mbarrier that was never made");
    races_mbarrier_comes(barrier);
    while (parity_of(barrier) == parity)
        emu_wait(barrier, "an mbarrier");
    races_mbarrier_waited(barrier);
}

void emu_mbarrier_arrive_remote(uint64_t *barrier, unsigned rank)
{
    size_t offset = emu_shared_offset(barrier);
    if (rank >= running->blocks.size())
        emu_fail("an arrival at a block that the cluster does not have");
    block &b = *running->blocks[rank];
    if (b.n_ended == b.threads.size())
        emu_fail("an arrival at an mbarrier of a block that has ended");
    uint64_t *there = (uint64_t *)(void *)(b.shared + offset);
    if (&b != self().home && is_unfenced(b, there))
        emu_fail("an arrival at another block's mbarrier that was made without its fence");
    emu_mbarrier_arrive(there, 0);
}

void emu_mbarrier_land(uint64_t *barrier, uint32_t n_bytes)
{
    counters c = load(barrier);
    if (c.n_arrivals == NEVER_MADE) {
        emu_fault("a copy counts at an mbarrier that was never made");
        return;
    }
    if (is_unfenced(block_of(barrier), barrier)) {
        emu_fault("a copy counts at an mbarrier that was made without its fence");
        return;
    }
    c.bytes_and_phase -= 2 * (int32_t)n_bytes;
    store(barrier, c);
}
