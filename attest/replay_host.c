/*
 * Host, boot and identity statements in a replay: whose key it is, which boots its TPM went
 * through, which TLS keys and measurements each boot had.
 */
#include "attest/replay_state.h"

#include <stdlib.h>
#include <string.h>

#include "attest/report.h"
#include "common/text.h"

static struct replay_ek *find_ek(struct replay *r, const uint8_t sha256[SHA256_LEN])
{
    for (size_t i = 0; i < r->n_eks; i++)
        if (memcmp(r->eks[i].sha256, sha256, SHA256_LEN) == 0)
            return &r->eks[i];
    return NULL;
}

/* Remembers whose TPM this is; a second key of the same TPM is worth a look. */
static struct err note_ek(struct replay_entry_now *now)
{
    struct replay *r = now->r;
    const struct rule_host *facts = &now->host->facts;
    struct replay_ek *ek = find_ek(r, facts->tpm);
    char name[32];
    if (ek != NULL && !tpm_name_equal(&ek->ak_name, &facts->ak_name))
        replay_find(r, now->host, FINDING_WARNING, "EK-TWO-AKS", now->index,
                    "the endorsement key of key %s now has a second attestation key",
                    report_short(name, ek->ak_name.bytes + 2, 8));
    if (ek != NULL)
        return err_ok();
    struct replay_ek *grown = realloc(r->eks, (r->n_eks + 1) * sizeof *grown);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a host");
    r->eks = grown;
    r->eks[r->n_eks] = (struct replay_ek){.ak_name = facts->ak_name};
    memcpy(r->eks[r->n_eks++].sha256, facts->tpm, SHA256_LEN);
    return err_ok();
}

static void say_host(struct replay_entry_now *now, const struct rule_host *facts)
{
    char id[32], subject[84];
    const char *root = facts->test ? "test" : "production";
    printable(subject, bytes_of_str(rule_host_subject(facts)));
    if (facts->certified)
        replay_fact(now, "key certified by %s (%.40s), %s root",
                    report_short(id, facts->own.sha256, 8), subject, root);
    else
        replay_fact(now, "TPM %s (%.40s), %s root, %u of %zu activators",
                    report_short(id, facts->ek.sha256, 8), subject, root, facts->n_vouched,
                    now->r->policy->n_activators);
}

/* Whose statement it is, once it is true as far as it goes. */
static struct err find_host(struct replay_host **out, struct replay_entry_now *now)
{
    struct rule_host alone = RULE_HOST_INIT;
    *out = now->host;
    if (*out != NULL && ((*out)->facts.known || (*out)->surveyed.known))
        return err_ok();
    struct err e = rule_host_add(&alone, now->s, now->r->policy, replay_blob_source, now->r);
    if (!is_err(e))
        e = replay_host_make(now->r, out, &alone);
    rule_host_cleanup(&alone);
    return e;
}

struct err replay_take_host(struct replay_entry_now *now)
{
    struct replay *r = now->r;
    now->code = "AK";
    struct replay_host *h;
    TRY(find_host(&h, now));
    bool first = !h->facts.known;
    if (!first && !h->facts.certified && !now->s->host.ak_certified &&
        memcmp(h->facts.ek.sha256, now->s->host.ek_certificate.sha256, SHA256_LEN) != 0)
        replay_find(r, h, FINDING_ERROR, "AK-TWO-EKS", now->index,
                    "an attestation key is in one TPM; here it is given a second certificate");
    TRY(rule_host_add(&h->facts, now->s, r->policy, replay_blob_source, r));
    now->host = h;
    if (first)
        h->index = now->index;
    TRY(note_ek(now));
    say_host(now, &h->facts);
    return err_ok();
}

/* A key is believed once it is in a host statement and activated, here or anywhere in the log. */
static struct err check_believed(struct replay_entry_now *now)
{
    now->code = "AK";
    const struct replay_host *h = now->host;
    if (h == NULL || !h->facts.known)
        return err_set(ERR_UNTRUE, "no true host statement of this key comes before it");
    return rule_host_bound(h->surveyed.known ? &h->surveyed : &h->facts, now->r->policy);
}

