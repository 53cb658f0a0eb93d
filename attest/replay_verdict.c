/*
 * The verdicts at the end of a replay: what makes a host false, what the log, and what both come to
 * together.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/replay_state.h"
#include "attest/report.h"

static struct err check_checkpoint(struct replay *r, struct bytes note)
{
    struct checkpoint c;
    TRY(err_context(checkpoint_verify(&c, note, r->policy->log.name, &r->policy->log),
                    "newest checkpoint"));
    if (c.size != r->edge.size)
        return err_set(ERR_UNTRUE, "newest checkpoint: it is of %llu entries, %llu were replayed",
                       (unsigned long long)c.size, (unsigned long long)r->edge.size);
    if (!merkle_equal(&c.root, &r->roots[r->edge.size]))
        return err_set(ERR_UNTRUE, "newest checkpoint: its root is not that of the entries");
    return err_context(tlog_policy_check_quorum(&r->witnessed, &r->policy->witnesses, note),
                       "newest checkpoint");
}

static struct err judge_log(struct replay_summary *out, struct replay *r, struct bytes checkpoint)
{
    struct err e = check_checkpoint(r, checkpoint);
    if (is_err(e) && !rule_refuses(e))
        return e;
    if (r->log_reason[0] != '\0')
        memcpy(out->log_reason, r->log_reason, sizeof out->log_reason);
    else if (is_err(e))
        report_clean(out->log_reason, sizeof out->log_reason, err_message());
    else
        out->log = OUTCOME_TRUE;
    return err_ok();
}

static void judge_host(struct replay_verdict *v, const struct replay_host *h)
{
    const struct rule_host *known = h->facts.known ? &h->facts : &h->surveyed;
    *v = (struct replay_verdict){.ak_name = known->ak_name,
                                 .outcome = OUTCOME_FALSE,
                                 .counted = h->n_quotes > 0 || h->reason[0] != '\0',
                                 .test = known->test,
                                 .n_entries = h->n_entries,
                                 .n_boots = h->n_boots,
                                 .n_quotes = h->n_quotes};
    replay_host_name(v->host, &known->ak_name);
    memcpy(v->reason, h->reason, sizeof v->reason);
    if (!v->counted)
        snprintf(v->reason, sizeof v->reason,
                 "it has no true quote: nothing that it logged counts");
    else if (h->reason[0] == '\0')
        v->outcome = h->ignored != 0 ? OUTCOME_NOT_A_PROOF : OUTCOME_TRUE;
    if (v->outcome == OUTCOME_NOT_A_PROOF)
        snprintf(v->reason, sizeof v->reason, "the policy ignores PCRs: not a proof");
}

static struct err judge_hosts(struct replay_summary *out, struct replay *r)
{
    size_t n = 0;
    free(r->verdicts);
    r->verdicts = calloc(r->n_hosts + 1, sizeof *r->verdicts);
    if (r->verdicts == NULL)
        return err_set(ERR_MEMORY, "out of memory for the verdicts of %zu hosts", r->n_hosts);
    for (size_t i = 0; i < r->n_hosts; i++)
        if (r->hosts[i].n_entries > 0) /* else only the survey met it */
            judge_host(&r->verdicts[n++], &r->hosts[i]);
    if (r->others.n_entries > 0) {
        struct replay_verdict *v = &r->verdicts[n++];
        *v = (struct replay_verdict){
            .host = "others", .counted = true, .n_entries = r->others.n_entries};
        memcpy(v->reason, r->others.reason, sizeof v->reason);
    }
    out->hosts = r->verdicts;
    out->n_verdicts = n;
    return err_ok();
}

static const char *host_error(const struct replay_summary *s)
{
    for (size_t i = 0; i < s->n_verdicts; i++)
        if (s->hosts[i].counted && s->hosts[i].outcome == OUTCOME_FALSE)
            return s->hosts[i].reason;
    return NULL;
}

/* The first thing that keeps the whole from being true; "" if nothing does. */
static void find_reason(struct replay_summary *s, const struct replay *r)
{
    const char *host = host_error(s);
    if (r->reason[0] != '\0')
        snprintf(s->reason, sizeof s->reason, "%s", r->reason);
    else if (s->log != OUTCOME_TRUE)
        memcpy(s->reason, s->log_reason, sizeof s->reason);
    else if (host != NULL)
        snprintf(s->reason, sizeof s->reason, "%s", host);
    else if (r->n_quotes == 0)
        snprintf(s->reason, sizeof s->reason, "the log holds no true quote");
}

struct err replay_judge(struct replay_summary *out, struct replay *r, struct bytes checkpoint)
{
    bool ignored = false, test = false;
    TRY(judge_log(out, r, checkpoint));
    TRY(judge_hosts(out, r));
    for (size_t i = 0; i < out->n_verdicts; i++) {
        const struct replay_verdict *v = &out->hosts[i];
        out->n_hosts += v->n_quotes > 0;
        out->n_hosts_true += v->outcome != OUTCOME_FALSE;
        ignored |= v->outcome == OUTCOME_NOT_A_PROOF;
        test |= v->outcome != OUTCOME_FALSE && v->test;
    }
    out->test = test;
    find_reason(out, r);
    if (out->reason[0] == '\0')
        out->outcome = ignored ? OUTCOME_NOT_A_PROOF : OUTCOME_TRUE;
    if (out->outcome == OUTCOME_NOT_A_PROOF)
        snprintf(out->reason, sizeof out->reason, "the policy ignores PCRs: not a proof");
    return err_ok();
}

bool replay_is_partly_true(const struct replay_summary *s)
{
    bool some = false;
    for (size_t i = 0; i < s->n_verdicts; i++)
        some |= s->hosts[i].outcome == OUTCOME_TRUE;
    return s->outcome == OUTCOME_FALSE && s->log == OUTCOME_TRUE && some;
}
