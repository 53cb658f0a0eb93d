/*
 * The verdict in words: the outcome, what is proven and, always, what is not; for terminals and as
 * JSON.
 */
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "attest/report.h"
#include "attest/verify_bundle.h"
#include "common/text.h"

enum { RULE_RELEASE = 8, RULE_VERDICT = 11, SENTENCE_MAX = 256 };

static struct report_list proven_list(struct verdict *v)
{
    return (struct report_list){v->proven, &v->n_proven, VERDICT_PROVEN_MAX};
}

static struct report_list not_proven_list(struct verdict *v)
{
    return (struct report_list){v->not_proven, &v->n_not_proven, VERDICT_NOT_PROVEN_MAX};
}

static void say_keys(struct verdict *v, const struct bundle *b)
{
    const struct report_list proven = proven_list(v);
    char ak[32], ek[32], subject[84], by[48];
    snprintf(by, sizeof by, "by %u activators of the policy", b->host.n_vouched);
    if (b->host.certified) {
        report_add(&proven,
                   "The key %s answered this nonce; its certificate %s (%.60s) says that it is a "
                   "TPM's.",
                   report_short(ak, b->host.ak_name.bytes + 2, 8),
                   report_short(ek, b->host.own.sha256, 8),
                   printable(subject, bytes_of_str(b->host.own.subject)));
        return;
    }
    report_add(
        &proven, "The TPM of certificate %s (%.60s) answered this nonce with its key %s, bound %s.",
        report_short(ek, b->host.ek.sha256, 8),
        printable(subject, bytes_of_str(b->host.ek.subject)),
        report_short(ak, b->host.ak_name.bytes + 2, 8), b->activated ? "by a live activation" : by);
}

static void say_measured(struct verdict *v, const struct bundle *b)
{
    const struct report_list proven = proven_list(v);
    char name[84], numerics[84], hash[2 * SHA256_LEN + 3];
    report_add(&proven, "The measured server loaded the model %s, manifest %s (PCR 13).",
               printable(name, bytes_of_str(b->lanes.model_id)),
               report_short(hash, b->lanes.model_manifest, SHA256_LEN));
    report_add(&proven, "It is the code %s, manifest %s, numerics %.40s (PCR 14).",
               printable(name, bytes_of_str(b->lanes.code_name)),
               report_short(hash, b->lanes.code_manifest, SHA256_LEN),
               printable(numerics, bytes_of_str(b->lanes.numerics)));
    report_add(&proven,
               "This connection's TLS key, SPKI SHA-256 %s, is the last that it measured (PCR 15).",
               report_short(hash, b->lanes.spki_sha256, SHA256_LEN));
}

static void say_gpus(struct verdict *v, const struct bundle *b)
{
    const struct report_list proven = proven_list(v);
    if (b->gpus_proven)
        report_add(
            &proven,
            "GPUs (%zu, driver %.40s): each one's own key, certified under a root of the "
            "policy, signed the versions of driver and VBIOS for this quote; their memory is "
            "protected.",
            b->gpus.n, b->gpus.driver);
}

static void say_history(struct verdict *v, const struct bundle *b)
{
    const struct report_list proven = proven_list(v);
    char up[32], age[32], origin[84];
    report_add(
        &proven,
        "The TPM has run without a reset for at least %s (reset %u, restart %u, boot counter "
        "%llu).",
        report_duration(up, b->live_attest.clock_ms - b->counter.clock_ms),
        (unsigned)b->counter.reset_count, (unsigned)b->counter.restart_count,
        (unsigned long long)b->counter.value);
    report_add(&proven,
               "The log %s, at size %llu, holds its host, boot and identity and a quote that is %s "
               "old (entry %llu).",
               printable(origin, bytes_of_str(b->checkpoint.origin)),
               (unsigned long long)b->checkpoint.size,
               report_duration(age, b->live_attest.clock_ms - b->logged_attest.clock_ms),
               (unsigned long long)b->evidence->statements[b->logged].index);
    report_add_witnessed(&proven, &b->policy->witnesses, &b->witnessed);
}

static void say_ignored(struct verdict *v, const struct bundle *b)
{
    const struct report_list not_proven = not_proven_list(v);
    char reason[84];
    for (unsigned i = 0; i < N_BOOT_PCRS; i++)
        if (b->pcrs.ignored >> i & 1)
            report_add(&not_proven, "PCR %u: the policy ignores it (%s).", i,
                       printable(reason, bytes_of_str(b->policy->boot[i].reason)));
}

/* A certified key may be outside the endorsement hierarchy; then a TPM adds a constant of the key
 * to the counts that it attests, and none of them means anything alone. */
static void say_suspended(struct verdict *v, const struct bundle *b)
{
    const struct report_list not_proven = not_proven_list(v);
    if (b->counter.name.len == 0)
        return;
    if (b->host.certified)
        report_add(
            &not_proven,
            "Whether the host was suspended since the TPM's last reset: of the counts that a "
            "certified key attests, only changes mean something.");
    else if (b->counter.restart_count > 0)
        report_add(&not_proven,
                   "What ran while the host was suspended: its TPM has woken %u times since the "
                   "last reset, and PCRs outlive that.",
                   (unsigned)b->counter.restart_count);
}

