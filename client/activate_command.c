/*
 * blindllama activate: challenges a host's TPM and vouches for what it saw.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attest/credential.h"
#include "client/api.h"
#include "client/command.h"
#include "client/host_check.h"
#include "common/file.h"

enum { KEY_FILE_MAX = 1024, INDEX_ANSWER_MAX = 64 * 1024 };

struct options {
    struct host_options host;
    const char *key;
};

static const char doc[] =
    "Challenges the TPM of the host at URL (credential activation), and signs and hands over a "
    "statement that the attestation key lives in the TPM of the endorsement certificate."
    "\vOnly a TPM that holds both keys can answer the challenge. A client can run it itself, live; "
    "an "
    "auditor who replays a log later cannot, and believes the statements of the activators that "
    "its "
    "policy names. The host writes the statement into its log if it was started with --activator "
    "and this key.\n\n"
    "Of the policy, only the log and the TPM roots are looked at here: whether the host runs the "
    "right "
    "program and model is not what an activator says.\n\n"
    "Exit codes: 0 the host logged the statement, 1 the TPM did not answer rightly or its "
    "certificate leads to no root of the policy, 2 could not check.\n\n"
    "Example:\n"
    "  blindllama key activator.key --name example.org/activator\n"
    "  blindllama activate https://127.0.0.1:8443 --policy host.policy --key activator.key";

static const struct argp_option argp_options[] = {
    {"key", 'k', "FILE", 0, "The activator's key, made with `blindllama key`", 0},
    {0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->host;
        return 0;
    case 'k':
        o->key = text;
        return 0;
    case ARGP_KEY_END:
        if (o->key == NULL)
            argp_error(state, "--key FILE is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The key of the file, whatever its name; note_signer_load then checks the file's mode, too. */
static struct err load_key(struct note_signer *out, const char *path)
{
    __attribute__((cleanup(buf_cleanup_secret))) struct buf text = BUF_INIT;
    TRY(file_read(&text, path, KEY_FILE_MAX));
    if (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    struct note_signer signer;
    struct err e = note_skey_parse(&signer, buf_bytes(&text));
    if (is_err(e))
        return err_context(e, "%s", path);
    e = note_signer_load(out, path, signer.key.name, false);
    note_signer_cleanup(&signer);
    return e;
}

static struct err challenge(struct activation_target *target, struct connection *c,
                            const struct policy *p)
{
    HOST_EVIDENCE_AUTO evidence = HOST_EVIDENCE_INIT;
    TRY(host_evidence_get(&evidence, c));
    struct evidence parsed = EVIDENCE_INIT;
    TRY(evidence_parse(&parsed, buf_bytes(&evidence.json)));
    struct err e = verify_activation_target(target, &parsed, p);
    evidence_cleanup(&parsed);
    TRY(e);
    if (target->ek == NULL)
        return err_set(ERR_UNSUPPORTED, "the host's key has a certificate of its own: policies "
                                        "believe that (ak-root), and need no activator");
    e = host_activate(c, target, p->log.name);
    if (is_err(e)) {
        EVP_PKEY_free(target->ek);
        target->ek = NULL;
    }
    return e;
}

static struct err sign(struct buf *note, const struct activation_target *target,
                       const struct policy *p, const struct note_signer *signer)
{
    struct activation a = {.ak_name = target->ak_name, .time_s = (uint64_t)time(NULL)};
    memcpy(a.ek_certificate, target->ek_certificate, SHA256_LEN);
    snprintf(a.origin, sizeof a.origin, "%s", p->log.name);
    BUF_AUTO text = BUF_INIT;
    activation_format(&text, &a);
    return note_sign(note, buf_bytes(&text), signer);
}

static struct err hand_over(uint64_t *index, struct connection *c, struct bytes note)
{
    ANSWER_AUTO answer = ANSWER_INIT;
    const struct request request = {.path = "/attestation/activation",
                                    .content_type = "text/plain; charset=utf-8",
                                    .body = note,
                                    .max = INDEX_ANSWER_MAX};
    TRY(connection_request(c, &answer, &request));
    struct err e = api_status(&answer, "activation statement");
    if (e.code == ERR_UNTRUE) /* the host's refusal is no judgement on its TPM */
        e.code = ERR_IO;
    TRY(e);
    JSON_AUTO *root = NULL;
    TRY(api_parse(&root, buf_bytes(&answer.body)));
    const json_t *value = json_object_get(root, "index");
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(ERR_MALFORMED,
                       "the host does not say at which index it logged the statement");
    *index = (uint64_t)json_integer_value(value);
    return err_ok();
}

struct err activate_command(int *exit_code, int argc, char **argv)
{
    static const struct argp_child children[] = {{&host_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {argp_options, parse_option, "URL", doc, children, NULL, NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    __attribute__((cleanup(note_signer_cleanup))) struct note_signer signer = {0};
    TRY(load_key(&signer, o.key));
    POLICY_AUTO policy = {0};
    CONNECTION_AUTO *connection = NULL;
    TRY(host_options_open(&policy, &connection, &o.host));
    struct activation_target target = {0};
    TRY(challenge(&target, connection, &policy));
    EVP_PKEY_free(target.ek);
    BUF_AUTO note = BUF_INIT;
    TRY(sign(&note, &target, &policy, &signer));
    uint64_t index = 0;
    TRY(hand_over(&index, connection, buf_bytes(&note)));
    BUF_AUTO ak = BUF_INIT;
    buf_append_hex(&ak, bytes_of(target.ak_name.bytes, target.ak_name.len));
    printf("activated %s\nlogged at index %llu\n", buf_str(&ak), (unsigned long long)index);
    *exit_code = EXIT_TRUE;
    return err_ok();
}
