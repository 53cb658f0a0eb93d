#include "kernels/emu/fiber.h"

#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) /* clang's way to say it */
#define WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__) /* gcc's */
#define WITH_ASAN 1
#endif

#if WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)

/* Registers that a call keeps, the stack pointer last. rdi: where to save it; rsi: the other's. */
asm(".text\n"
    ".type fiber_swap_registers, @function\n"
    "fiber_swap_registers:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size fiber_swap_registers, . - fiber_swap_registers\n");
extern "C" void fiber_swap_registers(void **from, void *to);

void fiber_init(fiber *f, void *stack, size_t stack_len, void (*entry)())
{
    *f = fiber{};
    f->stack = stack;
    f->stack_len = stack_len;
    /* As if `entry` had been called: its own return address (none) above, the stack aligned. */
    uintptr_t top = ((uintptr_t)stack + stack_len) & ~(uintptr_t)15;
    void **at = (void **)(top - 64);
    memset(at, 0, 64);
    at[6] = (void *)entry; /* after six registers */
    f->top = at;
}

static void swap(fiber *from, fiber *to)
{
    fiber_swap_registers(&from->top, to->top);
}

#else

void fiber_init(fiber *f, void *stack, size_t stack_len, void (*entry)())
{
    *f = fiber{};
    f->stack = stack;
    f->stack_len = stack_len;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = stack_len;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
}

static void swap(fiber *from, fiber *to)
{
    swapcontext(&from->context, &to->context);
}

#endif

#if WITH_ASAN

static fiber *left; /* who switched last, until the other side has taken note */

void fiber_entered()
{
    const void *bottom;
    size_t len;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &len);
    /* The caller's own stack is the system's: it is known only from here. */
    left->stack = (void *)(uintptr_t)bottom;
    left->stack_len = len;
}

void fiber_switch(fiber *from, fiber *to)
{
    left = from;
    __sanitizer_start_switch_fiber(&from->asan_stack, to->stack, to->stack_len);
    swap(from, to);
    const void *bottom;
    size_t len;
    __sanitizer_finish_switch_fiber(from->asan_stack, &bottom, &len);
    left->stack = (void *)(uintptr_t)bottom;
    left->stack_len = len;
}

void fiber_forget(fiber *f)
{
    __asan_unpoison_memory_region(f->stack, f->stack_len);
}

#else

void fiber_entered()
{
}

void fiber_switch(fiber *from, fiber *to)
{
    swap(from, to);
}

void fiber_forget(fiber *)
{
}

#endif