/* A boot id is drawn at random: one that comes again was not. */
static struct err add_boot_id(struct replay_host *h, const uint8_t boot_id[BOOT_ID_LEN])
{
    for (size_t i = 0; i < h->n_boot_ids; i++)
        if (memcmp(h->boot_ids[i], boot_id, BOOT_ID_LEN) == 0)
            return err_set(ERR_UNTRUE, "an earlier boot of this host had the same boot id");
    void *grown = realloc(h->boot_ids, (h->n_boot_ids + 1) * sizeof *h->boot_ids);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a host");
    h->boot_ids = grown;
    memcpy(h->boot_ids[h->n_boot_ids++], boot_id, BOOT_ID_LEN);
    return err_ok();
}

/* Counts of a key outside the endorsement hierarchy have a constant added, and may run over. */
static bool is_ahead(uint32_t to, uint32_t from)
{
    uint32_t by = to - from;
    return by != 0 && by < UINT32_C(1) << 31;
}

static bool counts_advance(const struct rule_counter *from, const struct rule_counter *to)
{
    return is_ahead(to->reset_count, from->reset_count) ||
           (to->reset_count == from->reset_count &&
            is_ahead(to->restart_count, from->restart_count));
}

/* Equal counts on a clock that went on are the same boot a second time. */
static bool same_boot(const struct rule_counter *from, const struct rule_counter *to)
{
    return to->reset_count == from->reset_count && to->restart_count == from->restart_count &&
           to->clock_ms >= from->clock_ms;
}

/* One TPM's history: its boot counter goes up by one from boot statement to boot statement. */
static struct err check_history(struct replay_entry_now *now, const struct rule_counter *from,
                                const struct rule_counter *to)
{
    struct replay *r = now->r;
    unsigned long long before = from->value, after = to->value;
    if (to->index != from->index || !tpm_name_equal(&to->name, &from->name)) {
        replay_find(
            r, now->host, FINDING_ERROR, "TPM-CLEARED", now->index,
            "the boot counter is another one (0x%08x after 0x%08x): boots in between cannot "
            "be excluded",
            (unsigned)to->index, (unsigned)from->index);
        return err_ok();
    }
    if (to->value <= from->value)
        return err_set(ERR_UNTRUE, "the boot counter does not go up: %llu after %llu", after,
                       before);
    if (same_boot(from, to))
        return err_set(ERR_UNTRUE, "a second boot statement for reset %u, restart %u",
                       (unsigned)to->reset_count, (unsigned)to->restart_count);
    if (to->value != from->value + 1)
        replay_find(r, now->host, FINDING_ERROR, "COUNTER-GAP", now->index,
                    "the boot counter went from %llu to %llu: %llu boots are not in this log",
                    before, after, after - before - 1);
    if (!counts_advance(from, to))
        replay_find(r, now->host, FINDING_WARNING, "TPM-CLEARED", now->index,
                    "reset and restart counts began anew (%u, %u after %u, %u); the boot counter "
                    "went on",
                    (unsigned)to->reset_count, (unsigned)to->restart_count,
                    (unsigned)from->reset_count, (unsigned)from->restart_count);
    else if (to->reset_count - from->reset_count > 1)
        replay_find(r, now->host, FINDING_NOTE, "RESETS", now->index,
                    "the TPM was reset %u times since the last boot statement",
                    (unsigned)(to->reset_count - from->reset_count));
    return err_ok();
}

static void find_unquoted_boot(struct replay *r, struct replay_host *h)
{
    if (h->boot.known && !h->boot.quoted)
        replay_find(r, h, FINDING_WARNING, "UNCOVERED", h->boot.index,
                    "no true quote was logged in this boot before the next");
}

static void find_unquoted_identity(struct replay *r, struct replay_host *h)
{
    if (h->identity.known && !h->identity.quoted)
        replay_find(r, h, FINDING_WARNING, "UNCOVERED", h->identity.index,
                    "no true quote showed this identity before the next");
}

