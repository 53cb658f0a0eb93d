/* For tests: the program blindllama-audit, run over files of a folder of its own. */
#ifndef TESTS_AUDIT_RUN_H
#define TESTS_AUDIT_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"

struct audit_folder {
    char path[64];
};

static inline void audit_folder_make(struct audit_folder *f)
{
    strcpy(f->path, "/tmp/audit-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static inline void audit_folder_remove(struct audit_folder *f)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", f->path);
    assert_int_equal(system(command), 0);
}

static inline void audit_file(struct audit_folder *f, const char *name, struct bytes data)
{
    BUF_AUTO path = BUF_INIT;
    if (is_err(file_write_durable(path_join(&path, f->path, name), data, 0600)))
        fail_msg("%s", err_message());
}

/* Runs the program in the folder; both outputs, and its exit code. */
static inline int audit_run_program(struct audit_folder *f, struct buf *out, const char *arguments)
{
    char command[2048];
    snprintf(command, sizeof command, "cd '%s' && '%s' %s 2>&1", f->path, BL_AUDIT_PROGRAM,
             arguments);
    buf_clear(out);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, pipe)) > 0;)
        buf_append(out, chunk, n);
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
