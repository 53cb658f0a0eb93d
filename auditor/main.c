/*
 * blindllama-audit: judges copies of a log, and single pieces of evidence, offline. It reads files,
 * writes to the terminal, and opens no socket. Exit codes: 0 true, 1 false, 2 could not check; of a
 * log 3 if it is true and some of its hosts are not.
 */
#include <stdio.h>
#include <string.h>

#include "attest/report.h"
#include "auditor/command.h"

const char *argp_program_version = "blindllama-audit " BL_VERSION;

static const struct command commands[] = {
    {"replay", "a whole log: tree, checkpoints, and every statement", replay_command},
    {"eventlog", "a firmware event log: the PCR values that it replays to", eventlog_command},
    {"ima", "an IMA measurement list, and how much of it a quoted PCR 10 attests", ima_command},
    {"quote", "one TPM quote: key, signature, PCRs, nonce", quote_command},
    {"checkpoint", "a log's signed head", checkpoint_command},
    {"proof", "a .tlog-proof: that an entry is in a log", proof_command},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs("Usage: blindllama-audit COMMAND ...\n\n"
          "Judges a copy of a log, or one piece of evidence, offline.\n\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\nEach command explains itself: blindllama-audit replay --help\n"
          "Exit codes: 0 true, 1 false, 2 could not check; of a log 3: some hosts are false.\n",
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
    char name[64], why[1024];
    snprintf(name, sizeof name, "blindllama-audit %s", command->name);
    argv[0] = name;
    int exit_code = EXIT_NOT_CHECKED;
    struct err e = command->run(&exit_code, argc, argv);
    if (is_err(e)) {
        report_clean(why, sizeof why, err_message());
        fflush(stdout);
        fprintf(stderr, "%s: could not check: %s\n", name, why);
        exit_code = EXIT_NOT_CHECKED;
    }
    /* A long text can fail in fwrite, and then leave nothing for fflush to report. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write to standard output\n", name);
        exit_code = EXIT_NOT_CHECKED;
    }
    return exit_code;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = EXIT_NOT_CHECKED;
    const struct command *command = argc > 1 ? find(argv[1]) : NULL;
    if (command != NULL)
        return run(command, argc - 1, argv + 1);
    bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0 ||
                              strcmp(argv[1], "-?") == 0);
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        puts(argp_program_version);
        return EXIT_TRUE;
    }
    if (argc > 1 && !asked)
        fprintf(stderr, "blindllama-audit: there is no command '%s'\n\n", argv[1]);
    print_help(asked ? stdout : stderr);
    return asked ? EXIT_TRUE : EXIT_NOT_CHECKED;
}
