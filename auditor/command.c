#include "auditor/command.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "attest/report.h"

bool command_is_fault(struct err e)
{
    return is_err(e) && e.code != ERR_MEMORY && e.code != ERR_IO && e.code != ERR_BUSY &&
           e.code != ERR_USAGE;
}

void command_print(const struct buf *text)
{
    fwrite(text->data, 1, text->len, stdout);
}

static int append_text(const char *text, size_t len, void *out)
{
    buf_append(out, text, len);
    return 0;
}

/* Every text is printable ASCII, so that only out of memory can make jansson fail. */
void command_json(struct buf *out, json_t *root)
{
    if (root == NULL || json_dump_callback(root, append_text, out, JSON_COMPACT) != 0)
        abort();
    buf_append_str(out, "\n");
    json_decref(root);
}

static void print_false(bool json)
{
    char why[1024];
    report_clean(why, sizeof why, err_message());
    BUF_AUTO text = BUF_INIT;
    if (json)
        command_json(&text, json_pack("{s:s,s:s}", "outcome", "false", "reason", why));
    else
        buf_printf(&text, "false: %s\n", why);
    command_print(&text);
}

struct err command_end(int *exit_code, struct err judged, struct buf *fact, bool json)
{
    if (is_err(judged) && !command_is_fault(judged))
        return judged;
    if (is_err(judged))
        print_false(json);
    else
        command_print(fact);
    *exit_code = is_err(judged) ? EXIT_FALSE : EXIT_TRUE;
    return err_ok();
}

enum { KEY_JSON = 'j' };

static error_t parse_file(int key, char *arg, struct argp_state *state)
{
    struct file_options *o = state->input;
    switch (key) {
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->path != NULL)
            argp_error(state, "one file at a time");
        o->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->path == NULL)
            argp_error(state, "a file is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option file_options[] = {
    {"json", KEY_JSON, NULL, 0, "JSON instead of text", 0},
    {0},
};

const struct argp file_argp = {file_options, parse_file, NULL, NULL, NULL, NULL, NULL};
