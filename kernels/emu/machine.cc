#include "kernels/emu/machine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include "kernels/emu/fiber.h"

namespace
{

enum {
    WARP = 32,
    THREADS_MAX = 1024,
    CLUSTER_MAX = 8,
    BARRIERS = 16,
    SHARED_ALIGN = 1024,
    STACK_LEN = 128 << 10,
};

enum class state { ready, waiting, ended };

struct block;

struct thread {
    fiber own;
    block *home = nullptr;
    unsigned number = 0; /* in the block */
    emu_index index = {};
    state now = state::ready;
    const char *waits_for = "";
    uint64_t got = 0; /* what the last exchange brought */
    uint32_t got_bits = 0;
};

/* A meeting of some lanes of one warp. */
struct meeting {
    uint32_t lanes = 0, arrived = 0;
    const void *call = nullptr;
    uint64_t value[WARP] = {};
    unsigned from[WARP] = {};
};

struct barrier {
    unsigned n_wanted = 0;
    std::vector<thread *> arrived;
    /* Of each warp that has come: the call, since a barrier is one for all lanes of a warp. */
    const void *call[THREADS_MAX / WARP] = {};
};

struct block {
    emu_index index = {};
    unsigned rank = 0; /* in the cluster */
    uint8_t *shared = nullptr;
    std::vector<thread> threads;
    std::vector<std::vector<meeting>> meetings; /* of each warp: those that wait for lanes */
    barrier barriers[BARRIERS];
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
    std::vector<thread *> at_cluster_barrier;
    std::vector<std::pair<const void *, thread *>> waiters;
    std::vector<std::function<void()>> soon, late; /* what will happen by itself */
    size_t n_ended = 0;
    thread *current = nullptr;
    bool failed = false;
    const char *complaint = nullptr; /* of the current thread; else nobody can go on */
};

machine *running;

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

thread &self()
{
    return *running->current;
}

std::string place(const thread &t)
{
    const emu_index &b = t.home->index, &i = t.index;
    char text[160];
    snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u)",
             running->grid->name, b.x, b.y, b.z, i.x, i.y, i.z);
    return text;
}

/* Away from the current thread; back when the scheduler draws it again. */
void leave()
{
    thread *t = running->current;
    fiber_switch(&t->own, &running->scheduler);
}

void wait_for(const char *what)
{
    self().now = state::waiting;
    self().waits_for = what;
    leave();
}

void wake(thread *t)
{
    t->now = state::ready;
    running->ready.push_back(t);
}

void thread_main()
{
    fiber_entered();
    thread *t = running->current;
    running->grid->kernel(running->grid->args);
    t->now = state::ended;
    running->n_ended++;
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
    if (m.complaint != nullptr)
        return place(*m.current) + ": " + m.complaint;
    for (const auto &b : m.blocks)
        for (const thread &t : b->threads)
            if (t.now == state::waiting)
                return "threads wait for each other for ever; one of them: " + place(t) + ", at " +
                       t.waits_for;
    return "no thread can go on";
}

void land(machine &m, std::vector<std::function<void()>> &effects)
{
    size_t i = m.random->below(effects.size());
    std::function<void()> effect = std::move(effects[i]);
    effects[i] = std::move(effects.back());
    effects.pop_back();
    effect();
}

/* One thread's turn, or something that was to happen. False: nothing is left to do. */
bool turn(machine &m)
{
    if (!m.soon.empty() && (m.ready.empty() || m.random->below(4) == 0)) {
        land(m, m.soon);
    } else if (!m.ready.empty()) {
        size_t i = m.random->below(m.ready.size());
        m.current = m.ready[i];
        m.ready[i] = m.ready.back();
        m.ready.pop_back();
        fiber_switch(&m.scheduler, &m.current->own);
    } else if (!m.late.empty()) {
        land(m, m.late);
    } else {
        return false;
    }
    return true;
}

void run_cluster(machine &m)
{
    size_t n_threads = 0;
    for (auto &b : m.blocks)
        for (thread &t : b->threads) {
            m.ready.push_back(&t);
            n_threads++;
        }
    while (m.n_ended < n_threads && !m.failed)
        m.failed = !turn(m) || m.failed;
    if (!m.failed && !(m.soon.empty() && m.late.empty())) {
        m.failed = true;
        m.complaint = "it ended, the last of its blocks, while a copy or a product was under way";
    }
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

/* Everybody is there: each lane gets its value, and all but the last to come are woken. */
void finish_meeting(thread &last, meeting &m)
{
    unsigned first = last.number / WARP * WARP;
    uint32_t bits = 0;
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
        if (&t != &last)
            wake(&t);
    }
}

