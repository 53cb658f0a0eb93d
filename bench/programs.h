/*
 * Other programs for a benchmark: started, listened to, their CPU time read, ended. They end with
 * this one, however it ends.
 */
#ifndef BENCH_PROGRAMS_H
#define BENCH_PROGRAMS_H

#include <sys/types.h>

#include "common/buf.h"

struct program {
    pid_t pid;
    int out; /* its standard output */
};

/* `argv` ends in NULL; what stands first is looked for on PATH unless it has a slash. Kept to CPU
 * `cpu`, if there is such a one. Its standard error goes to /dev/null. Errors end this program. */
void program_start(struct program *out, const char *const *argv, unsigned cpu);
/* Appends the next line of its output, without its end; ends this program if there is none. */
void program_line(struct program *p, struct buf *line);
/* Appends all that it still says, and waits for its end, which must be a success. */
void program_finish(struct program *p, struct buf *rest);
/* SIGTERM, and SIGKILL after five seconds. */
void program_stop(struct program *p);
/* Seconds of CPU time that it has used. */
double program_cpu(const struct program *p);
/* Whether there is such a program on PATH, or at this path if it has a slash. */
bool program_exists(const char *name);
/* The path of a program of ours: beside this one. */
const char *program_beside(struct buf *out, const char *name);
/* A TCP port that nothing listens on. */
unsigned program_free_port(void);

#endif
