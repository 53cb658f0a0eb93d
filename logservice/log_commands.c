/*
 * The commands that look at a log's file or make one: init, checkpoint, fsck, export, snapshot.
 */
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "logservice/command.h"
#include "logservice/export.h"
#include "logservice/options.h"
#include "logservice/published.h"

/* What the four readers need: the log, and one word that is theirs (or none). */
struct options {
    struct log_options log;
    const char *word, *word_name; /* word_name NULL: the command takes none */
    const char *key;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->log;
        return 0;
    case 'k':
        o->key = text;
        return 0;
    case ARGP_KEY_ARG:
        if (o->word != NULL || o->word_name == NULL)
            argp_error(state, "'%s' is a word too many", text);
        o->word = text;
        return 0;
    case ARGP_KEY_END:
        if (o->word == NULL && o->word_name != NULL)
            argp_error(state, "%s is needed", o->word_name);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&log_argp, 0, NULL, 0}, {0}};

static struct err open_log(struct store **log, struct published *p, const struct options *o)
{
    STORE_AUTO *opened = NULL;
    TRY(store_open_readonly(&opened, o->log.db));
    TLOG_POLICY_AUTO witnesses = TLOG_POLICY_INIT;
    TRY(log_options_policy(&witnesses, &o->log, store_vkey(opened)));
    TRY(published_find(p, opened, &witnesses));
    if (!p->there)
        return err_set(ERR_NOT_FOUND, "%s: no checkpoint has the quorum of %s yet", o->log.db,
                       o->log.witnesses);
    *log = opened;
    opened = NULL;
    return err_ok();
}

struct err init_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Makes a new, empty log of that origin, and its key if there is none yet; prints the key's "
        "public form, which goes into policies."
        "\vORIGIN names the log for ever: the URL where it will be read, without https://, is a "
        "good "
        "one. The key signs every checkpoint; whoever loses it ends the log, and whoever copies it "
        "can fork it.\n\n"
        "Example:\n  blindllama-log init log.example.org/2026 --db log.db --key log.key";
    static const struct argp_option extra[] = {
        {"key", 'k', "FILE", 0, "The log's private key (default: log.key)", 0}, {0}};
    static const struct argp argp = {extra, parse_option, "ORIGIN", doc, children, NULL, NULL};
    struct options o = {.word_name = "the log's ORIGIN", .key = "log.key"};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    __attribute__((cleanup(note_signer_cleanup))) struct note_signer signer = {0};
    TRY(note_signer_load(&signer, o.key, o.word, true));
    TRY(store_create(o.log.db, &signer));
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &signer.key);
    puts(buf_str(&vkey));
    *exit_code = EXIT_TRUE;
    return err_ok();
}

struct err checkpoint_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Prints the log's newest checkpoint with its cosignatures, as a signed note: with "
        "--witnesses, the newest that has their quorum.";
    static const struct argp argp = {NULL, parse_option, NULL, doc, children, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    STORE_AUTO *log = NULL;
    PUBLISHED_AUTO p = PUBLISHED_INIT;
    TRY(open_log(&log, &p, &o));
    fputs(buf_str(&p.note), stdout);
    *exit_code = EXIT_TRUE;
    return err_ok();
}

static struct err take_key(struct note_key *key, struct store *log, const char *vkey)
{
    return note_vkey_parse(key, bytes_of_str(vkey != NULL ? vkey : store_vkey(log)));
}

struct err fsck_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Computes the whole log again from its bytes: every hash, every checkpoint's signature and "
        "root, every cosignature, every blob; nothing may be missing or left over."
        "\vWithout --key the log is held against the key that its own file names, which shows "
        "damage but not whose log it is.\n\n"
        "Exit codes: 0 all of it holds, 1 not, 2 could not check.";
    static const struct argp_option extra[] = {
        {"key", 'k', "VKEY", 0, "The log's public key, as `init` printed it", 0}, {0}};
    static const struct argp argp = {extra, parse_option, NULL, doc, children, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    STORE_AUTO *log = NULL;
    TRY(store_open_readonly(&log, o.log.db));
    struct note_key key;
    struct checkpoint c;
    TRY(take_key(&key, log, o.key));
    struct err e = store_fsck(log, &key, NULL, NULL);
    if (e.code == ERR_MALFORMED) /* a damaged log is no true one */
        e.code = ERR_UNTRUE;
    TRY(e);
    TRY(store_checkpoint(log, NULL, &c));
    BUF_AUTO root = BUF_INIT;
    buf_append_hex(&root, bytes_of(c.root.bytes, SHA256_LEN));
    printf("origin %s\nsize %llu\nroot %s\n", c.origin, (unsigned long long)c.size, buf_str(&root));
    *exit_code = EXIT_TRUE;
    return err_ok();
}

struct err export_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Writes the log into DIR as files: checkpoint, tile/..., blob/... (C2SP tlog-tiles), which "
        "any web server or object store can serve."
        "\vOnly what is not there yet is written, the checkpoint last, so DIR can be served "
        "meanwhile and exported to again.\n\n"
        "Example:\n  blindllama-log export /srv/www/log --db log.db --witnesses witnesses.policy";
    static const struct argp argp = {NULL, parse_option, "DIR", doc, children, NULL, NULL};
    struct options o = {.word_name = "the folder DIR"};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    STORE_AUTO *log = NULL;
    PUBLISHED_AUTO p = PUBLISHED_INIT;
    TRY(open_log(&log, &p, &o));
    uint64_t n_written = 0;
    TRY(export_log(&n_written, o.word, log, &p));
    printf("size %llu\nwritten %llu\n", (unsigned long long)p.checkpoint.size,
           (unsigned long long)n_written);
    *exit_code = EXIT_TRUE;
    return err_ok();
}

struct err snapshot_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] = "Writes a consistent copy of the log's file to FILE, also while the "
                              "log is in use (VACUUM INTO). FILE must not exist.";
    static const struct argp argp = {NULL, parse_option, "FILE", doc, children, NULL, NULL};
    struct options o = {.word_name = "the new FILE"};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    STORE_AUTO *log = NULL;
    TRY(store_open_readonly(&log, o.log.db));
    TRY(store_snapshot(log, o.word));
    *exit_code = EXIT_TRUE;
    return err_ok();
}
