#include "engine/model_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/file.h"

/* The number behind `key` in a text of "key value" lines; `missing` if it is not there. */
static uint64_t number_after(const char *text, const char *key, uint64_t missing)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return missing;
    char *end = NULL;
    at += strlen(key);
    unsigned long long value = strtoull(at, &end, 10);
    return end == at ? missing : value;
}

static uint64_t number_in_file(const char *path, const char *key, uint64_t missing)
{
    BUF_AUTO text = BUF_INIT;
    if (is_err(file_read(&text, path, 65536)))
        return missing;
    return number_after(buf_str(&text), key, missing);
}

/* What this process's control group (version 2) leaves; the limits of its parents count too, but
 * inside a container only its own is visible. */
static uint64_t cgroup_left(void)
{
    BUF_AUTO self = BUF_INIT;
    if (is_err(file_read(&self, "/proc/self/cgroup", 65536)))
        return UINT64_MAX;
    const char *at = strstr(buf_str(&self), "0::");
    if (at == NULL)
        return UINT64_MAX;
    BUF_AUTO folder = BUF_INIT;
    buf_printf(&folder, "/sys/fs/cgroup%.*s", (int)strcspn(at + 3, "\n"), at + 3);
    BUF_AUTO max_path = BUF_INIT, now_path = BUF_INIT;
    uint64_t max =
        number_in_file(path_join(&max_path, buf_str(&folder), "memory.max"), "", UINT64_MAX);
    uint64_t now = number_in_file(path_join(&now_path, buf_str(&folder), "memory.current"), "", 0);
    if (max == UINT64_MAX)
        return UINT64_MAX;
    return max > now ? max - now : 0;
}

/* What a limit of this process leaves when `used_key` of /proc/self/status counts towards it. */
static uint64_t limit_left(__rlimit_resource_t resource, const char *used_key)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    uint64_t used = number_in_file("/proc/self/status", used_key, 0) * 1024;
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t memory_available(void)
{
    uint64_t kib = number_in_file("/proc/meminfo", "MemAvailable:", UINT64_MAX / 1024);
    const uint64_t others[] = {cgroup_left(), limit_left(RLIMIT_AS, "VmSize:"),
                               limit_left(RLIMIT_DATA, "VmData:")};
    uint64_t least = kib * 1024;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        least = others[i] < least ? others[i] : least;
    return least;
}

uint64_t memory_of_machine(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}
