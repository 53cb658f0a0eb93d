/*
 * The subcommands of `blindllama-log`. A command prints its own results and gives the exit code: 0
 * true or done, 1 false; an error is for main to print, 1 for ERR_UNTRUE and 2 for the rest.
 */
#ifndef LOGSERVICE_COMMAND_H
#define LOGSERVICE_COMMAND_H

#include "common/program.h"

command_run init_command, serve_command, checkpoint_command, prove_command, fsck_command,
    export_command, snapshot_command, witness_command;

#endif
