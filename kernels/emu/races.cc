#include "kernels/emu/races.h"

#include <cstring>
#include <map>
#include <string>

#include "kernels/emu/block.h"
#include "kernels/emu/race_shadow.h"

#define FAST __attribute__((no_sanitize("address", "undefined")))

namespace emu
{

namespace
{

bool watched;
std::map<uintptr_t, size_t> allocations;

race_run *current_run()
{
    return running != nullptr ? running->races.get() : nullptr;
}

size_t actor_of(const thread &t)
{
    return t.home->rank * t.home->threads.size() + t.number;
}

size_t find_actor(race_run &r, const void *key, const char *what)
{
    auto found = r.actors.find(key);
    if (found != r.actors.end())
        return found->second;
    race_agent agent = {what, running->current != nullptr ? actor_of(self()) : 0};
    size_t actor = r.threads.size() + r.agents.size();
    r.agents.push_back(agent);
    race_run_get(r.number).agents.push_back(agent);
    r.actors[key] = actor;
    return actor;
}

bool is_allocated(uintptr_t at)
{
    auto next = allocations.upper_bound(at);
    if (next == allocations.begin())
        return false;
    --next;
    return at - next->first < next->second;
}

bool is_shared(uintptr_t at)
{
    for (const auto &b : running->blocks)
        if (at - (uintptr_t)b->shared < b->shared_room)
            return true;
    return false;
}

bool is_stack(const thread &t, uintptr_t at)
{
    return at - (uintptr_t)t.own.stack < t.own.stack_len;
}

const char *verb(race_kind kind, bool past)
{
    switch (kind) {
    case race_kind::read:
        return past ? "read" : "reads";
    case race_kind::write:
        return past ? "written" : "writes";
    default:
        return past ? "changed at once" : "changes at once";
    }
}

void complain(const race_actor &now, race_kind kind, const race_mark &with, race_kind with_kind,
              const void *p)
{
    static std::string text; /* the run's complaint points here */
    const race_run_info &other = race_run_get(with.run);
    text = "a race in " + std::string(is_shared((uintptr_t)p) ? "shared" : "the device's") +
           " memory: " + race_describe_actor(now.run, now.actor) + " " + verb(kind, false) + " (" +
           race_describe_place(race_place(now.call)) + ") what " +
           race_describe_actor(with.run, with.actor) +
           (race_run_get(now.run).launch != other.launch
                ? std::string(" of another launch (") + other.kernel + ")"
                : "") +
           " has " + verb(with_kind, true) + " (" + race_describe_place(with.place) +
           "), and nothing orders the two";
    emu_fault(text.c_str());
}

/* A store that races, unless it changes nothing: which is seen when it was made. */
struct pending_store {
    race_actor now;
    race_clock clock;
    const void *p = nullptr; /* null: there is none */
    size_t len;
    uint8_t before[16];
    race_mark with;
    race_kind with_kind;
};

pending_store pending;

void enter(const race_actor &now, const void *p, size_t len, race_kind kind)
{
    race_mark with;
    race_kind with_kind;
    if (running->failed || race_shadow_enter(now, p, len, kind, &with, &with_kind))
        return;
    if (kind != race_kind::write || running->current == nullptr || len > sizeof pending.before) {
        complain(now, kind, with, with_kind, p);
        return;
    }
    pending.now = now;
    pending.clock = *now.clock;
    pending.now.clock = &pending.clock;
    pending.p = p;
    pending.len = len;
    memcpy(pending.before, p, len);
    pending.with = with;
    pending.with_kind = with_kind;
}

std::shared_ptr<race_op> make_op(race_run &r, const void *key, uint32_t tick, const char *what,
                                 const void *call)
{
    auto op = std::make_shared<race_op>();
    op->actor = find_actor(r, key, what);
    op->tick = tick;
    op->run = r.number;
    op->call = call;
    return op;
}

} // namespace

FAST void race_clock::join(const race_clock &other)
{
    size_t n = other.ticks.size();
    if (ticks.size() < n)
        ticks.resize(n);
    uint32_t *to = ticks.data();
    const uint32_t *from = other.ticks.data();
    for (size_t i = 0; i < n; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
    waited |= other.waited;
}

void race_clock::reach(size_t actor, uint32_t tick)
{
    if (ticks.size() <= actor)
        ticks.resize(actor + 1);
    ticks[actor] = ticks[actor] > tick ? ticks[actor] : tick;
}

void races_watch()
{
    watched = true;
}

void races_begin(machine &m)
{
    if (!watched)
        return;
    const emu_index &b = m.grid->block;
    m.races.reset(new race_run);
    race_run_info info = {m.grid->name, m.grid->launch, b, {}, {}};
    for (const auto &its : m.blocks)
        info.blocks.push_back(its->index);
    m.races->number = race_run_add(std::move(info));
    m.races->threads.resize((size_t)b.x * b.y * b.z * m.blocks.size());
    for (size_t i = 0; i < m.races->threads.size(); i++)
        m.races->threads[i].reach(i, 1);
}

void races_end(const machine &m)
{
    if (!watched)
        return;
    for (const auto &its : m.blocks)
        race_shadow_forget(its->shared, its->shared_room);
}

void races_allocated(const void *p, size_t len)
{
    if (!watched)
        return;
    allocations[(uintptr_t)p] = len;
}

void races_freed(const void *p)
{
    auto its = allocations.find((uintptr_t)p);
    if (its == allocations.end())
        return;
    race_shadow_forget(p, its->second);
    allocations.erase(its);
}

void races_release(thread &t, race_clock &to)
{
    race_run *r = current_run();
    if (r == nullptr)
        return;
    size_t actor = actor_of(t);
    to.join(r->threads[actor]);
    r->threads[actor].ticks[actor]++;
}

void races_acquire(thread &t, const race_clock &from)
{
    race_run *r = current_run();
    if (r != nullptr)
        r->threads[actor_of(t)].join(from);
}

void races_launch_waited(thread &t)
{
    race_run *r = current_run();
    if (r == nullptr)
        return;
    r->threads[actor_of(t)].waited = true;
    race_launch_waited(running->grid->launch);
}

void races_cluster_arrive(thread &t)
{
    race_run *r = current_run();
    if (r != nullptr)
        races_release(t, r->at_cluster);
}

void races_cluster_passed()
{
    race_run *r = current_run();
    if (r != nullptr)
        r->past_cluster = r->at_cluster;
}

void races_cluster_waited(thread &t)
{
    race_run *r = current_run();
    if (r != nullptr)
        races_acquire(t, r->past_cluster);
}

void races_mbarrier_init(const void *barrier)
{
    race_run *r = current_run();
    if (r == nullptr)
        return;
    races_access(barrier, 8, race_kind::write, __builtin_return_address(0));
    r->mbarriers.erase(barrier);
}

void races_mbarrier_arrive(const void *barrier)
{
    race_run *r = current_run();
    if (r == nullptr)
        return;
    races_access(barrier, 8, race_kind::atomic, __builtin_return_address(0));
    races_release(self(), r->mbarriers[barrier].arrived);
}

void races_mbarrier_comes(const void *barrier)
{
    races_access(barrier, 8, race_kind::atomic, __builtin_return_address(0));
}

void races_mbarrier_waited(const void *barrier)
{
    race_run *r = current_run();
    if (r != nullptr)
        races_acquire(self(), r->mbarriers[barrier].over);
}

void races_mbarrier_over(const void *barrier)
{
    race_run *r = current_run();
    if (r == nullptr)
        return;
    race_mbarrier &b = r->mbarriers[barrier];
    b.n_phases++;
    if (r->actors.count(barrier) != 0)
        b.arrived.reach(r->actors[barrier], b.n_phases);
    b.over = b.arrived;
}

void races_mbarrier_lands(const std::shared_ptr<race_op> &op, const void *barrier)
{
    race_run *r = current_run();
    if (r == nullptr || op == nullptr)
        return;
    op->tick = r->mbarriers[barrier].n_phases + 1;
    races_access_by(op, barrier, 8, race_kind::atomic);
}

void races_access(const void *p, size_t len, race_kind kind, const void *call)
{
    race_run *r = current_run();
    if (r == nullptr || running->current == nullptr || len == 0)
        return;
    races_settle();
    const thread &t = self();
    uintptr_t at = (uintptr_t)p;
    if (is_stack(t, at) || (!is_shared(at) && !is_allocated(at)))
        return;
    size_t actor = actor_of(t);
    const race_clock &clock = r->threads[actor];
    enter(race_actor{&clock, r->number, clock.ticks[actor], actor, call}, p, len, kind);
}

void races_settle()
{
    const void *p = pending.p;
    if (p == nullptr)
        return;
    pending.p = nullptr;
    if (memcmp(p, pending.before, pending.len) == 0)
        race_shadow_enter_same(pending.now, p, pending.len);
    else
        complain(pending.now, race_kind::write, pending.with, pending.with_kind, p);
}

std::shared_ptr<race_op> races_start(const void *key, uint32_t tick, const char *what,
                                     const void *call)
{
    race_run *r = current_run();
    if (r == nullptr)
        return nullptr;
    auto op = make_op(*r, key, tick, what, call);
    races_release(self(), op->clock);
    return op;
}

std::shared_ptr<race_op> races_start_from(const std::shared_ptr<race_op> &first, const void *key,
                                          uint32_t tick)
{
    race_run *r = current_run();
    if (r == nullptr || first == nullptr)
        return nullptr;
    auto op = make_op(*r, key, tick, "a copy", first->call);
    op->clock = first->clock;
    return op;
}

void races_join_start(race_op *op, thread &t)
{
    if (op != nullptr)
        races_release(t, op->clock);
}

void races_access_by(const std::shared_ptr<race_op> &op, const void *p, size_t len, race_kind kind)
{
    if (op != nullptr)
        enter(race_actor{&op->clock, op->run, op->tick, op->actor, op->call}, p, len, kind);
}

void races_reach(thread &t, const void *key, uint32_t tick)
{
    race_run *r = current_run();
    if (r == nullptr || r->actors.count(key) == 0)
        return;
    r->threads[actor_of(t)].reach(r->actors[key], tick);
}

} // namespace emu
