/*
 * The audit for a terminal. Nothing from the log reaches it but printable ASCII: the lines of the
 * replay are clean already, paths are cleaned here.
 */
#include <stdio.h>

#include "auditor/audit.h"

#include "attest/report.h"

static void field(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%-8s", name);
    report_wrap(out, 8, 8, value);
}

void audit_text_head(struct buf *out, const char *log_path, const char *policy_path)
{
    field(out, "Log", log_path);
    field(out, "Policy", policy_path);
    buf_append_str(out, "\n entry  kind      host                result  facts\n");
}

void audit_text_entry(struct buf *out, const struct replay_line *line)
{
    const size_t column = 45;
    char text[640];
    bool is_true = line->status == RULE_TRUE;
    snprintf(text, sizeof text, "%s%s%s", line->code, is_true ? "" : ": ", line->text);
    buf_printf(out, "%6llu  %-8s  %-18s  %-5s  ", (unsigned long long)line->index,
               line->parsed ? statement_kind_name(line->kind) : "?", line->host,
               is_true ? "true" : "FALSE");
    report_wrap(out, column, column, text);
}

static const char *severity_name(enum finding_severity severity)
{
    static const char *const names[] = {"note", "warning", "error"};
    return names[severity];
}

static void append_findings(struct buf *out, const struct replay_summary *s)
{
    const size_t column = 41;
    if (s->n_findings > 0)
        buf_append_str(out, "\nFindings\n");
    for (size_t i = 0; i < s->n_findings; i++) {
        const struct finding *f = &s->findings[i];
        buf_printf(out, "  %-7s  %-12s  entry %-8llu  ", severity_name(f->severity), f->code,
                   (unsigned long long)f->index);
        report_wrap(out, column, column, f->text);
    }
}

static const char *host_word(const struct replay_verdict *v)
{
    static const char *const names[] = {"FALSE", "true", "not a proof"};
    return v->counted ? names[v->outcome] : "no quote";
}

static void append_hosts(struct buf *out, const struct replay_summary *s)
{
    const size_t column = 35;
    buf_append_str(out, "\nHosts\n");
    for (size_t i = 0; i < s->n_verdicts; i++) {
        const struct replay_verdict *v = &s->hosts[i];
        char text[640];
        snprintf(text, sizeof text, "%s%s%llu entries; boots: %llu, quotes: %llu%s", v->reason,
                 v->reason[0] != '\0' ? "; " : "", (unsigned long long)v->n_entries,
                 (unsigned long long)v->n_boots, (unsigned long long)v->n_quotes,
                 v->test ? "; TEST" : "");
        buf_printf(out, "  %-18s  %-11s  ", v->host, host_word(v));
        report_wrap(out, column, column, text);
    }
}

static void append_sentences(struct buf *out, const char *title, const char *mark,
                             const char (*list)[256], size_t n)
{
    if (n > 0)
        buf_printf(out, "\n%s\n", title);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "  %s ", mark);
        report_wrap(out, 4, 4, list[i]);
    }
}

static void append_verdict(struct buf *out, const struct audit *a)
{
    static const char *const names[] = {"false", "true", "not a proof"};
    const struct replay_summary *s = &a->summary;
    enum outcome outcome = audit_outcome(a);
    bool partly = audit_is_partly_true(a);
    if (partly)
        buf_printf(out,
                   "Verdict: partly true: the log is, and %llu of its hosts; others are not%s\n",
                   (unsigned long long)s->n_hosts_true, s->test ? " (TEST)" : "");
    else
        buf_printf(out, "Verdict: %s%s\n", names[outcome],
                   outcome != OUTCOME_FALSE && s->test ? " (TEST: it rests on a test root)" : "");
    if (outcome != OUTCOME_TRUE) {
        buf_append_str(out, "Reason:  ");
        report_wrap(out, 9, 9, a->fault[0] != '\0' ? a->fault : s->reason);
    }
}

void audit_text_host(struct buf *out, const struct audit *a, const struct replay_verdict *host)
{
    static const char *const names[] = {"false", "true", "not a proof"};
    bool log = a->summary.log == OUTCOME_TRUE;
    enum outcome outcome = log ? host->outcome : OUTCOME_FALSE;
    buf_printf(out, "Host %s: %s%s\n", host->host, names[outcome],
               outcome != OUTCOME_FALSE && host->test ? " (TEST: it rests on a test root)" : "");
    if (outcome != OUTCOME_TRUE) {
        buf_append_str(out, "Reason:  ");
        report_wrap(out, 9, 9, log ? host->reason : a->summary.log_reason);
    }
}

void audit_text_end(struct buf *out, const struct audit *a, bool quiet)
{
    const struct replay_summary *s = &a->summary;
    if (quiet || a->fault[0] != '\0') {
        append_verdict(out, a);
        return;
    }
    append_findings(out, s);
    append_hosts(out, s);
    append_sentences(out,
                     s->outcome == OUTCOME_NOT_A_PROOF
                         ? "Would be proven, if the policy ignored no PCR"
                         : "Proven",
                     "+", s->proven, s->n_proven);
    append_sentences(out, "Not proven", "-", s->not_proven, s->n_not_proven);
    buf_printf(out, "\nEntries: %llu, true: %llu; hosts: %llu, boots: %llu, quotes: %llu\n",
               (unsigned long long)s->n_entries, (unsigned long long)s->n_true,
               (unsigned long long)s->n_hosts, (unsigned long long)s->n_boots,
               (unsigned long long)s->n_quotes);
    append_verdict(out, a);
}
