/* Streams of the emulated driver, and what lies in them: each thing runs at a moment that is drawn
 * before the first call that waits for it. */
#include <chrono>
#include <cstring>

#include "kernels/emu/gpu_parts.h"
#include "kernels/emu/races.h"

/* Launches of which each overlaps the one before it. Where one lets the next begin only when it has
 * waited itself, the one before it is over by then: so a chain ends with such a launch, or begins
 * with it. */
struct chain {
    std::vector<std::shared_ptr<const kernel_launch>> launches;
    unsigned number; /* of the first one */
};

enum : size_t { CHAIN_MAX = 6 };

/* The n-th launch of a chain, each of which overlaps the one before it. */
static bool run_chain(const chain &all, size_t n, std::string &error)
{
    const kernel_launch &l = *all.launches[n];
    const struct gpu_launch &how = l.how;
    emu_grid grid = {l.entry->kernel,
                     l.entry->name,
                     l.args.data(),
                     {how.grid[0], how.grid[1], how.grid[2]},
                     {how.block[0], how.block[1], how.block[2]},
                     how.cluster > 1 ? how.cluster : 1,
                     how.shared_len,
                     nullptr,
                     all.number + (unsigned)n,
                     &l.entry->lets_early};
    if (n > 0)
        grid.before = [&all, n](std::string &its_error) {
            return run_chain(all, n - 1, its_error);
        };
    return emu_run(grid, gpu_dice, error);
}

static unsigned number_launch(const gpu_stream *s, const kernel_launch &l)
{
    return emu::races_launch(s, l.how.overlaps_previous, l.entry->lets_early);
}

static bool next_overlaps(const gpu_stream *s, const chain &all)
{
    if (s->tasks.empty() || s->tasks.front().launch == nullptr ||
        !s->tasks.front().launch->how.overlaps_previous || all.launches.size() == CHAIN_MAX)
        return false;
    return all.launches.size() == 1 || all.launches.back()->entry->lets_early;
}

/* With the launches behind a launch that overlap it, as many as are drawn. */
static void run_first(gpu_stream *s)
{
    task t = s->tasks.front();
    s->tasks.pop_front();
    if (t.launch == nullptr) {
        emu::races_no_launch(s);
        t.run();
        return;
    }
    chain all = {{t.launch}, number_launch(s, *t.launch)};
    auto &launches = all.launches;
    while (next_overlaps(s, all) && gpu_dice.below(4) != 0) {
        launches.push_back(s->tasks.front().launch);
        (void)number_launch(s, *launches.back());
        s->tasks.pop_front();
    }
    (void)run_chain(all, launches.size() - 1, s->home->failure);
}

void stream_drain(gpu_stream *s)
{
    std::lock_guard<std::recursive_mutex> lock(gpu_turn);
    while (!s->tasks.empty() && s->home->failure.empty())
        run_first(s);
}

struct err stream_enqueue(gpu_stream *s, task t)
{
    TRY(gpu_state(s->home));
    if (s->capturing) {
        s->captured.push_back(t);
        return err_ok();
    }
    std::lock_guard<std::recursive_mutex> lock(gpu_turn);
    s->tasks.push_back(t);
    size_t n = gpu_dice.below(4) == 0 ? gpu_dice.below(s->tasks.size() + 1) : 0;
    while (n-- > 0 && !s->tasks.empty() && s->home->failure.empty())
        run_first(s);
    return err_ok();
}

struct err emu_stream_new(gpu *g, gpu_stream **out)
{
    TRY(gpu_state(g));
    *out = new gpu_stream{g, {}, false, {}};
    g->streams.push_back(*out);
    return err_ok();
}

void emu_stream_free(gpu_stream *s)
{
    if (s == nullptr)
        return;
    stream_drain(s);
    auto &all = s->home->streams;
    for (size_t i = 0; i < all.size(); i++)
        if (all[i] == s) {
            all.erase(all.begin() + (long)i);
            break;
        }
    delete s;
}

