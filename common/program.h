/*
 * A program of subcommands: its overview, its exit codes, and that what could not be written is no
 * success. The command lines themselves are argp's.
 */
#ifndef COMMON_PROGRAM_H
#define COMMON_PROGRAM_H

#include <stddef.h>

#include "common/err.h"

enum { EXIT_TRUE = 0, EXIT_FALSE = 1, EXIT_NOT_CHECKED = 2 };

/* Prints its own results and gives the exit code; an error is for program_main to print. */
typedef struct err command_run(int *exit_code, int argc, char **argv);

struct command {
    const char *name;
    const char *summary; /* one line of the overview */
    command_run *run;
};

struct program {
    const char *name, *version;
    const char *about;      /* a sentence */
    const char *exit_codes; /* a line */
    const struct command *commands;
    size_t n_commands; /* the first is the example of how to ask for help */
    /* Prints the error of `command`, "<program> <name>", and gives its exit code. NULL: as it is,
     * with EXIT_FALSE for ERR_UNTRUE and EXIT_NOT_CHECKED for the rest. */
    int (*failed)(const char *command, struct err e);
};

/* The whole of main. */
int program_main(const struct program *p, int argc, char **argv);

#endif
