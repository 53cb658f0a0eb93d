#include "client/host_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/credential.h"
#include "client/api.h"
#include "common/text.h"

enum { ACTIVATION_ANSWER_MAX = 64 * 1024, RULE_AK = 2 };

void host_evidence_cleanup(struct host_evidence *e)
{
    buf_cleanup(&e->json);
}

struct err host_evidence_get(struct host_evidence *out, struct connection *c)
{
    random_bytes(out->nonce, NONCE_LEN);
    BUF_AUTO path = BUF_INIT;
    buf_append_str(&path, "/attestation?nonce=");
    buf_append_hex(&path, bytes_of(out->nonce, NONCE_LEN));
    ANSWER_AUTO answer = ANSWER_INIT;
    const struct request request = {.path = buf_str(&path), .max = EVIDENCE_MAX};
    TRY(connection_request(c, &answer, &request));
    struct err e = api_status(&answer, "evidence");
    if (e.code == ERR_UNTRUE) /* a 400 says nothing of the host's keys here */
        e.code = ERR_IO;
    TRY(e);
    buf_append_bytes(&out->json, buf_bytes(&answer.body));
    return err_ok();
}

static void format_challenge(struct buf *out, const struct credential *credential)
{
    buf_append_str(out, "{\"credential\":\"");
    buf_append_base64(out, buf_bytes(&credential->id_object));
    buf_append_str(out, "\",\"secret\":\"");
    buf_append_base64(out, buf_bytes(&credential->secret));
    buf_append_str(out, "\"}");
}

static struct err compare_answer(struct bytes body, const uint8_t wanted[SHA256_LEN])
{
    JSON_AUTO *root = NULL;
    TRY(api_parse(&root, body));
    const json_t *hex = json_object_get(root, "answer");
    uint8_t answer[SHA256_LEN];
    if (!json_is_string(hex) ||
        is_err(hex_decode(answer, SHA256_LEN,
                          bytes_of(json_string_value(hex), json_string_length(hex)))))
        return err_set(ERR_UNTRUE, "the answer to the activation is not a hash");
    if (!bytes_equal_secret(bytes_of(answer, SHA256_LEN), bytes_of(wanted, SHA256_LEN)))
        return err_set(ERR_UNTRUE,
                       "the host gave a wrong answer to the activation: the attestation "
                       "key is not in the TPM of that certificate, or somebody sits between and "
                       "this TLS key is not the host's");
    return err_ok();
}

static struct err challenge(struct connection *c, const struct credential *credential,
                            const uint8_t wanted[SHA256_LEN])
{
    BUF_AUTO body = BUF_INIT;
    format_challenge(&body, credential);
    ANSWER_AUTO answer = ANSWER_INIT;
    const struct request request = {.path = "/attestation/activate",
                                    .content_type = "application/json",
                                    .body = buf_bytes(&body),
                                    .max = ACTIVATION_ANSWER_MAX};
    TRY(connection_request(c, &answer, &request));
    TRY(api_status(&answer, "activation"));
    return compare_answer(buf_bytes(&answer.body), wanted);
}

struct err host_activate(struct connection *c, const struct activation_target *target,
                         const char *origin)
{
    struct credential credential = CREDENTIAL_INIT;
    TRY(credential_make(&credential, target->ek, &target->ak_name));
    uint8_t wanted[SHA256_LEN];
    activation_answer(wanted, bytes_of(credential.value, CREDENTIAL_VALUE_LEN), &target->ak_name,
                      origin, connection_spki(c));
    struct err e = challenge(c, &credential, wanted);
    credential_cleanup(&credential);
    return e;
}

/* In place of the sentence on a later rule, if one was false, else before all others. */
static void say_refused(struct verdict *v, const char *code)
{
    static const char anything[] = "Anything: rule ";
    if (v->n_not_proven == 0 || strncmp(v->not_proven[0], anything, strlen(anything)) != 0) {
        if (v->n_not_proven < VERDICT_NOT_PROVEN_MAX)
            v->n_not_proven++;
        memmove(v->not_proven[1], v->not_proven[0],
                (v->n_not_proven - 1) * sizeof v->not_proven[0]);
    }
    snprintf(v->not_proven[0], sizeof v->not_proven[0], "%s%d (%s) is false.", anything, RULE_AK,
             code);
}

/* A TPM that failed the challenge is not the evidence's, whoever vouched for it. */
static void refuse(struct verdict *v, const char *reason)
{
    if (v->rules[0].status != RULE_TRUE)
        return; /* there was a reason before */
    v->outcome = OUTCOME_FALSE;
    v->n_proven = 0;
    struct rule_result *ak = &v->rules[RULE_AK - 1];
    ak->status = RULE_FALSE;
    snprintf(ak->text, sizeof ak->text, "%s", reason);
    for (size_t i = RULE_AK; i < N_RULES; i++) {
        v->rules[i].status = RULE_NOT_CHECKED;
        v->rules[i].text[0] = '\0';
    }
    say_refused(v, ak->code);
}

/* The target of a live activation; ok with `*have` false when the evidence does not even name one,
 * as the rules will tell. */
static struct err find_target(struct activation_target *target, bool *have,
                              const struct host_evidence *evidence, const struct policy *p)
{
    struct evidence parsed = EVIDENCE_INIT;
    struct err e = evidence_parse(&parsed, buf_bytes(&evidence->json));
    if (!is_err(e)) {
        e = verify_activation_target(target, &parsed, p);
        evidence_cleanup(&parsed);
    }
    *have = !is_err(e);
    return e.code == ERR_MEMORY ? e : err_ok();
}

static struct err judge(struct verdict *out, struct connection *c, const struct policy *p,
                        const struct host_evidence *evidence,
                        const struct activation_target *target)
{
    char reason[512] = "";
    bool activated = false;
    if (target != NULL && target->ek != NULL) {
        struct err e = host_activate(c, target, p->log.name);
        /* Where no challenge can be run now, activators may still vouch for the host. */
        bool vouched = p->n_activators > 0 && (e.code == ERR_BUSY || e.code == ERR_UNSUPPORTED);
        if (is_err(e) && e.code != ERR_UNTRUE && !vouched)
            return e;
        if (e.code == ERR_UNTRUE)
            snprintf(reason, sizeof reason, "%s", err_message());
        activated = !is_err(e);
    }
    struct verify_input in = {.evidence_json = buf_bytes(&evidence->json),
                              .policy = p,
                              .activated = activated ? target : NULL};
    memcpy(in.nonce, evidence->nonce, NONCE_LEN);
    memcpy(in.peer_spki_sha256, connection_spki(c), SHA256_LEN);
    TRY(verify_evidence(out, &in));
    if (reason[0] != '\0')
        refuse(out, reason);
    return err_ok();
}

struct err host_check(struct verdict *out, struct connection *c, const struct policy *p)
{
    HOST_EVIDENCE_AUTO evidence = HOST_EVIDENCE_INIT;
    TRY(host_evidence_get(&evidence, c));
    struct activation_target target = {0};
    bool have = false;
    TRY(find_target(&target, &have, &evidence, p));
    struct err e = judge(out, c, p, &evidence, have ? &target : NULL);
    EVP_PKEY_free(target.ek);
    return e;
}

int host_check_exit(const struct verdict *v, bool allow_not_a_proof)
{
    if (v->outcome == OUTCOME_NOT_A_PROOF)
        return allow_not_a_proof ? 0 : 1;
    return v->outcome == OUTCOME_TRUE ? 0 : 1;
}