static void find_reboot(struct replay_entry_now *now, const struct rule_counter *counter)
{
    const struct replay_host *h = now->host;
    if (h->boot.known && !(h->quote.is_true && h->quote.stop))
        replay_find(now->r, now->host, FINDING_NOTE, "REBOOT", now->index,
                    "no stop was announced before this boot: how long the gap was is not known");
    if (!counter->safe)
        replay_find(now->r, now->host, FINDING_WARNING, "UNSAFE-CLOCK", now->index,
                    "the TPM lost power without a shutdown; its clock may have gone back");
}

static void find_other_gpus(struct replay_entry_now *now, const struct rule_gpus *gpus)
{
    const struct replay_boot *boot = &now->host->boot;
    if (boot->known && memcmp(boot->gpus.digest, gpus->digest, SHA256_LEN) != 0)
        replay_find(now->r, now->host, FINDING_NOTE, "GPU-CHANGED", now->index,
                    "the GPUs, their driver or VBIOS are not those of the host's boot before");
}

/* *gpus becomes the boot's, in return for the last one's. */
static void swap_gpus(struct replay_boot *boot, struct rule_gpus *gpus)
{
    struct rule_gpus before = boot->gpus;
    boot->gpus = *gpus;
    *gpus = before;
}

static void start_boot(struct replay_entry_now *now, const struct rule_counter *counter,
                       const struct rule_boot_log *log)
{
    struct replay_host *h = now->host;
    struct rule_gpus gpus = h->boot.gpus;
    find_unquoted_boot(now->r, h);
    find_unquoted_identity(now->r, h);
    find_reboot(now, counter);
    h->boot = (struct replay_boot){.known = true,
                                   .index = now->index,
                                   .counter = *counter,
                                   .clock_ms = counter->clock_ms,
                                   .unsafe = !counter->safe,
                                   .log = *log,
                                   .gpus = gpus};
    memcpy(h->boot.boot_id, now->s->boot.boot_id, BOOT_ID_LEN);
    h->identity.known = false;
    h->quote.is_true = false;
    now->host->n_boots++;
    now->r->n_boots++;
}

/* A host that was suspended: the TPM kept its PCRs, and so the boot its id, lanes and quotes; only
 * the restart count, and with it the boot counter, went on. */
static bool is_resume(const struct replay_host *h, const uint8_t boot_id[BOOT_ID_LEN],
                      const struct rule_counter *to)
{
    const struct rule_counter *from = &h->boot.counter;
    return h->boot.known && memcmp(h->boot.boot_id, boot_id, BOOT_ID_LEN) == 0 &&
           to->reset_count == from->reset_count &&
           is_ahead(to->restart_count, from->restart_count) && to->clock_ms > h->boot.clock_ms;
}

static void resume_boot(struct replay_entry_now *now, const struct rule_counter *counter,
                        const struct rule_boot_log *log)
{
    struct replay_boot *boot = &now->host->boot;
    find_unquoted_boot(now->r, now->host);
    replay_find(now->r, now->host, FINDING_WARNING, "RESUMED", now->index,
                "the host was suspended (restart %u after %u): PCRs outlive that, so how long it "
                "was and what ran in between is not known",
                (unsigned)counter->restart_count, (unsigned)boot->counter.restart_count);
    boot->index = now->index;
    boot->counter = *counter;
    boot->clock_ms = counter->clock_ms;
    boot->quoted = false;
    boot->log = *log;
    now->host->n_boots++;
    now->r->n_boots++;
}

