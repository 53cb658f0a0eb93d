/* Which launches are over when another begins, and the runs of their clusters. */
#include <deque>

#include "kernels/emu/race_shadow.h"

namespace emu
{

namespace
{

struct launch {
    const void *stream;
    unsigned ordered; /* those up to this one are over when it begins */
    bool waited;      /* one of its threads, for the launch ahead: so that is over when it is */
    bool lets_early;  /* else the launch ahead is over when the one behind begins */
};

std::deque<launch> launches(1); /* from 1 on */
std::deque<race_run_info> runs(1);
std::unordered_map<const void *, unsigned> newest; /* launch of each stream, if nothing followed */
} // namespace

uint32_t race_run_add(race_run_info info)
{
    runs.push_back(std::move(info));
    return (uint32_t)runs.size() - 1;
}

race_run_info &race_run_get(uint32_t run)
{
    return runs[run];
}

unsigned races_launch(const void *stream, bool overlaps_previous, bool lets_early)
{
    unsigned number = (unsigned)launches.size(), ordered = number - 1;
    if (overlaps_previous && newest.count(stream) != 0) {
        const launch &ahead = launches[newest[stream]];
        ordered = ahead.lets_early ? ahead.ordered : newest[stream] - 1;
    }
    launches.push_back(launch{stream, ordered, false, lets_early});
    newest[stream] = number;
    return number;
}

void races_no_launch(const void *stream)
{
    newest.erase(stream);
}

bool race_launch_is_over(const race_mark &mark, const race_actor &now)
{
    unsigned its = runs[mark.run].launch, own = runs[now.run].launch;
    if (its == own)
        return false;
    const launch &l = launches[own];
    if (its <= l.ordered || launches[its].stream != l.stream)
        return true;
    if (its > own || !now.clock->waited)
        return false;
    for (unsigned i = own - 1; i > its; i--)
        if (launches[i].stream == l.stream && !launches[i].waited)
            return false;
    return true;
}

void race_launch_waited(unsigned number)
{
    launches[number].waited = true;
}

} // namespace emu