void meet(uint32_t lanes, uint64_t value, unsigned from, const void *call)
{
    thread &t = self();
    meeting &m = find_meeting(t, lanes, call);
    unsigned lane = t.number % WARP;
    m.arrived |= 1u << lane;
    m.value[lane] = value;
    m.from[lane] = from;
    if (m.arrived != m.lanes) {
        wait_for("an operation of its warp");
        return;
    }
    finish_meeting(t, m);
    auto &of_warp = t.home->meetings[t.number / WARP];
    of_warp.erase(of_warp.begin() + (&m - of_warp.data()));
    emu_yield();
}

} // namespace

const emu_index &emu_thread_index()
{
    return self().index;
}

const emu_index &emu_block_index()
{
    return self().home->index;
}

const emu_index &emu_block_size()
{
    return running->grid->block;
}

const emu_index &emu_grid_size()
{
    return running->grid->grid;
}

unsigned emu_cluster_rank()
{
    return self().home->rank;
}

void *emu_shared(size_t offset, size_t len)
{
    size_t have = running->grid->shared_len;
    if (offset > have || len > have - offset)
        emu_fail("shared memory beyond what the launch gave");
    return self().home->shared + offset;
}

void emu_barrier(unsigned id, unsigned n_threads, const void *call)
{
    if (id >= BARRIERS || n_threads == 0 || n_threads % WARP != 0)
        emu_fail("a barrier is one of 16, for a multiple of 32 threads");
    barrier &b = self().home->barriers[id];
    arrive(b, n_threads, call);
    if (b.arrived.size() < n_threads) {
        wait_for("a barrier of its block");
        return;
    }
    b.arrived.pop_back(); /* this thread goes on as one of many, too */
    release(b.arrived);
    emu_yield();
}

void emu_cluster_barrier(const void *call)
{
    (void)call;
    machine &m = *running;
    size_t n = 0;
    for (auto &b : m.blocks)
        n += b->threads.size();
    if (m.at_cluster_barrier.size() + 1 < n) {
        m.at_cluster_barrier.push_back(&self());
        wait_for("the cluster's barrier");
        return;
    }
    release(m.at_cluster_barrier);
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

void emu_yield()
{
    wake(&self());
    leave();
}

void emu_later(bool late, std::function<void()> effect)
{
    (late ? running->late : running->soon).push_back(std::move(effect));
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

unsigned emu_thread_number()
{
    return self().number;
}

size_t emu_shared_offset(const void *p)
{
    size_t offset = (size_t)((const uint8_t *)p - self().home->shared);
    if (offset >= running->grid->shared_len)
        emu_fail("an address that is not in the block's shared memory");
    return offset;
}

size_t emu_shared_len()
{
    return running->grid->shared_len;
}

emu_part &emu_block_part(emu_part *(*make)())
{
    auto &part = self().home->part;
    if (part == nullptr)
        part.reset(make());
    return *part;
}

void emu_fail(const char *reason)
{
    running->failed = true;
    running->complaint = reason; /* nothing may be allocated on a fiber that nobody returns to */
    leave();
    abort(); /* a failed run is never continued */
}

bool emu_run(const emu_grid &grid, emu_random &random, std::string &error)
{
    if (!check(grid, error))
        return false;
    unsigned n_blocks = grid.grid.x * grid.grid.y * grid.grid.z;
    unsigned n_threads = grid.block.x * grid.block.y * grid.block.z;
    for (unsigned cluster : draw_order(n_blocks / grid.cluster, random)) {
        machine m;
        m.grid = &grid;
        m.random = &random;
        for (unsigned rank = 0; rank < grid.cluster; rank++)
            m.blocks.push_back(
                make_block(grid, cluster * grid.cluster + rank, rank, (size_t)rank * n_threads));
        running = &m;
        run_cluster(m);
        if (m.failed)
            error = reason(m);
        running = nullptr;
        if (m.failed)
            return false;
    }
    return true;
}
