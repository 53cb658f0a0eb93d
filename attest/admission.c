#include "attest/admission.h"

#include <stdlib.h>
#include <string.h>

#include "attest/rules.h"

struct admission {
    const struct policy *policy;
    struct rule_host host;
    bool has_boot, has_identity;
    struct rule_counter boot;
    struct rule_boot_log boot_log;
    struct rule_gpus gpus;
    uint8_t boot_id[BOOT_ID_LEN];
    struct rule_lanes lanes;
    uint64_t clock_ms; /* of the last reading or quote of this boot */
};

/* One statement on its way. */
struct candidate {
    struct admission *a;
    const struct statement *s;
    admission_blobs *blobs;
    void *context;
};

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    rule_host_cleanup(&a->host);
    rule_gpus_cleanup(&a->gpus);
    free(a);
}

/* A statement is large: it lives on the heap. */
static struct err parse(struct statement **out, struct bytes text)
{
    struct statement *s = malloc(sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "out of memory for a statement");
    struct err e = statement_parse(s, text);
    if (is_err(e)) {
        free(s);
        if (e.code != ERR_MEMORY)
            e.code = ERR_MALFORMED;
        return e;
    }
    *out = s;
    return err_ok();
}

struct err admission_new(struct admission **out, const struct policy *p, struct bytes text,
                         admission_blobs *blobs, void *context)
{
    struct statement *s = NULL;
    TRY(parse(&s, text));
    struct admission *a = calloc(1, sizeof *a);
    struct err e = a == NULL ? err_set(ERR_MEMORY, "out of memory for a host") : err_ok();
    if (a != NULL)
        a->policy = p;
    if (!is_err(e) && s->kind != STATEMENT_HOST)
        e = err_set(ERR_UNTRUE, "a host begins with its host statement, not with a %s",
                    statement_kind_name(s->kind));
    if (!is_err(e))
        e = err_context(rule_host_add(&a->host, s, p, blobs, context), "rule 2, AK");
    free(s);
    if (is_err(e)) {
        admission_free(a);
        return e;
    }
    *out = a;
    return err_ok();
}

struct err admission_target(struct activation_target *target, const struct admission *a)
{
    if (!a->host.certified && EVP_PKEY_up_ref(a->host.ek.key) != 1)
        return err_set(ERR_MEMORY, "out of memory for a key");
    target->ak_name = a->host.ak_name;
    target->ek = a->host.certified ? NULL : a->host.ek.key;
    if (!a->host.certified)
        memcpy(target->ek_certificate, a->host.ek.sha256, SHA256_LEN);
    return err_ok();
}

struct err admission_check_possession(const struct admission *a, struct bytes attest,
                                      struct bytes signature, const uint8_t extra[SHA256_LEN])
{
    static const uint8_t pcrs_0_to_15[3] = {0xff, 0xff, 0x00};
    struct attested quote;
    TRY(err_context(rule_signature(&a->host.ak, attest, signature, "possession"),
                    "rule 3, SIGNATURE"));
    TRY(err_context(attested_parse(&quote, attest), "rule 4, QUOTE"));
    TRY(err_context(attested_check_selection(&quote, TPM_ALG_SHA256_ID, pcrs_0_to_15),
                    "rule 4, QUOTE"));
    return err_context(attested_check_extra(&quote, bytes_of(extra, SHA256_LEN)),
                       "rule 5, CONTEXT");
}

const uint8_t *admission_tpm(const struct admission *a)
{
    return a->host.tpm;
}

static struct err check_host(const struct candidate *c)
{
    return err_context(rule_host_add(&c->a->host, c->s, c->a->policy, c->blobs, c->context),
                       "rule 2, AK");
}

/* What a statement names must be there, also where the policy does not look at it. */
static struct err check_there(const struct candidate *c, const struct blob_ref *ref)
{
    BUF_AUTO blob = BUF_INIT;
    return c->blobs(c->context, ref, &blob);
}

static struct err check_boot_blobs(const struct candidate *c)
{
    const struct statement_boot *b = &c->s->boot;
    if (b->has_event_log)
        TRY(check_there(c, &b->event_log));
    for (size_t i = 0; i < b->n_gpus; i++)
        if (b->gpus[i].memory == GPU_MEMORY_PROTECTED)
            TRY(check_there(c, &b->gpus[i].chain));
    return err_ok();
}

/* A boot with an id of its own needs an identity of its own; a resumed one goes on with its. */
static struct err check_boot(const struct candidate *c)
{
    const struct statement_boot *b = &c->s->boot;
    struct rule_counter counter;
    struct rule_boot_log log;
    __attribute__((cleanup(rule_gpus_cleanup))) struct rule_gpus gpus = RULE_GPUS_INIT;
    TRY(err_context(rule_signature(&c->a->host.ak, bytes_of(b->attest, b->attest_len),
                                   bytes_of(b->signature, b->signature_len), "boot"),
                    "rule 3, SIGNATURE"));
    TRY(err_context(rule_counter_read(&counter, b), "rule 6, COUNTERS"));
    TRY(err_context(check_boot_blobs(c), "rule 8, BOOT"));
    TRY(err_context(rule_boot_log_read(&log, b, c->a->policy, c->blobs, c->context),
                    "rule 8, BOOT"));
    TRY(err_context(rule_gpus_read(&gpus, b, c->a->policy, c->blobs, c->context), "rule 8, BOOT"));
    bool goes_on = c->a->has_boot && memcmp(c->a->boot_id, b->boot_id, BOOT_ID_LEN) == 0;
    if (c->a->has_boot && counter.index == c->a->boot.index &&
        tpm_name_equal(&counter.name, &c->a->boot.name) && counter.value <= c->a->boot.value)
        return err_set(ERR_UNTRUE, "rule 6, COUNTERS: the boot counter does not go up");
    c->a->has_identity = c->a->has_identity && goes_on;
    c->a->has_boot = true;
    c->a->boot = counter;
    c->a->boot_log = log;
    rule_gpus_cleanup(&c->a->gpus);
    c->a->gpus = gpus;
    gpus = RULE_GPUS_INIT;
    c->a->clock_ms = counter.clock_ms;
    memcpy(c->a->boot_id, b->boot_id, BOOT_ID_LEN);
    return err_ok();
}