static void say_gaps(struct verdict *v, const struct bundle *b)
{
    const struct report_list not_proven = not_proven_list(v);
    char pcrs[64];
    if (b->host.test)
        report_add(&not_proven,
                   "Anything about hardware: the certificate leads to a test root, as software "
                   "TPMs have.");
    report_pcrs(pcrs, b->pcrs.zero);
    if (b->pcrs.zero != 0)
        report_add(&not_proven,
                   "What was booted, as far as PCRs %s show it: they are zero, nothing was "
                   "measured there; other software could have extended PCRs 13 to 15.",
                   pcrs);
    report_pcrs(pcrs, b->pcrs.explained);
    if (b->pcrs.explained != 0)
        report_add_events(&not_proven, pcrs);
    report_add_gpus(&not_proven, b->lanes.gpu, b->gpus.n, b->gpus_proven);
    say_suspended(v, b);
    if (b->counter.name.len > 0 && !b->counter.safe)
        report_add(&not_proven,
                   "When this boot began: the TPM's clock was not safe at the boot statement.");
    say_ignored(v, b);
}

/* Every rule but RELEASE, which nothing checks yet, and the verdict itself. */
static bool all_true(const struct verdict *v)
{
    for (size_t i = 0; i < RULE_VERDICT; i++)
        if (i != RULE_RELEASE && v->rules[i].status != RULE_TRUE)
            return false;
    return true;
}

static void conclude_false(struct verdict *v)
{
    const struct report_list not_proven = not_proven_list(v);
    for (size_t i = 0; i < RULE_VERDICT; i++)
        if (v->rules[i].status == RULE_FALSE)
            report_add(&not_proven, "Anything: rule %zu (%s) is false.", i + 1, v->rules[i].code);
    if (v->n_not_proven == 0)
        report_add(&not_proven, "Anything: the evaluation could not be completed.");
}

static void conclude(struct verdict *v, const struct bundle *b)
{
    struct rule_result *last = &v->rules[RULE_VERDICT];
    char ignored[64];
    report_pcrs(ignored, b->pcrs.ignored);
    last->status = b->pcrs.ignored != 0 ? RULE_FALSE : RULE_TRUE;
    v->outcome = b->pcrs.ignored != 0 ? OUTCOME_NOT_A_PROOF : OUTCOME_TRUE;
    if (b->pcrs.ignored != 0)
        snprintf(last->text, sizeof last->text, "not a proof: the policy ignores PCRs %s", ignored);
    else
        snprintf(last->text, sizeof last->text, "every rule that is checked holds%s",
                 b->host.test ? "; TEST: it rests on a test root" : "");
    say_keys(v, b);
    say_measured(v, b);
    say_gpus(v, b);
    say_history(v, b);
}

void bundle_report(struct verdict *v, const struct bundle *b)
{
    v->test = b->host.test;
    if (all_true(v))
        conclude(v, b);
    else
        conclude_false(v);
    const struct report_list not_proven = not_proven_list(v);
    report_add_limits(&not_proven);
    if (b->policy != NULL) /* rule 1 refuses to go on without one */
        report_add_split_view(&not_proven, &b->policy->witnesses);
    say_gaps(v, b);
}

static const char *status_name(enum rule_status status)
{
    static const char *const names[] = {"not checked", "true", "false"};
    return names[status];
}

static const char *outcome_name(const struct verdict *v)
{
    if (v->outcome == OUTCOME_NOT_A_PROOF)
        return "not a proof";
    return v->outcome == OUTCOME_TRUE ? "true" : "false";
}

void verdict_print(struct buf *out, const struct verdict *v)
{
    const size_t column = 28;
    for (size_t i = 0; i < N_RULES; i++) {
        const struct rule_result *r = &v->rules[i];
        bool empty = r->text[0] == '\0';
        buf_printf(out, empty ? "%2zu  %-9s  %s\n" : "%2zu  %-9s  %-11s  ", i + 1, r->code,
                   status_name(r->status));
        if (!empty)
            report_wrap(out, column, column, r->text);
    }
    if (v->n_proven > 0)
        buf_append_str(out, v->outcome == OUTCOME_TRUE
                                ? "\nProven\n"
                                : "\nWould be proven, if the policy ignored no PCR\n");
    for (size_t i = 0; i < v->n_proven; i++) {
        buf_append_str(out, "  + ");
        report_wrap(out, 4, 4, v->proven[i]);
    }
    buf_append_str(out, "\nNot proven\n");
    for (size_t i = 0; i < v->n_not_proven; i++) {
        buf_append_str(out, "  - ");
        report_wrap(out, 4, 4, v->not_proven[i]);
    }
    buf_printf(out, "\nVerdict: %s%s\n", outcome_name(v),
               v->outcome != OUTCOME_FALSE && v->test ? " (TEST)" : "");
}

static json_t *json_rules(const struct verdict *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < N_RULES; i++)
        json_array_append_new(
            list, json_pack("{s:i,s:s,s:s,s:s}", "rule", (int)i + 1, "code", v->rules[i].code,
                            "status", status_name(v->rules[i].status), "text", v->rules[i].text));
    return list;
}

static json_t *json_sentences(const char (*list)[SENTENCE_MAX], size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_string(list[i]));
    return array;
}

static int append_text(const char *text, size_t len, void *out)
{
    buf_append(out, text, len);
    return 0;
}

void verdict_json(struct buf *out, const struct verdict *v)
{
    const char *outcome = v->outcome == OUTCOME_NOT_A_PROOF ? "not-a-proof" : outcome_name(v);
    json_t *root = json_pack("{s:o,s:s,s:b,s:o,s:o}", "rules", json_rules(v), "outcome", outcome,
                             "test", (int)v->test, "proven", json_sentences(v->proven, v->n_proven),
                             "not_proven", json_sentences(v->not_proven, v->n_not_proven));
    if (root == NULL || json_dump_callback(root, append_text, out, JSON_COMPACT) != 0)
        abort(); /* every text is ASCII: only out of memory is left as a reason */
    json_decref(root);
}
