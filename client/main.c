/*
 * blindllama: the client. Verifies hosts, talks to those that it verified, and vouches for TPMs.
 */
#include <signal.h>

#include "client/command.h"

const char *argp_program_version = "blindllama " BL_VERSION;

static const struct command commands[] = {
    {"verify", "verify a host: what it boots, runs and serves, and whose TLS key it is",
     verify_command},
    {"chat", "verify a host and, only then, send it a prompt", chat_command},
    {"checkpoint", "the newest head of a host's log, checked against its key", checkpoint_command},
    {"key", "make or show an activator's key", key_command},
    {"activate", "challenge a host's TPM and sign what was seen", activate_command},
};

int main(int argc, char **argv)
{
    const struct program program = {
        .name = "blindllama",
        .version = argp_program_version,
        .about = "A client that verifies an inference host before it sends a prompt.",
        .exit_codes = "Exit codes: 0 true, 1 false, 2 could not check.",
        .commands = commands,
        .n_commands = sizeof commands / sizeof *commands,
    };
    signal(SIGPIPE, SIG_IGN);
    return program_main(&program, argc, argv);
}
