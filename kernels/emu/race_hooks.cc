/*
 * What g++ and clang++ call at each load and store of code that is compiled with -fsanitize=thread:
 * here in place of ThreadSanitizer's own, so that kernels tell of their accesses (races.h). A
 * program with this in it must not be linked with -fsanitize=thread.
 */
#include <cstddef>

#include "kernels/emu/races.h"

using emu::race_kind;
using emu::races_access;

#define HOOK(name, len, kind)                                                                      \
    void __tsan_##name(void *p);                                                                   \
    void __tsan_##name(void *p)                                                                    \
    {                                                                                              \
        races_access(p, len, race_kind::kind, __builtin_return_address(0));                        \
    }
#define HOOKS(len)                                                                                 \
    HOOK(read##len, len, read)                                                                     \
    HOOK(write##len, len, write)                                                                   \
    HOOK(unaligned_read##len, len, read)                                                           \
    HOOK(unaligned_write##len, len, write)

/* The compiler's names. */
#pragma GCC diagnostic ignored "-Wpedantic"
extern "C" {

HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *p, long len);
void __tsan_read_range(void *p, long len)
{
    races_access(p, (size_t)len, race_kind::read, __builtin_return_address(0));
}

void __tsan_write_range(void *p, long len);
void __tsan_write_range(void *p, long len)
{
    races_access(p, (size_t)len, race_kind::write, __builtin_return_address(0));
}

/* Called when the program starts, once for each file. */
void __tsan_init();
void __tsan_init()
{
    emu::races_watch();
}

void __tsan_func_entry(void *);
void __tsan_func_entry(void *)
{
}

void __tsan_func_exit(void *);
void __tsan_func_exit(void *)
{
}
}
