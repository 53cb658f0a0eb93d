/*
 * A software TPM for one test program: made and started by tests/software_tpm.sh in a folder of its
 * own, stopped and removed at the end. Where swtpm is not installed, the program exits 77
 * (skipped).
 */
#ifndef TESTS_SOFTWARE_TPM_H
#define TESTS_SOFTWARE_TPM_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct software_tpm {
    char dir[64];
    char tcti[128];
};

/* Runs a shell command; returns its exit status. */
PRINTF_LIKE(1, 2) static inline int shell(const char *format, ...)
{
    char command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    return system(command);
}

static inline void software_tpm_skip_where_absent(void)
{
    if (shell("command -v swtpm >/dev/null && command -v swtpm_setup >/dev/null && "
              "command -v tpm2_pcrextend >/dev/null") == 0)
        return;
    printf("skipped: swtpm, swtpm-tools or tpm2-tools is not installed\n");
    exit(77);
}

static inline int software_tpm_do(const struct software_tpm *t, const char *what)
{
    return shell("%s/tests/software_tpm.sh %s %s >/dev/null", BL_SOURCE_DIR, what, t->dir);
}

static inline int software_tpm_start(struct software_tpm *t)
{
    snprintf(t->dir, sizeof t->dir, "/tmp/software-tpm-XXXXXX");
    if (!mkdtemp(t->dir))
        return -1;
    snprintf(t->tcti, sizeof t->tcti, "swtpm:path=%s/swtpm.sock", t->dir);
    return software_tpm_do(t, "start");
}

static inline void software_tpm_remove(const struct software_tpm *t)
{
    software_tpm_do(t, "stop");
    shell("rm -rf '%s'", t->dir);
}

#endif
