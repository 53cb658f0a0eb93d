#include "kernels/emu/machine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <utility>

#include "kernels/emu/async.h"
#include "kernels/emu/block.h"

using namespace emu;

machine *emu::running;

thread &emu::self()
{
    return *running->current;
}

void emu::leave()
{
    thread *t = running->current;
    fiber_switch(&t->own, &running->scheduler);
}

void emu::wait_for(const char *what)
{
    self().now = state::waiting;
    self().waits_for = what;
    leave();
}

void emu::wake(thread *t)
{
    t->now = state::ready;
    running->ready.push_back(t);
}

block &emu::block_of(const void *p)
{
    for (auto &b : running->blocks)
        if ((const uint8_t *)p >= b->shared &&
            (const uint8_t *)p < b->shared + running->grid->shared_len)
            return *b;
    emu_fail("an address that is not in the cluster's shared memory");
}

namespace
{

enum { STACK_LEN = 128 << 10 };

/* Stacks are made once: a run of a thousand threads needs as many. */
uint8_t *stack_of(size_t i)
{
    static std::vector<uint8_t *> stacks;
    while (stacks.size() <= i) {
        void *p = mmap(nullptr, STACK_LEN, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            abort();
        stacks.push_back((uint8_t *)p);
    }
    return stacks[i];
}

std::string place(const thread &t)
{
    const emu_index &b = t.home->index, &i = t.index;
    char text[160];
    snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u)",
             running->grid->name, b.x, b.y, b.z, i.x, i.y, i.z);
    return text;
}

void thread_main()
{
    fiber_entered();
    thread *t = running->current;
    running->grid->kernel(running->grid->args);
    emu_stores_end();
    t->now = state::ended;
    t->home->n_ended++;
    running->n_ended++;
    leave_cluster(*t);
    leave();
    abort(); /* an ended thread is never drawn again */
}

emu_index spread(unsigned i, const emu_index &size)
{
    return {i % size.x, i / size.x % size.y, i / size.x / size.y};
}

std::unique_ptr<block> make_block(const emu_grid &g, unsigned number, unsigned rank,
                                  size_t first_stack)
{
    std::unique_ptr<block> b(new block);
    unsigned n = g.block.x * g.block.y * g.block.z;
    b->index = spread(number, g.grid);
    b->rank = rank;
    /* Its own length, so that a sanitizer sees what goes beyond; never zero at the start. */
    if (g.shared_len > 0) {
        size_t len = (g.shared_len + SHARED_ALIGN - 1) / SHARED_ALIGN * SHARED_ALIGN;
        b->shared_room = len;
        b->shared = (uint8_t *)aligned_alloc(SHARED_ALIGN, len);
        if (b->shared == nullptr)
            abort();
        memset(b->shared, 0xff, len);
    }
    b->threads.resize(n);
    b->meetings.resize((n + WARP - 1) / WARP);
    for (unsigned i = 0; i < n; i++) {
        thread &t = b->threads[i];
        t.home = b.get();
        t.number = i;
        t.index = spread(i, g.block);
        fiber_init(&t.own, stack_of(first_stack + i), STACK_LEN, thread_main);
    }
    return b;
}

/* Why a run failed. */
std::string reason(const machine &m)
{
    if (m.culprit != nullptr)
        return place(*m.culprit) + ": " + m.complaint;
    if (m.complaint != nullptr)
        return std::string("kernel ") + m.grid->name + ": " + m.complaint;
    for (const auto &b : m.blocks)
        for (const thread &t : b->threads)
            if (t.now == state::waiting)
                return "threads wait for each other for ever; one of them: " + place(t) + ", at " +
                       t.waits_for;
    return "no thread can go on";
}

void land(machine &m, std::vector<std::shared_ptr<emu_effect>> &effects)
{
    size_t i = m.random->below(effects.size());
    std::shared_ptr<emu_effect> effect = std::move(effects[i]);
    effects[i] = std::move(effects.back());
    effects.pop_back();
    emu_force(*effect);
}

/* In half of the runs one block of a cluster is slow. */
size_t draw_thread(machine &m)
{
    size_t i = m.random->below(m.ready.size());
    for (int tries = 0; tries < 12 && m.ready[i]->home->rank == m.slow_rank; tries++)
        i = m.random->below(m.ready.size());
    return i;
}

void run_thread(machine &m)
{
    size_t i = draw_thread(m);
    m.current = m.ready[i];
    m.ready[i] = m.ready.back();
    m.ready.pop_back();
    images_runs(*m.current->home, *m.current);
    fiber_switch(&m.scheduler, &m.current->own);
    races_settle();
    m.current = nullptr;
}

/* One thread's turn, or something that was to happen. False: nothing is left to do. */
bool turn(machine &m)
{
    if (m.n_at_grid > 0 && m.random->below(m.n_threads) == 0)
        return emu_run_before(m);
    if (!m.soon.empty() && (m.ready.empty() || m.random->below(4) == 0))
        land(m, m.soon);
    else if (!m.ready.empty())
        run_thread(m);
    else if (!m.late.empty())
        land(m, m.late);
    else
        return m.n_at_grid > 0 && emu_run_before(m);
    return true;
}

