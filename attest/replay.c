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
        rule_gpus_cleanup(&r->hosts[i].boot.gpus);
        free(r->hosts[i].boot_ids);
    }
    free(r->hosts);
    free(r->eks);
    free(r->verdicts);
    free(r->findings);
    free(r->models);
    free(r->codes);
    free(r->roots);
    free(r->heads);
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

static void set_reason(char reason[REPLAY_TEXT_MAX], const struct finding *f)
{
    if (reason[0] == '\0')
        snprintf(reason, REPLAY_TEXT_MAX, "entry %llu, %s: %.440s", (unsigned long long)f->index,
                 f->code, f->text);
}

/* How many are listed is bounded for each host, so that none makes room scarce for others. */
static void list_finding(struct replay *r, struct replay_host *host, const struct finding *f)
{
    static const char text[] = "further findings are not listed";
    size_t n = host != NULL ? ++host->n_findings : 0;
    bool last_of_all = r->n_findings == REPLAY_FINDINGS_MAX - 1;
    if (r->n_findings == REPLAY_FINDINGS_MAX || n > REPLAY_HOST_FINDINGS_MAX)
        return;
    if (n < REPLAY_HOST_FINDINGS_MAX && !last_of_all) {
        add_finding(r, f);
        return;
    }
    struct finding more = {.severity = FINDING_WARNING, .code = "MORE", .index = f->index};
    memcpy(more.text, text, sizeof text);
    if (!last_of_all)
        memcpy(more.host, f->host, sizeof more.host);
    add_finding(r, &more);
}

void replay_find(struct replay *r, struct replay_host *host, enum finding_severity severity,
                 const char *code, uint64_t index, const char *format, ...)
{
    struct finding f = {.severity = severity, .code = code, .index = index};
    char text[REPLAY_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report_clean(f.text, sizeof f.text, text);
    if (host != NULL)
        replay_host_name(f.host,
                         host->facts.known ? &host->facts.ak_name : &host->surveyed.ak_name);
    if (severity == FINDING_ERROR)
        set_reason(host != NULL ? host->reason : r->log_reason, &f);
    list_finding(r, host, &f);
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

struct err replay_verified_head(struct replay *r, uint64_t size,
                                const uint8_t note_sha256[SHA256_LEN])
{
    if (r->n_heads > 0 && r->heads[r->n_heads - 1].size >= size)
        return err_set(ERR_USAGE, "a head of size %llu behind a larger one",
                       (unsigned long long)size);
    if (r->n_heads == r->heads_capacity) {
        size_t capacity = r->heads_capacity == 0 ? 1024 : 2 * r->heads_capacity;
        struct replay_head *heads = realloc(r->heads, capacity * sizeof *heads);
        if (heads == NULL)
            return err_set(ERR_MEMORY, "out of memory for %zu heads", capacity);
        r->heads = heads;
        r->heads_capacity = capacity;
    }
    struct replay_head *head = &r->heads[r->n_heads++];
    head->size = size;
    memcpy(head->note_sha256, note_sha256, SHA256_LEN);
    return err_ok();
}

static int compare_sizes(const void *a, const void *b)
{
    uint64_t x = ((const struct replay_head *)a)->size, y = ((const struct replay_head *)b)->size;
    return x < y ? -1 : x > y;
}

bool replay_head_is_verified(const struct replay *r, uint64_t size,
                             const uint8_t note_sha256[SHA256_LEN])
{
    const struct replay_head wanted = {.size = size}, *found = NULL;
    if (r->n_heads > 0)
        found = bsearch(&wanted, r->heads, r->n_heads, sizeof wanted, compare_sizes);
    return found != NULL && memcmp(found->note_sha256, note_sha256, SHA256_LEN) == 0;
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
    replay_host_name(line->host, &s->ak_name);
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

/* What is no statement is nobody's, and no log service takes it: it is the log that is false. */
static void blame(const struct replay_entry_now *now, const struct replay_line *line)
{
    struct replay *r = now->r;
    char reason[REPLAY_TEXT_MAX];
    snprintf(reason, sizeof reason, "entry %llu, rule %s: %.440s", (unsigned long long)now->index,
             line->code, line->text);
    char *of = !line->parsed       ? r->log_reason
               : now->host != NULL ? now->host->reason
                                   : r->others.reason;
    if (of[0] == '\0')
        memcpy(of, reason, sizeof reason);
    if (r->reason[0] == '\0')
        memcpy(r->reason, reason, sizeof reason);
}

/* The line of an entry that was judged, and what it changes in the whole. */
static void settle(struct replay_line *line, struct replay_entry_now *now, bool is_true)
{
    struct replay *r = now->r;
    line->status = is_true ? RULE_TRUE : RULE_FALSE;
    line->code = is_true ? "" : now->code;
    report_clean(line->text, sizeof line->text, is_true ? now->fact : err_message());
    if (line->parsed && now->host != NULL)
        now->host->n_entries++;
    else if (line->parsed)
        r->others.n_entries++;
    if (!is_true) {
        blame(now, line);
        return;
    }
    r->n_true++;
    r->owners[now->index] = (int32_t)(now->host - r->hosts);
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
    if (line->parsed && now.host == NULL) /* its reason is still to be told */
        TRY(replay_stranger_make(r, &now.host, &s.ak_name));
    settle(line, &now, !is_err(e));
    merkle_edge_append(&r->edge, &now.leaf);
    r->roots[r->edge.size] = merkle_edge_root(&r->edge);
    return err_ok();
}

struct err replay_finish(struct replay *r, struct replay_summary *out, struct bytes checkpoint)
{
    if (!r->finished)
        replay_find_uncovered(r);
    r->finished = true;
    struct replay_summary s = {.outcome = OUTCOME_FALSE,
                               .log = OUTCOME_FALSE,
                               .n_entries = r->edge.size,
                               .n_true = r->n_true,
                               .n_quotes = r->n_quotes,
                               .n_boots = r->n_boots};
    TRY(replay_judge(&s, r, checkpoint));
    *out = s;
    replay_report(out, r);
    out->findings = r->findings;
    out->n_findings = r->n_findings;
    return err_ok();
}
