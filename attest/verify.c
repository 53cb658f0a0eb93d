/*
 * The rules of docs/FORMATS.md section 9 in their order, one function each. The first that is false
 * ends the evaluation; what comes after it stays `not checked`.
 */
#include "attest/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "attest/report.h"
#include "attest/verify_bundle.h"
#include "common/text.h"

/* What a rule needs, and where it writes its fact. */
struct check {
    struct bundle b;
    const struct verify_input *in;
    char fact[FACT_MAX];
};

static void check_cleanup(struct check *c)
{
    bundle_cleanup(&c->b);
}

static void PRINTF_LIKE(2, 3) fact(struct check *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->fact, sizeof c->fact, format, args);
    va_end(args);
}

static struct err rule_1_parse(struct check *c)
{
    if (c->in->policy == NULL)
        return err_set(ERR_USAGE, "no policy: nothing to compare with");
    c->b.policy = c->in->policy;
    TRY(bundle_parse(&c->b, c->in->evidence_json));
    fact(c, "%zu statements, %zu blobs, %zu heads, a live quote", c->b.evidence->n_statements,
         c->b.evidence->n_blobs, c->b.evidence->n_heads);
    return err_ok();
}

/* A live activation that was for other keys than these proves nothing of them. */
static struct err check_activated(const struct activation_target *activated,
                                  const struct rule_host *host)
{
    if (host->certified)
        return err_set(ERR_UNTRUE, "the live activation was for an endorsement certificate; this "
                                   "key has a certificate of its own");
    if (!tpm_name_equal(&activated->ak_name, &host->ak_name))
        return err_set(ERR_UNTRUE, "the live activation was for another attestation key");
    if (memcmp(activated->ek_certificate, host->ek.sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "the live activation was for another endorsement certificate");
    return err_ok();
}

static void say_ak(struct check *c)
{
    const struct rule_host *h = &c->b.host;
    char ak[32], ek[32], root[32], by[64];
    report_short(ak, h->ak_name.bytes + 2, 8);
    report_short(root, h->root, 8);
    const char *kind = h->test ? "test" : "production";
    snprintf(by, sizeof by, "%u activators", h->n_vouched);
    if (h->certified)
        fact(c, "key %s by its own certificate %s, root %s (%s)", ak,
             report_short(ek, h->own.sha256, 8), root, kind);
    else
        fact(c, "key %s in the TPM of certificate %s, root %s (%s), by %s", ak,
             report_short(ek, h->ek.sha256, 8), root, kind,
             c->b.activated ? "live activation" : by);
}

static struct err rule_2_ak(struct check *c)
{
    struct bundle *b = &c->b;
    TRY(bundle_hosts(b));
    b->activated = c->in->activated != NULL;
    if (b->activated)
        TRY(check_activated(c->in->activated, &b->host));
    else
        TRY(rule_host_bound(&b->host, b->policy));
    say_ak(c);
    return err_ok();
}

static struct err rule_3_signature(struct check *c)
{
    const struct tpm_public *ak = &c->b.host.ak;
    const struct statement_boot *boot = bundle_boot(&c->b);
    TRY(rule_quote_signature(ak, bundle_live(&c->b)));
    TRY(rule_quote_signature(ak, bundle_logged(&c->b)));
    TRY(rule_signature(ak, bytes_of(boot->attest, boot->attest_len),
                       bytes_of(boot->signature, boot->signature_len), "boot counter"));
    fact(c, "live quote, logged quote and boot counter are signed by the key");
    return err_ok();
}

static struct err rule_4_quote(struct check *c)
{
    struct bundle *b = &c->b;
    TRY(err_context(rule_quote(&b->live_attest, &b->host.ak, bundle_live(b)), "live quote"));
    TRY(err_context(rule_quote(&b->logged_attest, &b->host.ak, bundle_logged(b)), "logged quote"));
    fact(c, "both quotes were made by a TPM and cover exactly PCRs 0 to 15 of the SHA-256 bank");
    return err_ok();
}

/* The nonce is a leaf of the tree in the live quote's context, which its hash has just fixed. */
static struct err check_nonce(const struct check *c)
{
    const struct quote_context *live = &bundle_live(&c->b)->context;
    struct merkle_hash leaf = merkle_leaf(bytes_of(c->in->nonce, NONCE_LEN));
    return err_context(merkle_verify_inclusion(&leaf, c->b.evidence->nonce_index, live->n_nonces,
                                               &c->b.evidence->nonce_proof, &live->nonce_root),
                       "the nonce is not in the live quote");
}

/* The live quote follows the logged one: it names it, and counts one further. */
static struct err check_previous(const struct bundle *b)
{
    const struct quote_context *live = &bundle_live(b)->context;
    const struct evidence_statement *logged = &b->evidence->statements[b->logged];
    struct merkle_hash leaf = merkle_leaf(buf_bytes(&logged->text));
    if (!live->has_previous || live->previous_index != logged->index ||
        !merkle_equal(&live->previous_leaf, &leaf))
        return err_set(ERR_UNTRUE, "live quote: its `previous` is not the logged quote, entry %llu",
                       (unsigned long long)logged->index);
    if (live->period == 0 || live->period - 1 != bundle_logged(b)->context.period)
        return err_set(
            ERR_UNTRUE, "live quote: period %llu does not follow the logged quote's %llu",
            (unsigned long long)live->period, (unsigned long long)bundle_logged(b)->context.period);
    return err_ok();
}

static struct err rule_5_context(struct check *c)
{
    const struct bundle *b = &c->b;
    const uint8_t *boot_id = bundle_boot(b)->boot_id;
    const char *origin = b->policy->log.name;
    TRY(err_context(rule_context(bundle_live(b), &b->live_attest, QUOTE_DEMAND, boot_id, origin),
                    "live quote"));
    TRY(err_context(
        rule_context(bundle_logged(b), &b->logged_attest, QUOTE_PERIODIC, boot_id, origin),
        "logged quote"));
    if (memcmp(bundle_identity(b)->boot_id, boot_id, BOOT_ID_LEN) != 0)
        return err_set(ERR_UNTRUE, "the identity statement is of another boot");
    TRY(check_nonce(c));
    TRY(check_previous(b));
    fact(c, "the live quote answers this nonce (one of %llu) and follows entry %llu",
         (unsigned long long)bundle_live(b)->context.n_nonces,
         (unsigned long long)b->evidence->statements[b->logged].index);
    return err_ok();
}

static struct err rule_6_counters(struct check *c)
{
    struct bundle *b = &c->b;
    TRY(rule_counter_read(&b->counter, bundle_boot(b)));
    TRY(err_context(rule_counts(&b->logged_attest, &b->counter, b->counter.clock_ms),
                    "logged quote"));
    TRY(err_context(rule_counts(&b->live_attest, &b->counter, b->logged_attest.clock_ms),
                    "live quote"));
    if (b->logged_attest.safe != 1 || b->live_attest.safe != 1)
        return err_set(ERR_UNTRUE,
                       "the TPM says that its clock is not safe: it lost power without "
                       "a shutdown and may have gone back; within 70 minutes it is safe again");
    char up[32];
    fact(c, "boot %llu of this TPM's counter, reset %u, restart %u, %s after the boot statement",
         (unsigned long long)b->counter.value, (unsigned)b->counter.reset_count,
         (unsigned)b->counter.restart_count,
         report_duration(up, b->live_attest.clock_ms - b->counter.clock_ms));
    return err_ok();
}

static struct err rule_7_lanes(struct check *c)
{
    struct bundle *b = &c->b;
    struct bytes log;
    TRY(evidence_blob(b->evidence, &bundle_identity(b)->runtime_log, &log));
    TRY(rule_lanes_read(&b->lanes, bundle_identity(b), log, b->policy));
    TRY(err_context(rule_lanes_quoted(&b->lanes, bundle_live(b)), "live quote"));
    TRY(err_context(rule_lanes_quoted(&b->lanes, bundle_logged(b)), "logged quote"));
    char model[84], code[84];
    fact(c, "model %s, code %s, a quote every %llu s",
         printable(model, bytes_of_str(b->lanes.model_id)),
         printable(code, bytes_of_str(b->lanes.code_name)),
         (unsigned long long)b->lanes.quote_interval_s);
    return err_ok();
}

/* Nothing extends PCRs 0 to 12 while a server runs: both quotes must show the same. */
static struct err check_same_values(const struct bundle *b)
{
    for (unsigned i = 0; i < N_PCRS; i++)
        if (memcmp(bundle_live(b)->pcrs.values[i], bundle_logged(b)->pcrs.values[i], SHA256_LEN) !=
            0)
            return err_set(ERR_UNTRUE, "PCR %u differs between the live and the logged quote", i);
    return err_ok();
}

static struct err check_gpus(struct bundle *b)
{
    TRY(rule_gpus_read(&b->gpus, bundle_boot(b), b->policy, bundle_blob_source, b));
    TRY(rule_gpus_quoted(&b->gpus, b->lanes.gpu, true, bundle_live(b), &b->live_attest, b->policy,
                         bundle_blob_source, b));
    b->gpus_proven = rule_gpus_protected(&b->gpus, b->policy);
    return err_ok();
}

static struct err rule_8_boot(struct check *c)
{
    struct bundle *b = &c->b;
    struct rule_boot_log log;
    char explained[64];
    TRY(check_same_values(b));
    TRY(rule_boot_log_read(&log, bundle_boot(b), b->policy, bundle_blob_source, b));
    TRY(rule_boot_values(&b->pcrs, &bundle_live(b)->pcrs, &log, b->policy, b->host.test));
    TRY(check_gpus(b));
    report_pcrs(explained, b->pcrs.explained);
    fact(c, "PCRs 0 to 12 have values that the policy allows%s%s%s%s",
         b->pcrs.explained != 0 ? ", or that allowed events explain: " : "",
         b->pcrs.explained != 0 ? explained : "",
         b->pcrs.ignored != 0 ? "; but for those that it ignores" : "",
         b->gpus_proven ? "; each GPU's own report answers the live quote" : "");
    return err_ok();
}

static struct err rule_10_log(struct check *c)
{
    struct bundle *b = &c->b;
    TRY(bundle_check_log(b));
    char origin[84], age[32];
    BUF_AUTO witnesses = BUF_INIT;
    if (b->policy->witnesses.quorum != TLOG_POLICY_NONE)
        buf_append_str(&witnesses, ", cosigned by ");
    if (b->policy->witnesses.quorum != TLOG_POLICY_NONE)
        tlog_policy_describe(&witnesses, &b->policy->witnesses, &b->witnessed);
    fact(c, "%zu statements in %s at size %llu%.200s; the logged quote is %s old",
         b->evidence->n_statements, printable(origin, bytes_of_str(b->checkpoint.origin)),
         (unsigned long long)b->checkpoint.size, buf_str(&witnesses),
         report_duration(age, b->live_attest.clock_ms - b->logged_attest.clock_ms));
    return err_ok();
}

static struct err rule_11_tls(struct check *c)
{
    if (memcmp(c->in->peer_spki_sha256, c->b.lanes.spki_sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "the peer's TLS key is not the one that was measured: somebody "
                                   "else answers, or the host has a new key");
    char spki[32];
    fact(c, "the peer's key %s is the attested one", report_short(spki, c->b.lanes.spki_sha256, 8));
    return err_ok();
}

/* Rule 9 has no check: releases are not built yet, and policy_parse takes only `release none`. Rule
 * 12 is the sum, in bundle_report. */
static const struct {
    const char *code;
    struct err (*check)(struct check *c);
} rules[N_RULES] = {
    {"PARSE", rule_1_parse}, {"AK", rule_2_ak},           {"SIGNATURE", rule_3_signature},
    {"QUOTE", rule_4_quote}, {"CONTEXT", rule_5_context}, {"COUNTERS", rule_6_counters},
    {"LANES", rule_7_lanes}, {"BOOT", rule_8_boot},       {"RELEASE", NULL},
    {"LOG", rule_10_log},    {"TLS", rule_11_tls},        {"VERDICT", NULL},
};

static void start_verdict(struct verdict *v)
{
    *v = (struct verdict){.outcome = OUTCOME_FALSE};
    for (size_t i = 0; i < N_RULES; i++)
        v->rules[i].code = rules[i].code;
    report_clean(v->rules[8].text, sizeof v->rules[8].text,
                 "releases are not built yet; code is pinned by the policy's code lines");
}

/* Whether the evaluation goes on. */
static struct err run_rule(struct rule_result *result, struct check *c,
                           struct err (*check)(struct check *c), bool *go_on)
{
    struct err e = check(c);
    *go_on = !is_err(e);
    if (is_err(e) && !rule_refuses(e)) {
        report_clean(result->text, sizeof result->text, err_message());
        return e;
    }
    result->status = is_err(e) ? RULE_FALSE : RULE_TRUE;
    report_clean(result->text, sizeof result->text, is_err(e) ? err_message() : c->fact);
    return err_ok();
}

struct err verify_evidence(struct verdict *out, const struct verify_input *in)
{
    __attribute__((cleanup(check_cleanup))) struct check c = {.b = BUNDLE_INIT, .in = in};
    start_verdict(out);
    struct err e = err_ok();
    bool go_on = true;
    for (size_t i = 0; i < N_RULES && go_on && !is_err(e); i++)
        if (rules[i].check != NULL)
            e = run_rule(&out->rules[i], &c, rules[i].check, &go_on);
    bundle_report(out, &c.b);
    return e;
}

struct err verify_activation_target(struct activation_target *out, const struct evidence *e,
                                    const struct policy *p)
{
    __attribute__((cleanup(bundle_cleanup))) struct bundle b = BUNDLE_INIT;
    b.policy = p;
    TRY(err_context(bundle_take(&b, e), "rule 1, PARSE"));
    TRY(err_context(bundle_hosts(&b), "rule 2, AK"));
    if (!b.host.certified && EVP_PKEY_up_ref(b.host.ek.key) != 1)
        return err_set(ERR_MEMORY, "out of memory for a key");
    out->ak_name = b.host.ak_name;
    out->ek = b.host.ek.key;
    memcpy(out->ek_certificate, b.host.ek.sha256, SHA256_LEN);
    memcpy(out->spki_sha256, bundle_identity(&b)->spki_sha256, SHA256_LEN);
    return err_ok();
}
