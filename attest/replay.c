/*
 * The replay's frame: the tree over the entries, the hosts they speak of, one line an entry, and
 * the end. What the kinds of statements must show is in replay_host.c and replay_quote.c.
 */
#include "attest/replay.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/replay_state.h"
#include "attest/report.h"

struct err replay_new(struct replay **out, const struct policy *p, replay_blob *blob,
                      void *blob_context)
{
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "out of memory for a replay");
    r->policy = p;
    r->blob = blob;
    r->blob_context = blob_context;
    r->edge = MERKLE_EDGE_INIT;
    r->models = calloc(p->n_models + 1, sizeof *r->models);
    r->codes = calloc(p->n_codes + 1, sizeof *r->codes);
    r->roots = malloc(sizeof *r->roots);
    if (r->models == NULL || r->codes == NULL || r->roots == NULL) {
        replay_free(r);
        return err_set(ERR_MEMORY, "out of memory for a replay");
    }
    r->roots[0] = merkle_empty();
    *out = r;
    return err_ok();
}

void replay_free(struct replay *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n_hosts; i++) {
        rule_host_cleanup(&r->hosts[i].facts);
        rule_host_cleanup(&r->hosts[i].surveyed);
        free(r->hosts[i].boot_ids);
    }
    free(r->hosts);
    free(r->eks);
    free(r->findings);
    free(r->models);
    free(r->codes);
    free(r->roots);
    free(r->owners);
    free(r);
}

void replay_fact(struct replay_entry_now *now, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(now->fact, sizeof now->fact, format, args);
    va_end(args);
}

static void add_finding(struct replay *r, const struct finding *f)
{
    struct finding *grown = realloc(r->findings, (r->n_findings + 1) * sizeof *grown);
    if (grown == NULL)
        abort(); /* some hundred bytes that cannot be had: nothing is sane */
    r->findings = grown;
    grown[r->n_findings++] = *f;
}

/* The last place is for saying that there were more. */
void replay_find(struct replay *r, enum finding_severity severity, const char *code, uint64_t index,
                 const char *format, ...)
{
    if (r->n_findings == REPLAY_FINDINGS_MAX)
        return;
    struct finding f = {.severity = severity, .code = code, .index = index};
    char text[REPLAY_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report_clean(f.text, sizeof f.text, text);
    if (r->n_findings == REPLAY_FINDINGS_MAX - 1)
        f = (struct finding){FINDING_ERROR, "MORE", index, "more findings than can be listed"};
    add_finding(r, &f);
}

struct err replay_blob_read(struct replay *r, const struct blob_ref *ref, struct buf *out)
{
    BUF_AUTO blob = BUF_INIT;
    struct err e = r->blob(r->blob_context, ref->sha256, &blob);
    if (is_err(e)) {
        BUF_AUTO hex = BUF_INIT;
        buf_append_hex(&hex, bytes_of(ref->sha256, SHA256_LEN));
        return err_context(e, "blob %s", buf_str(&hex));
    }
    TRY(blob_ref_check(ref, buf_bytes(&blob)));
    buf_append_bytes(out, buf_bytes(&blob));
    return err_ok();
}

struct err replay_blob_source(void *context, const struct blob_ref *ref, struct buf *out)
{
    return replay_blob_read(context, ref, out);
}

struct replay_host *replay_host_of(struct replay *r, const struct tpm_name *ak_name)
{
    for (size_t i = 0; i < r->n_hosts; i++) {
        struct replay_host *h = &r->hosts[i];
        const struct rule_host *known = h->facts.known ? &h->facts : &h->surveyed;
        if (tpm_name_equal(&known->ak_name, ak_name))
            return h;
    }
    return NULL;
}

struct err replay_host_make(struct replay *r, struct replay_host **out,
                            const struct tpm_name *ak_name)
{
    *out = replay_host_of(r, ak_name);
    if (*out != NULL)
        return err_ok();
    if (r->n_hosts == REPLAY_HOSTS_MAX)
        return err_set(ERR_LIMIT, "more than %d attestation keys in one log", REPLAY_HOSTS_MAX);
    struct replay_host *grown = realloc(r->hosts, (r->n_hosts + 1) * sizeof *grown);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a host");
    r->hosts = grown;
    *out = &grown[r->n_hosts++];
    memset(*out, 0, sizeof **out);
    (*out)->surveyed.ak_name = *ak_name; /* found by it until a host statement is true */
    return err_ok();
}

struct err replay_survey(struct replay *r, struct bytes entry)
{
    struct statement s;
    struct err e = statement_parse(&s, entry);
    if (is_err(e) || s.kind != STATEMENT_HOST)
        return is_err(e) && !rule_refuses(e) ? e : err_ok();
    struct rule_host alone = RULE_HOST_INIT;
    e = rule_host_add(&alone, &s, r->policy, replay_blob_source, r);
    rule_host_cleanup(&alone);
    struct replay_host *h;
    if (!is_err(e))
        e = replay_host_make(r, &h, &s.ak_name);
    if (!is_err(e))
        e = rule_host_add(&h->surveyed, &s, r->policy, replay_blob_source, r);
    return rule_refuses(e) ? err_ok() : e;
}

static struct err grow(struct replay *r)
{
    if (r->edge.size < r->capacity)
        return err_ok();
    size_t capacity = r->capacity == 0 ? 1024 : 2 * r->capacity;
    struct merkle_hash *roots = realloc(r->roots, (capacity + 1) * sizeof *roots);
    if (roots != NULL)
        r->roots = roots;
    int32_t *owners = realloc(r->owners, capacity * sizeof *owners);
    if (owners != NULL)
        r->owners = owners;
    if (roots == NULL || owners == NULL)
        return err_set(ERR_MEMORY, "out of memory for a log of %zu entries", capacity);
    r->capacity = capacity;
    return err_ok();
}

static struct err take(struct replay_entry_now *now, struct statement *s, struct bytes entry,
                       struct replay_line *line)
{
    now->code = "PARSE";
    TRY(statement_parse(s, entry));
    line->parsed = true;
    line->kind = s->kind;
    report_short(line->host, s->ak_name.bytes + 2, 8);
    now->s = s;
    now->host = replay_host_of(now->r, &s->ak_name);
    switch (s->kind) {
    case STATEMENT_HOST:
        return replay_take_host(now);
    case STATEMENT_BOOT:
        return replay_take_boot(now);
    case STATEMENT_IDENTITY:
        return replay_take_identity(now);
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        return replay_take_quote(now);
    }
    return err_set(ERR_UNSUPPORTED, "a statement of kind %d", (int)s->kind);
}

/* The line of an entry that was judged, and what it changes in the whole. */
static void settle(struct replay_line *line, struct replay_entry_now *now, bool is_true)
{
    struct replay *r = now->r;
    line->status = is_true ? RULE_TRUE : RULE_FALSE;
    line->code = is_true ? "" : now->code;
    report_clean(line->text, sizeof line->text, is_true ? now->fact : err_message());
    if (is_true) {
        r->n_true++;
        r->owners[now->index] = (int32_t)(now->host - r->hosts);
    } else if (r->reason[0] == '\0') {
        snprintf(r->reason, sizeof r->reason, "entry %llu, rule %s: %.440s",
                 (unsigned long long)now->index, line->code, line->text);
    }
}

struct err replay_entry(struct replay *r, struct replay_line *line, uint64_t index,
                        struct bytes entry)
{
    if (index != r->edge.size)
        return err_set(ERR_USAGE, "entry %llu where entry %llu is next", (unsigned long long)index,
                       (unsigned long long)r->edge.size);
    TRY(grow(r));
    *line = (struct replay_line){.index = index};
    struct replay_entry_now now = {.r = r, .index = index, .leaf = merkle_leaf(entry)};
    struct statement s;
    r->owners[index] = -1;
    struct err e = take(&now, &s, entry, line);
    if (is_err(e) && !rule_refuses(e))
        return err_context(e, "entry %llu", (unsigned long long)index);
    settle(line, &now, !is_err(e));
    merkle_edge_append(&r->edge, &now.leaf);
    r->roots[r->edge.size] = merkle_edge_root(&r->edge);
    return err_ok();
}

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

static const struct finding *first_error(const struct replay *r)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (r->findings[i].severity == FINDING_ERROR)
            return &r->findings[i];
    return NULL;
}

