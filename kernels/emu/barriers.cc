/* Where threads meet: the barriers of a block and of a cluster, the operations of a warp. */
#include <cstring>

#include "kernels/emu/block.h"

using namespace emu;

namespace
{

void arrive(barrier &b, unsigned n_threads, const void *call)
{
    thread &t = self();
    unsigned warp = t.number / WARP;
    if (b.arrived.empty()) {
        b.n_wanted = n_threads;
        memset(b.call, 0, sizeof b.call);
    }
    if (b.n_wanted != n_threads)
        emu_fail("a barrier is joined for another number of threads");
    if (b.call[warp] != nullptr && b.call[warp] != call)
        emu_fail("lanes of a warp come to a barrier from different calls");
    b.call[warp] = call;
    b.arrived.push_back(&t);
    races_release(t, b.past);
}

/* All are there: what each has done, everybody knows. */
void order(barrier &b)
{
    for (thread *t : b.arrived)
        races_acquire(*t, b.past);
    b.past = race_clock();
}

void release(std::vector<thread *> &threads)
{
    std::vector<thread *> all;
    all.swap(threads);
    for (thread *t : all)
        wake(t);
}

meeting &find_meeting(thread &t, uint32_t lanes, const void *call)
{
    auto &of_warp = t.home->meetings[t.number / WARP];
    uint32_t bit = 1u << t.number % WARP;
    if ((lanes & bit) == 0)
        emu_fail("a lane is not among those that it names");
    for (meeting &m : of_warp)
        if (m.lanes == lanes && (m.arrived & bit) == 0) {
            if (m.call != call)
                emu_fail("lanes of a warp stand at different calls of one operation");
            return m;
        } else if ((m.lanes & lanes) != 0) {
            emu_fail("lanes of a warp name different sets of lanes");
        }
    of_warp.emplace_back();
    of_warp.back().lanes = lanes;
    of_warp.back().call = call;
    return of_warp.back();
}

/* What every lane gave, to every lane. */
void gather(const meeting &m)
{
    for (unsigned to = 0; to < WARP; to++)
        for (unsigned lane = 0; m.gathered[to] != nullptr && lane < WARP; lane++)
            memcpy((uint8_t *)m.gathered[to] + lane * m.len, m.given[lane], m.len);
}

/* Everybody is there: each lane gets its value, and all but the last to come are woken. */
void finish_meeting(thread &last, meeting &m)
{
    unsigned first = last.number / WARP * WARP;
    uint32_t bits = 0;
    gather(m);
    for (unsigned lane = 0; lane < WARP; lane++)
        if ((m.lanes >> lane & 1) != 0 && m.value[lane] != 0)
            bits |= 1u << lane;
    for (unsigned lane = 0; lane < WARP; lane++) {
        if ((m.lanes >> lane & 1) == 0)
            continue;
        thread &t = last.home->threads[first + lane];
        unsigned from = m.from[lane];
        t.got = from < WARP && (m.lanes >> from & 1) != 0 ? m.value[from] : m.value[lane];
        t.got_bits = bits;
        races_acquire(t, m.past);
        if (&t != &last)
            wake(&t);
    }
}

/* What lanes give beside a value, and whether their meeting orders what they do before and after.
 */
struct gathering {
    const void *given;
    void *all;
    size_t len;
    bool orders;
};

void meet(uint32_t lanes, uint64_t value, unsigned from, const void *call,
          const gathering &g = {nullptr, nullptr, 0, false})
{
    thread &t = self();
    meeting &m = find_meeting(t, lanes, call);
    unsigned lane = t.number % WARP;
    m.arrived |= 1u << lane;
    m.given[lane] = g.given;
    m.gathered[lane] = g.all;
    m.len = g.len;
    m.value[lane] = value;
    m.from[lane] = from;
    if (g.orders)
        races_release(t, m.past);
    if (m.arrived != m.lanes) {
        wait_for("an operation of its warp");
        return;
    }
    finish_meeting(t, m);
    auto &of_warp = t.home->meetings[t.number / WARP];
    of_warp.erase(of_warp.begin() + (&m - of_warp.data()));
    emu_yield();
}

/* Every thread of the cluster that has not ended is there: its next phase begins. */
void pass_cluster()
{
    machine &m = *running;
    if (m.n_at_cluster == 0 || m.n_at_cluster < m.n_threads - m.n_ended)
        return;
    m.n_at_cluster = 0;
    m.cluster_phase++;
    races_cluster_passed();
    emu_wake(&m.cluster_phase);
}

} // namespace

void emu::leave_cluster(thread &t)
{
    if (t.at_cluster && t.cluster_phase == running->cluster_phase)
        running->n_at_cluster--;
    pass_cluster();
}

void emu_barrier(unsigned id, unsigned n_threads, const void *call)
{
    if (id >= BARRIERS || n_threads == 0 || n_threads % WARP != 0)
        emu_fail("a barrier is one of 16, for a multiple of 32 threads");
    images_note(*self().home);
    barrier &b = self().home->barriers[id];
    arrive(b, n_threads, call);
    if (b.arrived.size() < n_threads) {
        wait_for("a barrier of its block");
        return;
    }
    order(b);
    b.arrived.pop_back(); /* this thread goes on as one of many, too */
    release(b.arrived);
    emu_yield();
}

void emu_grid_wait()
{
    while (running->before) {
        running->n_at_grid++;
        emu_wait(&running->before, "the launch ahead of its own");
    }
    self().waited_at_grid = true;
    races_launch_waited(self());
    emu_yield();
}

void emu_grid_launch_dependents()
{
    if (!self().waited_at_grid && running->grid->lets_early != nullptr)
        *running->grid->lets_early = true;
}

bool emu::emu_run_before(machine &m)
{
    emu_before before;
    before.swap(m.before);
    m.n_at_grid = 0;
    m.failed = !before(m.error_before);
    emu_wake(&m.before);
    return !m.failed;
}

void emu_cluster_arrive()
{
    thread &t = self();
    images_note(*t.home);
    if (t.at_cluster)
        emu_fail("a second arrival at the cluster's barrier without a wait between");
    t.at_cluster = true;
    t.cluster_phase = running->cluster_phase;
    races_cluster_arrive(t);
    running->n_at_cluster++;
    pass_cluster();
    emu_yield();
}

void emu_cluster_wait()
{
    thread &t = self();
    if (!t.at_cluster)
        emu_fail("a wait at the cluster's barrier without an arrival");
    while (t.cluster_phase == running->cluster_phase)
        emu_wait(&running->cluster_phase, "the cluster's barrier");
    t.at_cluster = false;
    races_cluster_waited(t);
    emu_yield();
}

uint64_t emu_exchange(uint32_t lanes, uint64_t value, unsigned from, const void *call)
{
    meet(lanes, value, from, call);
    return self().got;
}

uint32_t emu_ballot(uint32_t lanes, bool value, const void *call)
{
    meet(lanes, value ? 1 : 0, WARP, call);
    return self().got_bits;
}

void emu_gather(void *all, const void *own, size_t len, const void *call)
{
    images_note(*self().home);
    meet(0xffffffffu, 0, WARP, call, gathering{own, all, len, false});
}

void emu_warp_barrier(uint32_t lanes, const void *call)
{
    images_note(*self().home);
    meet(lanes, 0, WARP, call, gathering{nullptr, nullptr, 0, true});
}