struct err replay_take_boot(struct replay_entry_now *now)
{
    const struct statement_boot *b = &now->s->boot;
    TRY(check_believed(now));
    now->code = "SIGNATURE";
    TRY(rule_signature(&now->host->facts.ak, bytes_of(b->attest, b->attest_len),
                       bytes_of(b->signature, b->signature_len), "boot counter"));
    now->code = "COUNTERS";
    struct rule_counter counter;
    TRY(rule_counter_read(&counter, b));
    now->code = "BOOT";
    struct rule_boot_log log;
    TRY(rule_boot_log_read(&log, b, now->r->policy, replay_blob_source, now->r));
    __attribute__((cleanup(rule_gpus_cleanup))) struct rule_gpus gpus = RULE_GPUS_INIT;
    TRY(rule_gpus_read(&gpus, b, now->r->policy, replay_blob_source, now->r));
    now->code = "COUNTERS";
    struct replay_ek *ek = find_ek(now->r, now->host->facts.tpm);
    if (ek->booted)
        TRY(check_history(now, &ek->counter, &counter));
    bool resumed = ek->booted && is_resume(now->host, b->boot_id, &counter);
    if (!resumed)
        TRY(add_boot_id(now->host, b->boot_id));
    ek->booted = true;
    ek->counter = counter;
    find_other_gpus(now, &gpus);
    swap_gpus(&now->host->boot, &gpus);
    if (resumed)
        resume_boot(now, &counter, &log);
    else
        start_boot(now, &counter, &log);
    char id[2 * BOOT_ID_LEN + 3];
    replay_fact(now, "boot %s, counter %llu, reset %u, restart %u", report_short(id, b->boot_id, 8),
                (unsigned long long)counter.value, (unsigned)counter.reset_count,
                (unsigned)counter.restart_count);
    return err_ok();
}

static struct err check_identity_boot(const struct replay_host *h,
                                      const struct statement_identity *identity)
{
    if (!h->boot.known)
        return err_set(ERR_UNTRUE, "no true boot statement of this host comes before it");
    if (memcmp(h->boot.boot_id, identity->boot_id, BOOT_ID_LEN) != 0)
        return err_set(ERR_UNTRUE, "it is of another boot than the host's last boot statement");
    return err_ok();
}

static struct err read_lanes(struct replay_entry_now *now, struct rule_lanes *lanes)
{
    const struct statement_identity *identity = &now->s->identity;
    const struct replay_host *h = now->host;
    BUF_AUTO log = BUF_INIT;
    TRY(replay_blob_read(now->r, &identity->runtime_log, &log));
    TRY(rule_lanes_read(lanes, identity, buf_bytes(&log), now->r->policy));
    if (h->identity.known)
        TRY(rule_lanes_extend(&h->identity.lanes, buf_bytes(&log)));
    now->code = "LOG";
    if (strcmp(lanes->log_vkey, now->r->policy->log_vkey) != 0)
        return err_set(ERR_UNTRUE, "PCR 15 names another log than the policy");
    return err_ok();
}

/* Each identity event of a boot has a statement of its own. */
static void find_skipped_identities(struct replay_entry_now *now, const struct rule_lanes *lanes)
{
    const struct replay_identity *last = &now->host->identity;
    size_t logged = last->known ? last->lanes.n_identities : 0;
    if (lanes->n_identities > logged + 1)
        replay_find(now->r, now->host, FINDING_WARNING, "SKIPPED", now->index,
                    "%zu identities that were measured before it in this boot are not in the log",
                    lanes->n_identities - logged - 1);
}

struct err replay_take_identity(struct replay_entry_now *now)
{
    TRY(check_believed(now));
    struct replay_host *h = now->host;
    now->code = "CONTEXT";
    TRY(check_identity_boot(h, &now->s->identity));
    now->code = "LANES";
    struct rule_lanes lanes;
    TRY(read_lanes(now, &lanes));
    find_unquoted_identity(now->r, h);
    find_skipped_identities(now, &lanes);
    h->identity = (struct replay_identity){.known = true, .index = now->index, .lanes = lanes};
    char spki[32], model[84], code[84];
    replay_fact(now, "TLS key %s, model %.60s, code %.60s",
                report_short(spki, lanes.spki_sha256, 8),
                printable(model, bytes_of_str(lanes.model_id)),
                printable(code, bytes_of_str(lanes.code_name)));
    return err_ok();
}
