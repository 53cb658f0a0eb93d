#include "server/front_memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include <event2/event.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "server/sandbox.h"

static void wiping_free(void *p)
{
    if (p == NULL)
        return;
    explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *wiping_realloc(void *p, size_t len)
{
    if (p == NULL)
        return malloc(len);
    if (len == 0) {
        wiping_free(p);
        return NULL;
    }
    size_t old = malloc_usable_size(p);
    if (old >= len)
        return p;
    void *moved = malloc(len);
    if (moved == NULL)
        return NULL;
    memcpy(moved, p, old);
    wiping_free(p);
    return moved;
}

static void *openssl_malloc(size_t len, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(len);
}

static void *openssl_realloc(void *p, size_t len, const char *file, int line)
{
    (void)file;
    (void)line;
    return wiping_realloc(p, len);
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    wiping_free(p);
}

struct err front_memory_wipe_on_free(void)
{
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return err_set(ERR_USAGE, "OpenSSL was used before its allocator could be set");
    event_set_mem_functions(malloc, wiping_realloc, wiping_free);
    json_set_alloc_funcs(malloc, wiping_free);
    return err_ok();
}

struct err front_memory_private(void)
{
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return err_errno("cannot switch core dumps off");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_errno("cannot make the process not dumpable");
    return err_ok();
}

#ifndef SANDBOX_LEFT_OUT
/* CAP_IPC_LOCK: the limit does not count (mlockall(2)). */
static bool may_lock_without_limit(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    return syscall(SYS_capget, &header, data) == 0 &&
           (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}
#endif

bool front_memory_lock(void)
{
#ifdef SANDBOX_LEFT_OUT
    return false; /* the shadow memory is far larger than the machine */
#else
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    /* With a finite limit MCL_FUTURE would make later allocations fail. */
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 && !may_lock_without_limit())
        return false;
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
#endif
}
