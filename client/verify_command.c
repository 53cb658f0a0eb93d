/*
 * blindllama verify: one host, all rules, a line for each.
 */
#include <stdio.h>

#include "client/command.h"
#include "client/host_check.h"

enum { KEY_JSON = 256, KEY_ALLOW };

struct options {
    struct host_options host;
    bool json, allow_not_a_proof;
};

static const char doc[] =
    "Verifies the host at URL: what was booted, which program and model answer, and whose TLS key "
    "this is, all of it signed by the host's TPM and written in the log that the policy names."
    "\vA nonce that was drawn for this run goes to the host; a quote by its TPM over that nonce "
    "comes "
    "back, with what the log says of it. The TPM is challenged to show that it holds both the "
    "endorsement key of its certificate and the key that signed. Then each rule gives one line:\n\n"
    "  true         it holds\n"
    "  false        it does not: the reason follows, and nothing after it counts\n"
    "  not checked  a rule before it failed\n\n"
    "What a verdict does not prove is said, too. A verdict marked TEST rests on a test root: no "
    "hardware vouches for that TPM.\n\n"
    "Exit codes: 0 true, 1 false (or \"not a proof\"), 2 could not check.\n\n"
    "Example:\n"
    "  blindllama verify https://127.0.0.1:8443 --policy host.policy";

static const struct argp_option argp_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print the verdict as one JSON object", 0},
    {"allow-not-a-proof", KEY_ALLOW, NULL, 0,
     "Exit 0 although the policy ignores PCRs, which makes the verdict no proof", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    (void)text;
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->host;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_ALLOW:
        o->allow_not_a_proof = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct err verify_command(int *exit_code, int argc, char **argv)
{
    static const struct argp_child children[] = {{&host_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "URL", doc, children, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    POLICY_AUTO policy = {0};
    CONNECTION_AUTO *connection = NULL;
    TRY(host_options_open(&policy, &connection, &o.host));
    struct verdict verdict;
    TRY(host_check(&verdict, connection, &policy));
    BUF_AUTO text = BUF_INIT;
    if (o.json)
        verdict_json(&text, &verdict);
    else
        verdict_print(&text, &verdict);
    fputs(buf_str(&text), stdout);
    if (o.json)
        fputs("\n", stdout);
    *exit_code = host_check_exit(&verdict, o.allow_not_a_proof);
    return err_ok();
}
