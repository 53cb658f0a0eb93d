/*
 * blindllama chat: verifies a host and, only then, asks it.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/chat.h"
#include "client/command.h"
#include "client/host_check.h"
#include "common/text.h"

enum { KEY_MODEL = 256, KEY_SYSTEM, KEY_TOKENS, KEY_TEMPERATURE, KEY_SEED, KEY_ALLOW };
enum { PROMPT_MAX = 4 * 1024 * 1024 };

struct options {
    struct host_options host;
    struct chat_question question;
    const char *prompt;
    bool quiet, verbose, allow_not_a_proof;
};

static const char doc[] =
    "Verifies the host at URL as `blindllama verify` does and, if the verdict is true, sends "
    "PROMPT "
    "over the same connection and prints the answer as it comes. PROMPT `-` is read from standard "
    "input."
    "\vTo a host that could not be verified nothing is sent but a nonce and a challenge. If the "
    "connection drops it is not opened again: another one would have to be verified first. What "
    "the "
    "model writes goes to standard output, with control characters made harmless; what was "
    "verified "
    "goes to standard error.\n\n"
    "Exit codes: 0 answered, 1 the host is not what the policy wants (nothing was sent), 2 could "
    "not "
    "check, or the answer broke off.\n\n"
    "Example:\n"
    "  blindllama chat https://127.0.0.1:8443 --policy host.policy \"What is a TPM?\"";

static const struct argp_option argp_options[] = {
    {"model", KEY_MODEL, "ID", 0, "The model's id; default: the one the host has", 1},
    {"system", KEY_SYSTEM, "TEXT", 0, "A system message", 1},
    {"max-tokens", KEY_TOKENS, "N", 0, "The answer's longest length", 1},
    {"temperature", KEY_TEMPERATURE, "T", 0, "0 always takes the likeliest token", 1},
    {"seed", KEY_SEED, "S", 0, "Makes the sampling repeatable", 1},
    {"quiet", 'q', NULL, 0, "Say nothing of a verification that went well", 2},
    {"verbose", 'v', NULL, 0, "Print the whole verdict, not its summary", 2},
    {"allow-not-a-proof", KEY_ALLOW, NULL, 0,
     "Ask although the policy ignores PCRs, which makes the verdict no proof", 2},
    {0},
};

static uint64_t number(const struct argp_state *state, const char *option, const char *text,
                       uint64_t max)
{
    uint64_t v = 0;
    if (is_err(decimal_decode(&v, bytes_of_str(text), max)))
        argp_error(state, "%s: %s", option, err_message());
    return v;
}

static double temperature(const struct argp_state *state, const char *text)
{
    char *end = NULL;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(v) || v < 0 || v > 100)
        argp_error(state, "--temperature takes a number from 0 to 100, not '%s'", text);
    return v;
}

static error_t take_argument(struct options *o, char *text, struct argp_state *state)
{
    if (state->arg_num == 0)
        o->host.url = text;
    else if (state->arg_num == 1)
        o->prompt = text;
    else
        argp_error(state, "one prompt, please: put it in quotes ('%s' is left over)", text);
    return 0;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->host;
        return 0;
    case KEY_MODEL:
        o->question.model = text;
        return 0;
    case KEY_SYSTEM:
        if (!utf8_valid(bytes_of_str(text)))
            argp_error(state, "--system: the text is not UTF-8");
        o->question.system = text;
        return 0;
    case KEY_TOKENS:
        o->question.max_tokens = number(state, "--max-tokens", text, 1000000000);
        if (o->question.max_tokens == 0)
            argp_error(state, "--max-tokens takes a number from 1 on, not '%s'", text);
        return 0;
    case KEY_TEMPERATURE:
        o->question.temperature = temperature(state, text);
        return 0;
    case KEY_SEED:
        o->question.seed = number(state, "--seed", text, INT64_MAX);
        o->question.has_seed = true;
        return 0;
    case 'q':
        o->quiet = true;
        return 0;
    case 'v':
        o->verbose = true;
        return 0;
    case KEY_ALLOW:
        o->allow_not_a_proof = true;
        return 0;
    case ARGP_KEY_ARG:
        return take_argument(o, text, state);
    case ARGP_KEY_END:
        if (o->prompt == NULL)
            argp_error(state, "a URL and a prompt are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct err read_prompt(struct buf *out, const char *prompt)
{
    if (strcmp(prompt, "-") != 0)
        buf_append_str(out, prompt);
    for (ssize_t n = 1; strcmp(prompt, "-") == 0 && n != 0;) {
        uint8_t piece[4096];
        n = read(STDIN_FILENO, piece, sizeof piece);
        if (n < 0 && errno != EINTR)
            return err_errno("cannot read the prompt from standard input");
        if (n > 0)
            buf_append(out, piece, (size_t)n);
        explicit_bzero(piece, sizeof piece);
        if (out->len > PROMPT_MAX)
            return err_set(ERR_USAGE, "the prompt is longer than %d bytes", PROMPT_MAX);
    }
    if (out->len == 0 || !utf8_valid(buf_bytes(out)))
        return err_set(ERR_USAGE, "the prompt is empty or not UTF-8");
    return err_ok();
}

static void print_verdict(const struct options *o, const struct verdict *v, bool good)
{
    BUF_AUTO text = BUF_INIT;
    if (o->verbose)
        verdict_print(&text, v);
    if (o->verbose || (o->quiet && good)) {
        fputs(buf_str(&text), stderr);
        return;
    }
    for (size_t i = 0; i < N_RULES && !good; i++)
        if (v->rules[i].status == RULE_FALSE) {
            fprintf(stderr, "not verified: rule %zu %s: %s\n", i + 1, v->rules[i].code,
                    v->rules[i].text);
            return;
        }
    fprintf(stderr, "%s%s: %s\n", good ? "verified" : "not verified",
            v->test && good ? " (TEST)" : "", v->rules[N_RULES - 1].text);
}

static struct err check_then_ask(int *exit_code, const struct options *o)
{
    POLICY_AUTO policy = {0};
    CONNECTION_AUTO *connection = NULL;
    TRY(host_options_open(&policy, &connection, &o->host));
    struct verdict verdict;
    struct err e = host_check(&verdict, connection, &policy);
    if (is_err(e))
        return err_context(e, "could not verify the host, nothing was sent");
    *exit_code = host_check_exit(&verdict, o->allow_not_a_proof);
    print_verdict(o, &verdict, *exit_code == EXIT_TRUE);
    if (*exit_code != EXIT_TRUE) {
        fputs("nothing was sent\n", stderr);
        return err_ok();
    }
    struct chat_outcome outcome;
    TRY(chat_ask(&outcome, connection, stdout, &o->question));
    if (strcmp(outcome.finish_reason, "length") == 0 && !o->quiet)
        fputs("(cut off at the longest length: see --max-tokens)\n", stderr);
    return err_ok();
}

struct err chat_command(int *exit_code, int argc, char **argv)
{
    static const struct argp_child children[] = {{&host_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "URL PROMPT", doc,
                                     children,     NULL,         NULL};
    struct options o = {.question = {.temperature = -1}};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    __attribute__((cleanup(buf_cleanup_secret))) struct buf prompt = BUF_INIT;
    TRY(read_prompt(&prompt, o.prompt));
    o.question.prompt = buf_bytes(&prompt);
    return check_then_ask(exit_code, &o);
}