static struct err check_identity(const struct candidate *c)
{
    const struct statement_identity *identity = &c->s->identity;
    if (!c->a->has_boot || memcmp(c->a->boot_id, identity->boot_id, BOOT_ID_LEN) != 0)
        return err_set(ERR_UNTRUE, "rule 7, LANES: no boot statement of this boot id before it");
    BUF_AUTO log = BUF_INIT;
    struct rule_lanes lanes;
    TRY(c->blobs(c->context, &identity->runtime_log, &log));
    TRY(err_context(rule_lanes_read(&lanes, identity, buf_bytes(&log), c->a->policy),
                    "rule 7, LANES"));
    if (strcmp(lanes.log_vkey, c->a->policy->log_vkey) != 0)
        return err_set(ERR_UNTRUE, "rule 10, LOG: PCR 15 names another log than this");
    if (c->a->has_identity)
        TRY(err_context(rule_lanes_extend(&c->a->lanes, buf_bytes(&log)), "rule 7, LANES"));
    c->a->lanes = lanes;
    c->a->has_identity = true;
    return err_ok();
}

/* The head that a context names is one that this log signed, and its note is kept. */
static struct err check_head(const struct candidate *c)
{
    const struct quote_context *context = &c->s->quote.context;
    BUF_AUTO note = BUF_INIT;
    struct blob_ref ref = {.size = BLOB_SIZE_UNKNOWN};
    memcpy(ref.sha256, context->head_note, SHA256_LEN);
    TRY(c->blobs(c->context, &ref, &note));
    struct checkpoint head;
    TRY(checkpoint_verify(&head, buf_bytes(&note), c->a->policy->log.name, &c->a->policy->log));
    if (head.size != context->head_size || !merkle_equal(&head.root, &context->head_root))
        return err_set(ERR_UNTRUE, "the context's head is not that of its note");
    return err_ok();
}

static struct err check_gpus(const struct candidate *c, const struct attested *attested)
{
    const struct statement_quote *q = &c->s->quote;
    for (size_t i = 0; i < q->n_gpu_reports; i++)
        TRY(check_there(c, &q->gpu_reports[i]));
    return rule_gpus_quoted(&c->a->gpus, c->a->lanes.gpu, c->s->kind == STATEMENT_QUOTE, q,
                            attested, c->a->policy, c->blobs, c->context);
}

static struct err check_lanes(const struct candidate *c, const struct attested *attested)
{
    const struct statement_quote *q = &c->s->quote;
    struct rule_boot_pcrs pcrs;
    TRY(err_context(rule_lanes_quoted(&c->a->lanes, q), "rule 7, LANES"));
    TRY(err_context(
        rule_boot_values(&pcrs, &q->pcrs, &c->a->boot_log, c->a->policy, c->a->host.test),
        "rule 8, BOOT"));
    return err_context(check_gpus(c, attested), "rule 8, BOOT");
}

static struct err check_quote(const struct candidate *c)
{
    const struct statement_quote *q = &c->s->quote;
    struct admission *a = c->a;
    if (!a->has_boot || !a->has_identity)
        return err_set(ERR_UNTRUE, "rule 6, COUNTERS: no boot and identity of this host before it");
    struct attested attested;
    TRY(err_context(rule_quote_signature(&a->host.ak, q), "rule 3, SIGNATURE"));
    TRY(err_context(rule_quote(&attested, &a->host.ak, q), "rule 4, QUOTE"));
    enum quote_kind kind = c->s->kind == STATEMENT_STOP ? QUOTE_STOP : QUOTE_PERIODIC;
    TRY(err_context(rule_context(q, &attested, kind, a->boot_id, a->policy->log.name),
                    "rule 5, CONTEXT"));
    TRY(err_context(rule_counts(&attested, &a->boot, a->clock_ms), "rule 6, COUNTERS"));
    TRY(check_lanes(c, &attested));
    TRY(err_context(check_head(c), "rule 10, LOG"));
    a->clock_ms = attested.clock_ms;
    return err_ok();
}

static struct err check(const struct candidate *c)
{
    if (!tpm_name_equal(&c->s->ak_name, &c->a->host.ak_name))
        return err_set(ERR_UNTRUE, "the statement is of another attestation key");
    switch (c->s->kind) {
    case STATEMENT_HOST:
        return check_host(c);
    case STATEMENT_BOOT:
        return check_boot(c);
    case STATEMENT_IDENTITY:
        return check_identity(c);
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        return check_quote(c);
    }
    return err_set(ERR_UNSUPPORTED, "a statement of a kind that is not logged");
}

struct err admission_check(struct admission *a, struct bytes text, admission_blobs *blobs,
                           void *context)
{
    struct statement *s = NULL;
    TRY(parse(&s, text));
    const struct candidate c = {a, s, blobs, context};
    struct err e = check(&c);
    free(s);
    return e;
}
