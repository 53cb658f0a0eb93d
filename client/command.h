/*
 * The subcommands of `blindllama`, and what their command lines share. A command prints its own
 * results and returns the exit code: 0 true, 1 false; an error is for main to print, 1 for
 * ERR_UNTRUE and 2 (could not check) for the rest.
 */
#ifndef CLIENT_COMMAND_H
#define CLIENT_COMMAND_H

#include <argp.h>

#include "attest/policy.h"
#include "common/program.h"
#include "http/connection.h"

command_run verify_command, chat_command, checkpoint_command, key_command, activate_command;

/* URL, --policy and --timeout. A command's argp has host_argp as a child with a struct host_options
 * as its input; the one argument that the command does not take itself is the URL. */
struct host_options {
    const char *url, *policy;
    unsigned timeout_s; /* 0: each step's own */
};
extern const struct argp host_argp;

/* The policy and an unconnected connection, as the options say. */
struct err host_options_open(struct policy *policy, struct connection **connection,
                             const struct host_options *options) MUST_USE;

/* A policy that is given back at the end of its scope. */
#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

#endif
