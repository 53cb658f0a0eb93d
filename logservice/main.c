/*
 * blindllama-log: keeps a transparency log for many hosts, and is a witness of others' logs.
 */
#include <argp.h>
#include <signal.h>

#include "logservice/command.h"

const char *argp_program_version = "blindllama-log " BL_VERSION;

static const struct command commands[] = {
    {"init", "make a new log and its key", init_command},
    {"serve", "serve a log, take statements from hosts, ask witnesses", serve_command},
    {"checkpoint", "print the log's newest checkpoint", checkpoint_command},
    {"prove", "write the proof that an entry is in the log", prove_command},
    {"fsck", "compute the whole log again from its bytes", fsck_command},
    {"export", "write the log as files that any web server serves", export_command},
    {"snapshot", "write a consistent copy of the log's file", snapshot_command},
    {"witness", "cosign others' logs while they only grow", witness_command},
};

int main(int argc, char **argv)
{
    const struct program program = {
        .name = "blindllama-log",
        .version = argp_program_version,
        .about = "A transparency log for many hosts, and a witness of other logs.",
        .exit_codes = "Exit codes: 0 true or done, 1 false, 2 could not check or do.",
        .commands = commands,
        .n_commands = sizeof commands / sizeof *commands,
    };
    signal(SIGPIPE, SIG_IGN);
    return program_main(&program, argc, argv);
}