/* What may outlast its threads happens now; of the rest, nothing may be left. */
void finish_effects(machine &m, std::vector<std::shared_ptr<emu_effect>> &effects)
{
    while (!effects.empty() && !m.failed) {
        if (!effects.back()->done && !effects.back()->may_outlast)
            emu_fault("it ended, the last of its blocks, while a copy or a product was under way");
        land(m, effects);
    }
}

void check_parts(const machine &m)
{
    for (const auto &b : m.blocks)
        if (!m.failed && b->part != nullptr && b->part->unfinished() != nullptr)
            emu_fault(b->part->unfinished());
}

void run_cluster(machine &m)
{
    m.slow_rank = m.blocks.size() > 1 ? m.random->below(2 * m.blocks.size()) : 1;
    for (auto &b : m.blocks)
        for (thread &t : b->threads) {
            m.ready.push_back(&t);
            m.n_threads++;
        }
    while (m.n_ended < m.n_threads && !m.failed)
        m.failed = !turn(m) || m.failed;
    finish_effects(m, m.soon);
    finish_effects(m, m.late);
    check_parts(m);
    for (auto &b : m.blocks)
        for (thread &t : b->threads)
            fiber_forget(&t.own);
}

bool check(const emu_grid &g, std::string &error)
{
    unsigned n = g.block.x * g.block.y * g.block.z;
    unsigned n_blocks = g.grid.x * g.grid.y * g.grid.z;
    char text[160];
    if (n >= 1 && n <= THREADS_MAX && n_blocks >= 1 && g.cluster <= CLUSTER_MAX &&
        g.grid.x % g.cluster == 0)
        return true;
    snprintf(text, sizeof text, "kernel %s: %u blocks of %u threads in clusters of %u", g.name,
             n_blocks, n, g.cluster);
    error = text;
    return false;
}

/* The clusters' numbers in an order that is drawn. */
std::vector<unsigned> draw_order(unsigned n, emu_random &random)
{
    std::vector<unsigned> order(n);
    for (unsigned i = 0; i < n; i++) {
        size_t at = random.below(i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    return order;
}

} // namespace

void emu_yield()
{
    wake(&self());
    leave();
}

void emu_atomic(const void *at, size_t len)
{
    races_access(at, len, race_kind::atomic, __builtin_return_address(0));
}

std::shared_ptr<emu_effect> emu_later(bool late, std::function<void()> run)
{
    auto effect = std::make_shared<emu_effect>();
    effect->run = std::move(run);
    (late ? running->late : running->soon).push_back(effect);
    return effect;
}

void emu_force(emu_effect &effect)
{
    if (effect.done)
        return;
    effect.done = true;
    effect.run();
}

void emu_wake(const void *what)
{
    auto &all = running->waiters;
    for (size_t i = all.size(); i-- > 0;)
        if (all[i].first == what) {
            wake(all[i].second);
            all[i] = all.back();
            all.pop_back();
        }
}

void emu_wait(const void *what, const char *name)
{
    running->waiters.emplace_back(what, &self());
    wait_for(name);
}

bool emu_draw_half()
{
    return running->random->below(2) == 0;
}

void emu_fault(const char *reason)
{
    running->failed = true;
    running->complaint = reason; /* nothing may be allocated on a fiber that nobody returns to */
    running->culprit = running->current;
}

void emu_fail(const char *reason)
{
    emu_fault(reason);
    leave();
    abort(); /* a failed run is never continued */
}

static bool run_one(machine &m, unsigned cluster, size_t first_stack, std::string &error)
{
    const emu_grid &grid = *m.grid;
    size_t n_threads = grid.block.x * grid.block.y * grid.block.z;
    machine *outer = running;
    for (unsigned rank = 0; rank < grid.cluster; rank++)
        m.blocks.push_back(
            make_block(grid, cluster * grid.cluster + rank, rank, first_stack + rank * n_threads));
    m.first_free_stack = first_stack + grid.cluster * n_threads;
    running = &m;
    races_begin(m);
    run_cluster(m);
    races_end(m);
    if (m.failed)
        error = m.error_before.empty() ? reason(m) : m.error_before;
    running = outer;
    return !m.failed;
}

bool emu_run(const emu_grid &grid, emu_random &random, std::string &error)
{
    if (!check(grid, error))
        return false;
    size_t first_stack = running != nullptr ? running->first_free_stack : 0;
    emu_before before = grid.before;
    for (unsigned cluster :
         draw_order(grid.grid.x * grid.grid.y * grid.grid.z / grid.cluster, random)) {
        machine m;
        m.grid = &grid;
        m.random = &random;
        m.before.swap(before);
        if (!run_one(m, cluster, first_stack, error))
            return false;
        before.swap(m.before);
    }
    return !before || before(error);
}
