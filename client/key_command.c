/*
 * blindllama key: an activator's Ed25519 key.
 */
#include <stdio.h>

#include "client/command.h"
#include "transparency/note.h"

struct options {
    const char *path, *name;
};

static const char doc[] =
    "Makes an Ed25519 key for signed notes in FILE, or loads the one that is there, and prints its "
    "public form."
    "\vWhoever signs activation statements (blindllama activate) needs such a key. The file holds "
    "the "
    "private key, is readable by its owner alone and is never replaced. What is printed goes into "
    "policies that shall believe this activator (activator <key>), and to the hosts that shall log "
    "its statements.\n\n"
    "NAME is a name for people and key ids, without spaces and '+': a domain that you control, and "
    "a path.\n\n"
    "Example:\n"
    "  blindllama key activator.key --name example.org/activator";

static const struct argp_option argp_options[] = {
    {"name", 'n', "NAME", 0, "The key's name; it must be the name of a key that is there", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'n':
        o->name = text;
        return 0;
    case ARGP_KEY_ARG:
        if (o->path != NULL)
            argp_error(state, "one file, please: '%s' is a second", text);
        o->path = text;
        return 0;
    case ARGP_KEY_END:
        if (o->path == NULL || o->name == NULL)
            argp_error(state, "a file and --name NAME are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct err key_command(int *exit_code, int argc, char **argv)
{
    static const struct argp argp = {argp_options, parse_option, "FILE", doc, NULL, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    struct note_signer signer;
    TRY(note_signer_load(&signer, o.path, o.name, true));
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &signer.key);
    note_signer_cleanup(&signer);
    puts(buf_str(&vkey));
    *exit_code = EXIT_TRUE;
    return err_ok();
}