/* The first thing that keeps the log from being true; "" if nothing does. */
static struct err find_reason(char out[REPLAY_TEXT_MAX], struct replay *r, struct bytes checkpoint)
{
    out[0] = '\0';
    struct err e = check_checkpoint(r, checkpoint);
    if (is_err(e) && !rule_refuses(e))
        return e;
    const struct finding *f = first_error(r);
    if (r->reason[0] != '\0')
        snprintf(out, REPLAY_TEXT_MAX, "%s", r->reason);
    else if (is_err(e))
        report_clean(out, REPLAY_TEXT_MAX, err_message());
    else if (f != NULL)
        snprintf(out, REPLAY_TEXT_MAX, "entry %llu, %s: %.440s", (unsigned long long)f->index,
                 f->code, f->text);
    else if (r->n_quotes == 0)
        snprintf(out, REPLAY_TEXT_MAX, "the log holds no true quote");
    return err_ok();
}

static uint64_t count_hosts(const struct replay *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->n_hosts; i++)
        n += r->hosts[i].n_quotes > 0;
    return n;
}

struct err replay_finish(struct replay *r, struct replay_summary *out, struct bytes checkpoint)
{
    if (!r->finished)
        replay_find_uncovered(r);
    r->finished = true;
    struct replay_summary s = {.outcome = OUTCOME_FALSE,
                               .test = r->test,
                               .n_entries = r->edge.size,
                               .n_true = r->n_true,
                               .n_quotes = r->n_quotes,
                               .n_hosts = count_hosts(r),
                               .n_boots = r->n_boots};
    TRY(find_reason(s.reason, r, checkpoint));
    if (s.reason[0] == '\0')
        s.outcome = r->ignored != 0 ? OUTCOME_NOT_A_PROOF : OUTCOME_TRUE;
    if (s.outcome == OUTCOME_NOT_A_PROOF)
        snprintf(s.reason, sizeof s.reason, "the policy ignores PCRs: not a proof");
    *out = s;
    replay_report(out, r);
    out->findings = r->findings;
    out->n_findings = r->n_findings;
    return err_ok();
}
