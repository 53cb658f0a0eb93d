/*
 * blindllama: the client. Verifies hosts, talks to those that it verified, and vouches for TPMs.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

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
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs("Usage: blindllama COMMAND ...\n\n"
          "A client that verifies an inference host before it sends a prompt.\n\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\nEach command explains itself: blindllama verify --help\n"
          "Exit codes: 0 true, 1 false, 2 could not check.\n",
          out);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static int run(const struct command *command, int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof name, "blindllama %s", command->name);
    argv[0] = name;
    int exit_code = EXIT_NOT_CHECKED;
    struct err e = command->run(&exit_code, argc, argv);
    if (is_err(e)) {
        fprintf(stderr, "%s: %s\n", name, err_message());
        exit_code = e.code == ERR_UNTRUE ? EXIT_FALSE : EXIT_NOT_CHECKED;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write to standard output\n", name);
        exit_code = EXIT_NOT_CHECKED;
    }
    return exit_code;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = EXIT_NOT_CHECKED;
    signal(SIGPIPE, SIG_IGN);
    const struct command *command = argc > 1 ? find(argv[1]) : NULL;
    if (command != NULL)
        return run(command, argc - 1, argv + 1);
    bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0 ||
                              strcmp(argv[1], "-?") == 0);
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        puts(argp_program_version);
        return EXIT_TRUE;
    }
    if (argc > 1 && !asked)
        fprintf(stderr, "blindllama: there is no command '%s'\n\n", argv[1]);
    print_help(asked ? stdout : stderr);
    return asked ? EXIT_TRUE : EXIT_NOT_CHECKED;
}
