#include "kernels/emu/race_shadow.h"

#include <cstdio>
#include <cstring>
#include <unistd.h>

/* Loops over clocks and marks, for every access of every thread: too slow with checks of their own.
 */
#define FAST __attribute__((no_sanitize("address", "undefined")))

namespace emu
{

namespace
{

enum : uintptr_t { CELL = 2, PAGE = 4096, CELLS = PAGE / CELL };

/* Accesses by many: of one cluster each actor's newest, of others one each of two, which are
 * enough: whoever writes then races with one of them. */
struct crowd {
    uint32_t run = 0;
    std::vector<uint32_t> ticks, places; /* by actor; 0: none */
    race_mark other[2];
};

/* Accesses beside `write` and `read` that nothing orders with each other; `writes`: of the value
 * that was there. */
struct others {
    crowd reads, atomics;
    std::vector<race_mark> writes;
};

/* Two bytes. */
struct cell {
    race_mark write, read;
    std::unique_ptr<others> more;
};

struct page {
    cell cells[CELLS];
};

std::unordered_map<uintptr_t, std::unique_ptr<page>> pages;
uintptr_t last_at = ~(uintptr_t)0;
page *last_page;

page *find_page(uintptr_t at, bool make)
{
    if (at == last_at)
        return last_page;
    auto found = pages.find(at);
    if (found == pages.end() && !make)
        return nullptr;
    auto &p = pages[at];
    if (p == nullptr)
        p.reset(new page);
    last_at = at;
    last_page = p.get();
    return last_page;
}

void drop_page(uintptr_t at)
{
    pages.erase(at);
    last_at = ~(uintptr_t)0;
}

bool is_before(const race_mark &m, const race_actor &now)
{
    if (m.run == 0)
        return true;
    if (m.run != now.run)
        return race_launch_is_over(m, now);
    if (m.actor == now.actor)
        return true;
    return m.actor < now.clock->ticks.size() && now.clock->ticks[m.actor] >= m.tick;
}

/* The first of them that is not before `now`. */
const race_mark *find_race(const std::vector<race_mark> &marks, const race_actor &now)
{
    for (const race_mark &m : marks)
        if (!is_before(m, now))
            return &m;
    return nullptr;
}

race_mark mark_of(const race_actor &now)
{
    race_mark m;
    m.run = now.run;
    m.tick = now.tick;
    m.actor = (uint32_t)now.actor;
    m.place = race_place(now.call);
    return m;
}

race_mark mark_in(const crowd &c, size_t actor)
{
    race_mark m;
    m.run = c.run;
    m.tick = c.ticks[actor];
    m.actor = (uint32_t)actor;
    m.place = c.places[actor];
    return m;
}

void begin_run(crowd &c, uint32_t run)
{
    for (size_t i = 0; i < c.ticks.size(); i++)
        if (c.ticks[i] != 0) {
            c.other[1] = c.other[0];
            c.other[0] = mark_in(c, i);
            break;
        }
    c.ticks.clear();
    c.places.clear();
    c.run = run;
}

FAST void add_mark(crowd &c, const race_actor &now)
{
    if (c.run != now.run)
        begin_run(c, now.run);
    if (c.ticks.size() <= now.actor) {
        c.ticks.resize(now.actor + 1);
        c.places.resize(now.actor + 1);
    }
    c.ticks[now.actor] = now.tick;
    c.places[now.actor] = race_place(now.call);
}

/* One of them that is not before `now`. */
FAST bool find_in(const crowd &c, const race_actor &now, race_mark *out)
{
    for (const race_mark &m : c.other)
        if (!is_before(m, now)) {
            *out = m;
            return true;
        }
    for (size_t i = 0; i < c.ticks.size(); i++) {
        if (c.run == now.run && i < now.clock->ticks.size() && c.ticks[i] <= now.clock->ticks[i])
            continue;
        if (c.ticks[i] == 0 || is_before(mark_in(c, i), now))
            continue;
        *out = mark_in(c, i);
        return true;
    }
    return false;
}

bool is_mine(const race_mark &m, const race_actor &now)
{
    return m.run == now.run && m.actor == now.actor && m.tick == now.tick;
}

others &more_of(cell &c)
{
    if (c.more == nullptr)
        c.more.reset(new others);
    return *c.more;
}

/* The same value, by somebody who is before `now`. */
bool has_written(const cell &c, const race_actor &now)
{
    for (size_t i = 0; c.more != nullptr && i < c.more->writes.size(); i++)
        if (is_before(c.more->writes[i], now))
            return true;
    return false;
}

/* Each enters the access, or returns the race in `with`. */
bool enter_read(cell &c, const race_actor &now, race_mark *with, race_kind *with_kind)
{
    if (is_mine(c.read, now))
        return true;
    *with_kind = race_kind::write;
    *with = c.write;
    if (!is_before(c.write, now) && !has_written(c, now))
        return false;
    *with_kind = race_kind::atomic;
    if (c.more != nullptr && find_in(c.more->atomics, now, with))
        return false;
    if (is_before(c.read, now))
        c.read = mark_of(now);
    else
        add_mark(more_of(c).reads, now);
    return true;
}

bool find_writer(const cell &c, const race_actor &now, race_mark *with)
{
    *with = c.write;
    if (!is_before(c.write, now))
        return true;
    const race_mark *race = c.more != nullptr ? find_race(c.more->writes, now) : nullptr;
    if (race != nullptr)
        *with = *race;
    return race != nullptr;
}

bool find_reader(const cell &c, const race_actor &now, race_mark *with)
{
    *with = c.read;
    return !is_before(c.read, now) || (c.more != nullptr && find_in(c.more->reads, now, with));
}

bool enter_change(cell &c, const race_actor &now, bool atomic, race_mark *with,
                  race_kind *with_kind)
{
    *with_kind = race_kind::write;
    if (find_writer(c, now, with))
        return false;
    *with_kind = race_kind::read;
    if (find_reader(c, now, with))
        return false;
    if (atomic) {
        add_mark(more_of(c).atomics, now);
        return true;
    }
    *with_kind = race_kind::atomic;
    if (c.more != nullptr && find_in(c.more->atomics, now, with))
        return false;
    c.write = mark_of(now);
    c.read = race_mark();
    c.more.reset();
    return true;
}

extern "C" const char __executable_start;

std::string text_of(const emu_index &i)
{
    char text[48];
    snprintf(text, sizeof text, "(%u, %u, %u)", i.x, i.y, i.z);
    return text;
}

/* From the repository's root on. */
std::string short_path(const char *line)
{
    for (const char *room : {"kernels/", "tests/"})
        if (strstr(line, room) != nullptr)
            line = strstr(line, room);
    std::string s = line;
    return s.substr(0, s.find_first_of(" \n"));
}

} // namespace

FAST bool race_shadow_enter(const race_actor &now, const void *p, size_t len, race_kind kind,
                            race_mark *with, race_kind *with_kind)
{
    uintptr_t first = (uintptr_t)p / CELL, last = ((uintptr_t)p + len - 1) / CELL;
    if (kind == race_kind::atomic)
        last = first; /* they are aligned: the first bytes stand for the rest */
    for (uintptr_t i = first; i <= last; i++) {
        cell &c = find_page(i / CELLS, true)->cells[i % CELLS];
        bool entered = kind == race_kind::read
                           ? enter_read(c, now, with, with_kind)
                           : enter_change(c, now, kind == race_kind::atomic, with, with_kind);
        if (!entered)
            return false;
    }
    return true;
}

void race_shadow_enter_same(const race_actor &now, const void *p, size_t len)
{
    uintptr_t first = (uintptr_t)p / CELL, last = ((uintptr_t)p + len - 1) / CELL;
    for (uintptr_t i = first; i <= last; i++)
        more_of(find_page(i / CELLS, true)->cells[i % CELLS]).writes.push_back(mark_of(now));
}

void race_shadow_forget(const void *p, size_t len)
{
    uintptr_t first = (uintptr_t)p / CELL, end = ((uintptr_t)p + len + CELL - 1) / CELL;
    for (uintptr_t i = first; i < end; i++) {
        page *its = find_page(i / CELLS, false);
        if (its != nullptr && (i % CELLS != 0 || end - i < CELLS)) {
            its->cells[i % CELLS] = cell();
            continue;
        }
        if (its != nullptr)
            drop_page(i / CELLS);
        i |= CELLS - 1; /* to the page's end */
    }
}

std::string race_describe_actor(uint32_t run, size_t actor)
{
    const race_run_info &r = race_run_get(run);
    const emu_index &b = r.block;
    size_t n = (size_t)b.x * b.y * b.z, n_threads = n * r.blocks.size(), thread = actor;
    std::string what;
    if (actor >= n_threads) {
        what = std::string(r.agents[actor - n_threads].what) + " of ";
        thread = r.agents[actor - n_threads].thread;
    }
    unsigned i = (unsigned)(thread % n);
    return what + "thread " + text_of({i % b.x, i / b.x % b.y, i / b.x / b.y}) + " of block " +
           text_of(r.blocks[thread / n]);
}

uint32_t race_place(const void *call)
{
    return (uint32_t)((uintptr_t)call - (uintptr_t)&__executable_start);
}

/* By addr2line, innermost first; without it the place as a number. */
std::string race_describe_place(uint32_t place)
{
    char self[512] = "", command[640], line[512];
    std::string all;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        self[0] = 0;
    snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%x 2>/dev/null", self, place - 1);
    FILE *f = popen(command, "r");
    while (f != nullptr && fgets(line, sizeof line, f) != nullptr)
        if (strstr(line, "??") == nullptr && strstr(line, "kernels/emu/") == nullptr)
            all += (all.empty() ? "" : ", in ") + short_path(line);
    if (f != nullptr)
        pclose(f);
    snprintf(line, sizeof line, "at 0x%x of the program", place);
    return all.empty() ? line : all;
}

} // namespace emu
