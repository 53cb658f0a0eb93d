#include "common/program.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

static void print_help(const struct program *p, FILE *out)
{
    fprintf(out, "Usage: %s COMMAND ...\n\n%s\n\n", p->name, p->about);
    for (size_t i = 0; i < p->n_commands; i++)
        fprintf(out, "  %-11s %s\n", p->commands[i].name, p->commands[i].summary);
    fprintf(out, "\nEach command explains itself: %s %s --help\n%s\n", p->name, p->commands[0].name,
            p->exit_codes);
}

static int print_error(const char *command, struct err e)
{
    fprintf(stderr, "%s: %s\n", command, err_message());
    return e.code == ERR_UNTRUE ? EXIT_FALSE : EXIT_NOT_CHECKED;
}

static int run(const struct program *p, const struct command *command, int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof name, "%s %s", p->name, command->name);
    argv[0] = name;
    int exit_code = EXIT_NOT_CHECKED;
    struct err e = command->run(&exit_code, argc, argv);
    if (is_err(e))
        exit_code = (p->failed != NULL ? p->failed : print_error)(name, e);
    /* A long text can fail in fwrite, and then leave nothing for fflush to report. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write to standard output\n", name);
        exit_code = EXIT_NOT_CHECKED;
    }
    return exit_code;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

int program_main(const struct program *p, int argc, char **argv)
{
    argp_err_exit_status = EXIT_NOT_CHECKED;
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < p->n_commands; i++)
        if (strcmp(word, p->commands[i].name) == 0)
            return run(p, &p->commands[i], argc - 1, argv + 1);
    if (is_one_of(word, "--version", "-V", "version")) {
        puts(p->version);
        return EXIT_TRUE;
    }
    bool asked = is_one_of(word, "--help", "help", "-?");
    if (argc > 1 && !asked)
        fprintf(stderr, "%s: there is no command '%s'\n\n", p->name, word);
    print_help(p, asked ? stdout : stderr);
    return asked ? EXIT_TRUE : EXIT_NOT_CHECKED;
}