struct err emu_stream_wait(gpu_stream *s)
{
    if (s->capturing)
        return err_set(ERR_USAGE, "a stream that makes a graph cannot be waited for");
    stream_drain(s);
    return gpu_state(s->home);
}

/* Runs the stream that the event was recorded on until that record has passed. */
static void pass(gpu_event *e, uint64_t record)
{
    std::lock_guard<std::recursive_mutex> lock(gpu_turn);
    while (e->n_passed < record && e->home->failure.empty()) {
        if (e->stream == nullptr || e->stream->tasks.empty()) {
            e->home->failure = "an event is waited for that nothing records";
            return;
        }
        run_first(e->stream);
    }
}

struct err emu_stream_await(gpu_stream *s, gpu_event *e)
{
    uint64_t record = e->n_recorded;
    return stream_enqueue(s, task{[e, record] { pass(e, record); }, nullptr});
}

struct err emu_copy_to(gpu_stream *s, struct gpu_address to, const void *from, size_t len)
{
    return stream_enqueue(s, task{[=] { memcpy((void *)(uintptr_t)to.at, from, len); }, nullptr});
}

struct err emu_copy_from(gpu_stream *s, void *to, struct gpu_address from, size_t len)
{
    return stream_enqueue(
        s, task{[=] { memcpy(to, (const void *)(uintptr_t)from.at, len); }, nullptr});
}

struct err emu_copy(gpu_stream *s, struct gpu_address to, struct gpu_address from, size_t len)
{
    return stream_enqueue(
        s, task{[=] { memmove((void *)(uintptr_t)to.at, (const void *)(uintptr_t)from.at, len); },
                nullptr});
}

struct err emu_fill(gpu_stream *s, struct gpu_address to, uint8_t value, size_t len)
{
    return stream_enqueue(s, task{[=] { memset((void *)(uintptr_t)to.at, value, len); }, nullptr});
}

struct err emu_event_new(gpu *g, gpu_event **out)
{
    TRY(gpu_state(g));
    *out = new gpu_event{g, 0, 0, nullptr, 0};
    return err_ok();
}

void emu_event_free(gpu_event *e)
{
    if (e == nullptr)
        return;
    for (gpu_stream *s : e->home->streams)
        stream_drain(s); /* what lies in a stream may still name it */
    delete e;
}

static double now_s()
{
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct err emu_event_record(gpu_event *e, gpu_stream *s)
{
    e->n_recorded++;
    e->stream = s;
    return stream_enqueue(s, task{[e] {
                                      e->n_passed++;
                                      e->passed_s = now_s();
                                  },
                                  nullptr});
}

struct err emu_event_wait(gpu_event *e)
{
    pass(e, e->n_recorded);
    return gpu_state(e->home);
}

struct err emu_event_elapsed(double *out_ms, gpu_event *from, gpu_event *to)
{
    if (from->n_passed == 0 || to->n_passed == 0)
        return err_set(ERR_USAGE, "the time between events that have not passed");
    *out_ms = 1e3 * (to->passed_s - from->passed_s);
    return err_ok();
}

struct err emu_capture_begin(gpu_stream *s)
{
    TRY(gpu_state(s->home));
    if (s->capturing)
        return err_set(ERR_USAGE, "the stream makes a graph already");
    s->capturing = true;
    return err_ok();
}

struct err emu_capture_end(gpu_stream *s, gpu_graph **out)
{
    if (!s->capturing)
        return err_set(ERR_USAGE, "the stream makes no graph");
    s->capturing = false;
    *out = new gpu_graph{s->home, {}};
    (*out)->tasks.swap(s->captured);
    return err_ok();
}

struct err emu_graph_launch(gpu_graph *g, gpu_stream *s)
{
    for (const task &t : g->tasks)
        TRY(stream_enqueue(s, t));
    return err_ok();
}

void emu_graph_free(gpu_graph *g)
{
    delete g;
}
