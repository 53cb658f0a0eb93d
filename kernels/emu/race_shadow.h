/*
 * Who has touched which bytes of shared and device memory last: for races.h alone.
 */
#ifndef KERNELS_EMU_RACE_SHADOW_H
#define KERNELS_EMU_RACE_SHADOW_H

#include "kernels/emu/machine.h"
#include "kernels/emu/races.h"

namespace emu
{

/* Who accesses now: an actor of a run, what it knows, and where it stands. */
struct race_actor {
    const race_clock *clock;
    uint32_t run, tick;
    size_t actor;
    const void *call;
};

/* An access that was. */
struct race_mark {
    uint32_t run = 0, tick = 0; /* run 0: there was none */
    uint32_t actor = 0;
    uint32_t place = 0; /* in the program, bytes from its start */
};

/* What is kept of a run for as long as the program lasts. */
struct race_run_info {
    const char *kernel;
    unsigned launch;
    emu_index block;                /* threads of one */
    std::vector<emu_index> blocks;  /* of the cluster */
    std::vector<race_agent> agents; /* behind the threads */
};

/* Runs are numbered from 1. */
uint32_t race_run_add(race_run_info info);
race_run_info &race_run_get(uint32_t run);

/* Everything that `mark` stands for is over for `now`, by what the launches promise. */
bool race_launch_is_over(const race_mark &mark, const race_actor &now);

/* A thread of that launch has waited for the launch ahead. */
void race_launch_waited(unsigned number);

/* Enters the access. False: it races with the access `with`. */
bool race_shadow_enter(const race_actor &now, const void *p, size_t len, race_kind kind,
                       race_mark *with, race_kind *with_kind);
/* A write that races but has changed nothing. */
void race_shadow_enter_same(const race_actor &now, const void *p, size_t len);
void race_shadow_forget(const void *p, size_t len);

/* "thread (1, 0, 0) of block (2, 0, 0)", and the source lines of a place. */
std::string race_describe_actor(uint32_t run, size_t actor);
std::string race_describe_place(uint32_t place);
uint32_t race_place(const void *call);

} // namespace emu

#endif
