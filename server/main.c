/*
 * blindllama-server: options in, exit code out. Reads the command line, checks what can be checked
 * without side effects, and hands over to the supervisor (or drafts a policy).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "server/event_log.h"
#include "server/front_memory.h"
#include "server/front_policy.h"
#include "server/options.h"

const char *argp_program_version = "blindllama-server " BL_VERSION;

static const char doc[] =
    "Answers OpenAI-style requests over HTTPS, and proves what it is: the TPM measures this "
    "program, the model and the TLS key, and signed quotes go into an append-only log."
    "\v"
    "What happens, in order: the TPM and the log are opened and checked; every file of the model "
    "is read once and hashed; a TLS key is made in memory; all of it is extended into PCRs 13 to "
    "15; the log gets the identity and a first quote; then, and only then, clients are let in and "
    "this line appears on standard output:\n\n"
    "  listening on https://127.0.0.1:8443\n\n"
    "A first start, on a machine with a TPM:\n\n"
    "  blindllama-server --model models/demo --ek-chain issuer.pem --ek-chain root.pem\n\n"
    "A client verifies before it sends a prompt: see `blindllama verify --help`. What it should "
    "believe stands in a policy; --print-policy drafts one from what is here, for you to compare "
    "with what you built yourself.\n\n"
    "With --witnesses others cosign the log, so that it cannot be shown to one client alone: each "
    "is asked whenever the log has grown, and /health fails when they have been silent for too "
    "long. The policy of clients names the same ones.\n\n"
    "With --log a service keeps the log, for many hosts; what this host says goes there, and waits "
    "in the state folder while the service is away. /health fails until the first quote is "
    "logged.\n\n"
    "SIGTERM stops cleanly: requests in flight get 10 seconds, and the log says that the host "
    "stops and for how long at most. Exit codes: 0 stopped cleanly, 1 failed while running, 2 "
    "could not start.";

static struct err check_model_folder(const char *dir)
{
    struct stat status;
    if (stat(dir, &status) != 0)
        return err_errno("--model %s: cannot be opened (name a folder with config.json, "
                         "tokenizer.json and safetensors files)",
                         dir);
    if (!S_ISDIR(status.st_mode))
        return err_set(ERR_USAGE,
                       "--model %s: not a folder (name the folder that holds the "
                       "model's files)",
                       dir);
    return err_ok();
}

static void say_no_event_log(const char *why)
{
    fprintf(stderr,
            "blindllama-server: no firmware event log: %s; boot PCRs can be compared with golden "
            "values only\n",
            why);
}

/* A log that was asked for must be there. Without one in its usual place the host serves all the
 * same, and says so. */
static struct err load_event_log(struct buf *out, const char *path, const char *tcti)
{
    char usual[EVENT_LOG_PATH_MAX];
    if (path != NULL && strcmp(path, "none") == 0)
        return err_ok();
    if (path != NULL)
        return err_context(event_log_read(out, path), "--event-log");
    if (!event_log_path(usual, tcti))
        say_no_event_log("the TPM is no device of this machine");
    else if (is_err(event_log_read(out, usual)))
        say_no_event_log(err_message());
    return err_ok();
}

static int print_policy(struct command *c)
{
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO event_log = BUF_INIT;
    struct err e = load_event_log(&event_log, c->event_log_path, c->server.attester.tcti);
    c->server.attester.event_log = buf_bytes(&event_log);
    if (!is_err(e))
        e = front_policy_draft(&text, &c->server.front, &c->server.attester, c->activator_texts,
                               c->policy_kind);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    if (fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
        fprintf(stderr, "blindllama-server: cannot write the policy to standard output: %s\n",
                strerror(errno));
        return EXIT_NOT_STARTED;
    }
    return EXIT_CLEAN;
}

/* The environment is nobody's to measure: what libraries would read from it is taken away, and
 * OpenSSL reads no configuration file, which could load an engine or a provider. */
static struct err forget_environment(void)
{
    if (clearenv() != 0 || OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
        return err_set(ERR_IO, "the environment cannot be cleared");
    return err_ok();
}

static int serve(struct command *c)
{
    BUF_AUTO event_log = BUF_INIT;
    struct err e = load_event_log(&event_log, c->event_log_path, c->server.attester.tcti);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    c->server.attester.event_log = buf_bytes(&event_log);
    return supervisor_run(&c->server);
}

int main(int argc, char **argv)
{
    struct command c = {0};
    struct err e = front_memory_wipe_on_free();
    server_set_defaults(&c);
    argp_err_exit_status = EXIT_NOT_STARTED;
    const struct argp argp = {
        server_argp_options, server_parse_option, NULL, doc, NULL, NULL, NULL};
    argp_parse(&argp, argc, argv, 0, NULL, &c);
    c.server.front.quote_interval_s = c.server.attester.quote_interval_s;
    c.server.attester.outlive_tpm = c.server.front.serve_without_tpm;
    if (!is_err(e))
        e = forget_environment();
    if (!is_err(e))
        e = front_memory_private();
    if (!is_err(e))
        e = check_model_folder(c.server.front.model_dir);
    if (!is_err(e))
        e = server_load_witnesses(&c);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    if (c.policy_kind != NULL)
        return print_policy(&c);
    e = front_raise_open_files(c.server.front.max_connections);
    if (is_err(e)) {
        fprintf(stderr, "blindllama-server: %s\n", err_message());
        return EXIT_NOT_STARTED;
    }
    fprintf(stderr, "%s\n", argp_program_version);
    return serve(&c);
}
