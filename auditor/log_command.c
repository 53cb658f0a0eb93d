/*
 * blindllama-audit checkpoint and proof: a log's signed head, and that an entry is under it.
 */
#include <jansson.h>

#include "attest/policy.h"
#include "attest/report.h"
#include "auditor/command.h"
#include "common/file.h"
#include "transparency/tlog_proof.h"

enum { ENTRY_MAX = 65535 };

struct options {
    struct file_options file;
    const char *policy, *leaf;
    bool wants_leaf;
};

enum { KEY_POLICY = 'p', KEY_LEAF = 'l' };

static const struct argp_option checkpoint_options[] = {
    {"policy", KEY_POLICY, "FILE", 0, "A blindllama-policy/v1, of which the log's key is used", 0},
    {0},
};

static const struct argp_option proof_options[] = {
    {"policy", KEY_POLICY, "FILE", 0, "A blindllama-policy/v1, of which the log's key is used", 0},
    {"leaf", KEY_LEAF, "FILE", 0, "The entry, byte for byte", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->file;
        return 0;
    case KEY_POLICY:
        o->policy = arg;
        return 0;
    case KEY_LEAF:
        o->leaf = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->policy == NULL || (o->wants_leaf && o->leaf == NULL))
            argp_error(state,
                       o->wants_leaf ? "--policy and --leaf are needed" : "--policy is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&file_argp, 0, NULL, 0}, {0}};

/* `index`: of the entry that was shown to be under the head, or NULL. */
static void append_fact(struct buf *out, bool json, const struct checkpoint *c,
                        const uint64_t *index)
{
    char origin[NOTE_NAME_MAX + 1];
    BUF_AUTO root = BUF_INIT;
    report_clean(origin, sizeof origin, c->origin);
    buf_append_base64(&root, bytes_of(c->root.bytes, SHA256_LEN));
    if (json) {
        json_t *object =
            json_pack("{s:s,s:s,s:s,s:I,s:s}", "outcome", "true", "reason", "", "origin", origin,
                      "size", (json_int_t)c->size, "root", buf_str(&root));
        if (index != NULL)
            json_object_set_new(object, "index", json_integer((json_int_t)*index));
        command_json(out, object);
        return;
    }
    buf_append_str(out, "true: ");
    if (index != NULL)
        buf_printf(out, "entry %llu is under ", (unsigned long long)*index);
    buf_printf(out, "the head of %s at size %llu, root %s, signed by its key\n", origin,
               (unsigned long long)c->size, buf_str(&root));
}

static struct err check_checkpoint(struct buf *out, const struct options *o, struct bytes note,
                                   const struct policy *p)
{
    struct checkpoint c;
    struct tlog_witnessed witnessed;
    TRY(checkpoint_verify(&c, note, p->log.name, &p->log));
    TRY(tlog_policy_check_quorum(&witnessed, &p->witnesses, note));
    append_fact(out, o->file.json, &c, NULL);
    return err_ok();
}

static struct err check_proof(struct buf *out, const struct options *o, struct bytes text,
                              struct bytes entry, const struct policy *p)
{
    struct tlog_proof proof;
    struct checkpoint c;
    struct tlog_witnessed witnessed;
    TRY(tlog_proof_parse(&proof, text));
    TRY(tlog_proof_verify(&c, &proof, entry, p->log.name, &p->log));
    TRY(tlog_policy_check_quorum(&witnessed, &p->witnesses, proof.checkpoint));
    append_fact(out, o->file.json, &c, &proof.index);
    return err_ok();
}

struct err checkpoint_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] = "Checks a log's head (C2SP tlog-checkpoint in a signed note) against "
                              "the log's key, and its "
                              "cosignatures against the policy's quorum.\v"
                              "A head alone says nothing of its entries; under `quorum none` not "
                              "even that others see the "
                              "same one.\n\n"
                              "Exit codes: 0 true, 1 false, 2 could not check.";
    static const struct argp argp = {checkpoint_options, parse_option, "FILE", doc,
                                     children,           NULL,         NULL};
    struct options o = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    __attribute__((cleanup(policy_cleanup))) struct policy p = {0};
    BUF_AUTO note = BUF_INIT, text = BUF_INIT;
    TRY(policy_load(&p, o.policy));
    TRY(file_read(&note, o.file.path, NOTE_MAX));
    struct err e = check_checkpoint(&text, &o, buf_bytes(&note), &p);
    return command_end(exit_code, e, &text, o.file.json);
}

struct err proof_command(int *exit_code, int argc, char **argv)
{
    static const char doc[] =
        "Checks a C2SP tlog-proof: the log's signature, the policy's quorum of witnesses, and "
        "that the entry is under that head.\v"
        "What the entry says is not judged.\n\n"
        "Exit codes: 0 true, 1 false, 2 could not check.";
    static const struct argp argp = {proof_options, parse_option, "FILE.tlog-proof", doc, children,
                                     NULL,          NULL};
    struct options o = {.wants_leaf = true};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    __attribute__((cleanup(policy_cleanup))) struct policy p = {0};
    BUF_AUTO proof = BUF_INIT, entry = BUF_INIT, text = BUF_INIT;
    TRY(policy_load(&p, o.policy));
    TRY(file_read(&proof, o.file.path, TLOG_PROOF_MAX));
    TRY(file_read(&entry, o.leaf, ENTRY_MAX));
    struct err e = check_proof(&text, &o, buf_bytes(&proof), buf_bytes(&entry), &p);
    return command_end(exit_code, e, &text, o.file.json);
}
