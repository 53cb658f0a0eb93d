/*
 * blindllama-log: keeps a transparency log for many hosts, and is a witness of others' logs.
 */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "logservice/command.h"

const char *argp_program_version = "blindllama-log " BL_VERSION;

static const struct {
    const char *name;
    const char *summary;
    command_run *run;
} commands[] = {
    {"init", "make a new log and its key", init_command},
    {"serve", "serve a log, take statements from hosts, ask witnesses", serve_command},
    {"checkpoint", "print the log's newest checkpoint", checkpoint_command},
    {"prove", "write the proof that an entry is in the log", prove_command},
    {"fsck", "compute the whole log again from its bytes", fsck_command},
    {"export", "write the log as files that any web server serves", export_command},
    {"snapshot", "write a consistent copy of the log's file", snapshot_command},
    {"witness", "cosign others' logs while they only grow", witness_command},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs("Usage: blindllama-log COMMAND ...\n\n"
          "A transparency log for many hosts, and a witness of other logs.\n\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\nEach command explains itself: blindllama-log serve --help\n"
          "Exit codes: 0 true or done, 1 false, 2 could not check or do.\n",
          out);
}

static int run(size_t command, int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof name, "blindllama-log %s", commands[command].name);
    argv[0] = name;
    int exit_code = EXIT_NOT_CHECKED;
    struct err e = commands[command].run(&exit_code, argc, argv);
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
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0)
            return run(i, argc - 1, argv + 1);
    bool asked =
        strcmp(word, "--help") == 0 || strcmp(word, "help") == 0 || strcmp(word, "-?") == 0;
    if (strcmp(word, "--version") == 0) {
        puts(argp_program_version);
        return EXIT_TRUE;
    }
    if (argc > 1 && !asked)
        fprintf(stderr, "blindllama-log: there is no command '%s'\n\n", word);
    print_help(asked ? stdout : stderr);
    return asked ? EXIT_TRUE : EXIT_NOT_CHECKED;
}
