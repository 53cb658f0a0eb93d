/*
 * The subcommands of `blindllama-audit`. A command prints its own result and sets the exit code: 0
 * true, 1 false, of a log 3 if it is true and some of its hosts are not; an error is what could not
 * be checked, which main prints, with exit code 2.
 */
#ifndef AUDITOR_COMMAND_H
#define AUDITOR_COMMAND_H

#include <argp.h>

#include "common/buf.h"
#include "common/program.h"

enum { EXIT_PARTLY = 3 };

command_run replay_command, eventlog_command, ima_command, quote_command, checkpoint_command,
    proof_command;

/* Whether an error says that the thing itself is wrong, not that it could not be checked. Only for
 * errors of judging: a file that is not there is no fault of what it would have held. */
bool command_is_fault(struct err e);

/* Ends a command that judged one thing. Success prints `fact` (one line or JSON, with its newline)
 * and exits 0; a fault prints "false: <reason>", as JSON {"outcome":"false","reason":..}, and exits
 * 1; other errors are passed on. */
struct err command_end(int *exit_code, struct err judged, struct buf *fact, bool json) MUST_USE;

/* JSON on one line, appended to `out` with its newline; takes `root`, which must not be NULL. */
struct json_t;
void command_json(struct buf *out, struct json_t *root);

/* The one argument FILE and --json, which most commands take. Their argp has file_argp as a child
 * with a struct file_options as its input. */
struct file_options {
    const char *path;
    bool json;
};
extern const struct argp file_argp;

/* stdout; what cannot be written is found by main. */
void command_print(const struct buf *text);

#endif
