/*
 * The audit for machines: {"entries":[..],"findings":[..],"hosts":[..],"log":"true|false",
 * "outcome":"true|partly|false|not-a-proof",...}.
 */
#include <stdlib.h>

#include <jansson.h>

#include "auditor/audit.h"

struct audit_json {
    json_t *entries;
};

/* Every text is printable ASCII, so that only out of memory can make jansson fail. */
static json_t *must(json_t *value)
{
    if (value == NULL)
        abort();
    return value;
}

static void must_append(json_t *list, json_t *value)
{
    if (json_array_append_new(list, must(value)) != 0)
        abort();
}

struct audit_json *audit_json_new(void)
{
    struct audit_json *j = malloc(sizeof *j);
    if (j == NULL)
        abort();
    j->entries = must(json_array());
    return j;
}

void audit_json_free(struct audit_json *j)
{
    if (j == NULL)
        return;
    json_decref(j->entries);
    free(j);
}

void audit_json_entry(struct audit_json *j, const struct replay_line *line)
{
    must_append(j->entries, json_pack("{s:I,s:s,s:s,s:b,s:s,s:s}", "index", (json_int_t)line->index,
                                      "kind", line->parsed ? statement_kind_name(line->kind) : "",
                                      "host", line->host, "true", (int)(line->status == RULE_TRUE),
                                      "rule", line->code, "text", line->text));
}

static json_t *findings(const struct replay_summary *s)
{
    static const char *const names[] = {"note", "warning", "error"};
    json_t *list = must(json_array());
    for (size_t i = 0; i < s->n_findings; i++)
        must_append(list,
                    json_pack("{s:s,s:s,s:s,s:I,s:s}", "severity", names[s->findings[i].severity],
                              "code", s->findings[i].code, "host", s->findings[i].host, "entry",
                              (json_int_t)s->findings[i].index, "text", s->findings[i].text));
    return list;
}

static const char *const outcomes[] = {"false", "true", "not-a-proof"};

static json_t *host(const struct replay_verdict *v)
{
    BUF_AUTO name = BUF_INIT;
    buf_append_hex(&name, bytes_of(v->ak_name.bytes, v->ak_name.len));
    return must(json_pack("{s:s,s:s,s:s,s:b,s:s,s:I,s:I,s:I}", "host", v->host, "ak_name",
                          buf_str(&name), "outcome", v->counted ? outcomes[v->outcome] : "no-quote",
                          "test", (int)v->test, "reason", v->reason, "n_entries",
                          (json_int_t)v->n_entries, "n_boots", (json_int_t)v->n_boots, "n_quotes",
                          (json_int_t)v->n_quotes));
}

static json_t *hosts(const struct replay_summary *s)
{
    json_t *list = must(json_array());
    for (size_t i = 0; i < s->n_verdicts; i++)
        must_append(list, host(&s->hosts[i]));
    return list;
}

static json_t *sentences(const char (*texts)[256], size_t n)
{
    json_t *list = must(json_array());
    for (size_t i = 0; i < n; i++)
        must_append(list, json_string(texts[i]));
    return list;
}

static int append_text(const char *text, size_t len, void *out)
{
    buf_append(out, text, len);
    return 0;
}

void audit_json_end(struct buf *out, struct audit_json *j, const struct audit *a)
{
    const struct replay_summary *s = &a->summary;
    const char *outcome = audit_is_partly_true(a) ? "partly" : outcomes[audit_outcome(a)];
    json_t *root =
        must(json_pack("{s:o,s:o,s:o,s:s,s:s,s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "entries",
                       j->entries, "findings", findings(s), "hosts", hosts(s), "log",
                       outcomes[a->fault[0] != '\0' ? OUTCOME_FALSE : s->log], "outcome", outcome,
                       "test", (int)s->test, "reason", a->fault[0] != '\0' ? a->fault : s->reason,
                       "n_entries", (json_int_t)a->size, "n_true", (json_int_t)s->n_true, "n_hosts",
                       (json_int_t)s->n_hosts, "n_boots", (json_int_t)s->n_boots, "n_quotes",
                       (json_int_t)s->n_quotes, "proven", sentences(s->proven, s->n_proven),
                       "not_proven", sentences(s->not_proven, s->n_not_proven)));
    if (json_dump_callback(root, append_text, out, JSON_COMPACT) != 0)
        abort();
    buf_append_str(out, "\n");
    json_decref(root);
    free(j);
}
