/*
 * The end of a replay: what no quote covers yet, and the sentences of the summary.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/replay_state.h"
#include "attest/report.h"
#include "common/text.h"

/* The true statements of one host that no true quote of its own covers. */
static void find_tail(struct replay *r, size_t host)
{
    struct replay_host *h = &r->hosts[host];
    uint64_t n = 0, first = 0, last = 0;
    for (uint64_t i = h->covered; i < r->edge.size; i++) {
        if (r->owners[i] != (int32_t)host)
            continue;
        first = n++ == 0 ? i : first;
        last = i;
    }
    char name[32];
    if (n == 0)
        return;
    report_short(name, h->facts.ak_name.bytes + 2, 8);
    if (h->n_quotes == 0)
        replay_find(r, h, FINDING_WARNING, "UNCOVERED", first,
                    "host %s has no true quote: nothing that it logged counts (entries: %llu)",
                    name, (unsigned long long)n);
    else
        replay_find(r, h, FINDING_NOTE, "UNCOVERED", first,
                    "host %s: what it logged from here to entry %llu waits for its next quote",
                    name, (unsigned long long)last);
}

void replay_find_uncovered(struct replay *r)
{
    for (size_t i = 0; i < r->n_hosts; i++)
        if (r->hosts[i].facts.known)
            find_tail(r, i);
}

static void list_names(char out[128], const struct policy_hash *list, size_t n, const bool *seen)
{
    size_t len = 0;
    char name[84];
    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        if (seen[i] && len < 100)
            len += (size_t)snprintf(out + len, 128 - len, "%s%.24s", len > 0 ? ", " : "",
                                    printable(name, bytes_of_str(list[i].name)));
        else if (seen[i])
            memcpy(out + 100, ", ...", 6);
}

/* Over the hosts that are true here. */
struct shown {
    uint64_t n_boots, n_quotes;
    uint16_t zero, ignored, explained;
    bool gpu, gpu_open;
    size_t n_gpus;
};

static struct shown add_up(const struct replay *r)
{
    struct shown all = {0};
    for (size_t i = 0; i < r->n_hosts; i++) {
        const struct replay_host *h = &r->hosts[i];
        if (h->reason[0] != '\0' || h->n_quotes == 0)
            continue;
        all.n_boots += h->n_boots;
        all.n_quotes += h->n_quotes;
        all.zero |= h->zero;
        all.ignored |= h->ignored;
        all.explained |= h->explained;
        all.gpu |= h->gpu;
        all.gpu_open |= h->gpu_open;
        all.n_gpus += h->boot.gpus.n;
    }
    return all;
}

static void say_proven(struct replay_summary *out, const struct replay *r, const struct shown *all)
{
    const struct report_list proven = {out->proven, &out->n_proven, VERDICT_PROVEN_MAX};
    const struct policy *p = r->policy;
    char origin[84], names[128];
    report_add(&proven,
               "The log %s is whole: its %llu entries hash to the checkpoint that its key "
               "signed, and every entry%s is true.",
               printable(origin, bytes_of_str(p->log.name)), (unsigned long long)out->n_entries,
               out->outcome == OUTCOME_FALSE ? " of the hosts that are true here" : "");
    report_add(&proven,
               "Hosts (%llu): each one's key is in a TPM of the policy's roots, by %s%u of its "
               "activators.",
               (unsigned long long)out->n_hosts_true,
               p->n_ak_roots > 0 ? "its own certificate or " : "the word of at least ",
               p->k_activators);
    report_add(&proven,
               "Boots (%llu): these are all that the TPMs' boot counters count since each one's "
               "first.",
               (unsigned long long)all->n_boots);
    report_add(
        &proven,
        "Quotes (%llu): each was made on a head that covers the host's quote before it, so in "
        "this order.",
        (unsigned long long)all->n_quotes);
    list_names(names, p->models, p->n_models, r->models);
    report_add(&proven, "At every quote the models were of the policy's (%s).", names);
    list_names(names, p->codes, p->n_codes, r->codes);
    report_add(&proven, "At every quote the code was of the policy's (%s).", names);
    report_add_witnessed(&proven, &p->witnesses, &r->witnessed);
}

static void say_pcrs(const struct report_list *list, const struct shown *all)
{
    char pcrs[64];
    report_pcrs(pcrs, all->zero);
    if (all->zero != 0)
        report_add(list,
                   "What was booted, as far as PCRs %s show it: they are zero, nothing was "
                   "measured there; other software could have extended PCRs 13 to 15.",
                   pcrs);
    report_pcrs(pcrs, all->explained);
    if (all->explained != 0)
        report_add_events(list, pcrs);
    report_add_gpus(list, all->gpu, all->n_gpus, all->gpu && !all->gpu_open);
    report_pcrs(pcrs, all->ignored);
    if (all->ignored != 0)
        report_add(list, "PCRs %s: the policy ignores them.", pcrs);
}

static void say_not_proven(struct replay_summary *out, const struct replay *r,
                           const struct shown *all)
{
    const struct report_list list = {out->not_proven, &out->n_not_proven, VERDICT_NOT_PROVEN_MAX};
    if (replay_is_partly_true(out))
        report_add(&list, "Anything of the hosts that are false here: %.200s", out->reason);
    else if (out->outcome == OUTCOME_FALSE)
        report_add(&list, "Anything: %.230s", out->reason);
    report_add_limits(&list);
    report_add_split_view(&list, &r->policy->witnesses);
    report_add(&list,
               "When anything happened by a wall clock: only the TPMs' clocks order quotes.");
    report_add(&list, "What a host did after the last quote that is here.");
    report_add(&list, "That clients met these TLS keys: each client checks that for itself.");
    if (out->test)
        report_add(&list,
                   "Anything about hardware: a certificate leads to a test root, as software "
                   "TPMs have.");
    say_pcrs(&list, all);
}

void replay_report(struct replay_summary *out, const struct replay *r)
{
    const struct shown all = add_up(r);
    if (out->outcome != OUTCOME_FALSE || replay_is_partly_true(out))
        say_proven(out, r, &all);
    say_not_proven(out, r, &all);
}
