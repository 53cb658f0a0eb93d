/*
 * blindllama-audit: judges copies of a log, and single pieces of evidence, offline. It reads files,
 * writes to the terminal, and opens no socket. Exit codes: 0 true, 1 false, 2 could not check; of a
 * log 3 if it is true and some of its hosts are not.
 */
#include <stdio.h>

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

/* Whatever the reason, it was not checked; the message may hold foreign text. */
static int failed(const char *command, struct err e)
{
    char why[1024];
    (void)e;
    report_clean(why, sizeof why, err_message());
    fflush(stdout);
    fprintf(stderr, "%s: could not check: %s\n", command, why);
    return EXIT_NOT_CHECKED;
}

int main(int argc, char **argv)
{
    const struct program program = {
        .name = "blindllama-audit",
        .version = argp_program_version,
        .about = "Judges a copy of a log, or one piece of evidence, offline.",
        .exit_codes = "Exit codes: 0 true, 1 false, 2 could not check; of a log 3: some hosts are "
                      "false.",
        .commands = commands,
        .n_commands = sizeof commands / sizeof *commands,
        .failed = failed,
    };
    return program_main(&program, argc, argv);
}
