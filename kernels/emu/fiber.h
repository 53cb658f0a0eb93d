/*
 * Fibers: several stacks that one thread of the system runs in turns, each until it switches away.
 * The emulator gives every thread of a GPU's block one. x86-64 by hand (a switch is a few
 * nanoseconds), elsewhere by ucontext. AddressSanitizer is told of every switch.
 */
#ifndef KERNELS_EMU_FIBER_H
#define KERNELS_EMU_FIBER_H

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct fiber {
    void *stack = nullptr; /* lowest address; borrowed */
    size_t stack_len = 0;
#if defined(__x86_64__)
    void *top = nullptr; /* saved registers lie there */
#else
    ucontext_t context;
#endif
    void *asan_stack = nullptr;
};

/* The first switch to it calls `entry`, which must never return. */
void fiber_init(fiber *f, void *stack, size_t stack_len, void (*entry)());
/* Saves this one as `from`; returns when somebody switches back to it. */
void fiber_switch(fiber *from, fiber *to);
/* The first thing that a new fiber does. */
void fiber_entered();
/* A fiber that was left for good may have poisoned its stack: makes it usable again. */
void fiber_forget(fiber *f);

#endif
