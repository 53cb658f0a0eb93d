/* GET /v1/models, /v1/models/<id>, /health, /metrics. */
#include <string.h>

#include "server/front_state.h"

enum { QUOTE_AGE_MIN_S = 30 }; /* below it no quote counts as late */

static json_t *model_object(const struct front *f)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:i}", "id", f->model->model_id, "object", "model",
                     "created", (json_int_t)f->started_s, "owned_by", "blindllama", "max_model_len",
                     (int)f->measurement.max_context);
}

void api_models(struct http_exchange *x, void *front)
{
    http_reply_json(x, 200,
                    json_pack("{s:s, s:[o]}", "object", "list", "data", model_object(front)));
}

void api_model(struct http_exchange *x, void *context)
{
    const struct front *f = context;
    if (strcmp(http_rest(x), f->model->model_id) == 0)
        http_reply_json(x, 200, model_object(f));
    else
        http_reply_error(x, 404, "model", "model_not_found",
                         "There is no such model here; this server has `%s`.", f->model->model_id);
}

/* Two quotes may be late, or a busy TPM slow: more means that it has stopped answering. */
static uint64_t quote_age_max_s(const struct front *f)
{
    uint64_t three = 3 * f->options->quote_interval_s;
    return three > QUOTE_AGE_MIN_S ? three : QUOTE_AGE_MIN_S;
}

/* As long as a quote may be late, what is logged may wait to be seen. */
static bool is_unseen(const struct front *f)
{
    return front_attester_waiting_s(f->attester) > quote_age_max_s(f);
}

static void reply_unseen(struct http_exchange *x, const struct front *f)
{
    const struct publishing *p = front_attester_publishing(f->attester);
    http_reply_error(x, 503, NULL, "no_quorum",
                     "The witnesses have not cosigned the log's last %llu entries, the oldest for "
                     "%llu seconds: clients who ask for them refuse this host. %s",
                     (unsigned long long)p->n_waiting,
                     (unsigned long long)front_attester_waiting_s(f->attester), p->trouble);
}

/* A log service that does not take what this host says, or shows another log than before. */
static bool reply_log_service(struct http_exchange *x, const struct front *f)
{
    const struct publishing *p = front_attester_publishing(f->attester);
    uint64_t age = front_attester_quote_age_s(f->attester);
    bool late = !front_attester_has_quoted(f->attester) || age > quote_age_max_s(f);
    if (!p->remote || (!p->alarm && !(late && (p->n_waiting > 0 || p->trouble[0] != '\0'))))
        return false;
    if (p->alarm)
        http_reply_error(x, 503, NULL, "log_alarm", "%s", p->trouble);
    else
        http_reply_error(x, 503, NULL, "no_log",
                         "The log service has taken no quote of this host for %llu seconds, so "
                         "nobody can verify it; %llu statements wait, the oldest for %llu seconds. "
                         "%s",
                         (unsigned long long)age, (unsigned long long)p->n_waiting,
                         (unsigned long long)front_attester_waiting_s(f->attester), p->trouble);
    return true;
}

/* What the log refused for good is no reason to send nobody here, and one to look. */
static void reply_well(struct http_exchange *x, const struct publishing *p)
{
    json_t *body = json_pack("{s:s}", "status", "ok");
    if (p->n_refused > 0)
        json_object_set_new(
            body, "log_refused",
            json_pack("{s:I, s:s}", "statements", (json_int_t)p->n_refused, "last", p->refused));
    http_reply_json(x, 200, body);
}

void api_health(struct http_exchange *x, void *context)
{
    const struct front *f = context;
    uint64_t age = front_attester_quote_age_s(f->attester);
    if (f->stopping)
        http_reply_error(x, 503, NULL, "stopping", "This server is about to stop.");
    else if (!front_attests(f))
        http_reply_error(x, 503, NULL, "no_tpm",
                         "The TPM of this host has failed; it serves on, and cannot prove what it "
                         "is. The last logged quote is %llu seconds old; the TPM is %s.",
                         (unsigned long long)age,
                         f->attester_gone ? "not tried again" : "tried again");
    else if (reply_log_service(x, f))
        return;
    else if (!front_attester_has_quoted(f->attester))
        http_reply_error(x, 503, NULL, "no_log", "The first quote of this host is on its way.");
    else if (age > quote_age_max_s(f))
        http_reply_error(x, 503, NULL, "no_quotes",
                         "The last logged quote is %llu seconds old, and there should be one every "
                         "%llu: the TPM does not answer, so this host cannot prove what it is.",
                         (unsigned long long)age, (unsigned long long)f->options->quote_interval_s);
    else if (!front_attester_publishing(f->attester)->remote && is_unseen(f))
        reply_unseen(x, f);
    else
        reply_well(x, front_attester_publishing(f->attester));
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP blindllama_%s %s\n# TYPE blindllama_%s counter\nblindllama_%s %llu\n",
               name, help, name, name, (unsigned long long)value);
}

static void gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    buf_printf(out, "# HELP blindllama_%s %s\n# TYPE blindllama_%s gauge\nblindllama_%s %llu\n",
               name, help, name, name, (unsigned long long)value);
}

/* A label's value: backslash, quote and newline are escaped (Prometheus exposition format). */
static void label(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            buf_append_u8(out, '\\');
        buf_append_u8(out, *value == '\n' ? ' ' : (uint8_t)*value);
    }
    buf_append_str(out, "\"");
}

static void http_metrics(struct buf *out, const struct http_stats *s)
{
    counter(out, "http_requests_total", "HTTP requests.", s->n_requests);
    buf_append_str(out, "# HELP blindllama_http_responses_total HTTP answers by class; a client "
                        "that left counts as 4xx.\n"
                        "# TYPE blindllama_http_responses_total counter\n");
    for (unsigned i = 2; i < 6; i++)
        buf_printf(out, "blindllama_http_responses_total{class=\"%uxx\"} %llu\n", i,
                   (unsigned long long)s->n_by_class[i]);
    counter(out, "http_clients_left_total", "Clients that left before their answer was whole.",
            s->n_left);
    counter(out, "http_clients_stalled_total", "Clients dropped because they did not read.",
            s->n_stalled);
    counter(out, "http_clients_timed_out_total", "Clients dropped because they sent too slowly.",
            s->n_timed_out);
    counter(out, "http_clients_evicted_total",
            "Connections dropped because others needed their place.", s->n_evicted);
    gauge(out, "http_connections", "Open connections.", s->n_connections);
}

static void engine_metrics(struct buf *out, const struct engine_stats *s)
{
    counter(out, "engine_steps_total", "Steps of the engine.", s->n_steps);
    counter(out, "prompt_tokens_total", "Prompt tokens processed.", s->n_prompt_tokens);
    counter(out, "generation_tokens_total", "Tokens generated.", s->n_generated_tokens);
    counter(out, "requests_finished_total", "Requests that the engine finished.", s->n_finished);
    gauge(out, "num_requests_running", "Requests in the batch.", s->n_running);
    gauge(out, "num_requests_waiting", "Requests that wait.", s->n_waiting);
    gauge(out, "requests_waiting_bytes", "Memory of the requests that wait.", s->waiting_bytes);
    gauge(out, "kv_pages", "Pages of the KV cache.", s->n_pages);
    gauge(out, "kv_pages_used", "Pages of the KV cache in use.", s->n_pages_used);
    gauge(out, "kv_pages_cached", "Pages of the KV cache kept for clients with a cache salt.",
          s->n_pages_cached);
    counter(out, "preemptions_total", "Requests that gave up their pages to be recomputed.",
            s->n_preempted);
    counter(out, "prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
            s->n_prefix_queries);
    counter(out, "prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
            s->n_prefix_hits);
    counter(out, "prefix_cache_evicted_pages_total", "Cached pages zeroed to make room.",
            s->n_evicted);
    counter(out, "prefix_cache_expired_pages_total", "Cached pages zeroed because of their age.",
            s->n_expired);
}

static void add_stats(struct engine_stats *sum, const struct engine_stats *s)
{
    sum->n_steps += s->n_steps;
    sum->n_prompt_tokens += s->n_prompt_tokens;
    sum->n_generated_tokens += s->n_generated_tokens;
    sum->n_finished += s->n_finished;
    sum->n_running += s->n_running;
    sum->n_waiting += s->n_waiting;
    sum->n_pages += s->n_pages;
    sum->n_pages_used += s->n_pages_used;
    sum->n_pages_cached += s->n_pages_cached;
    sum->n_preempted += s->n_preempted;
    sum->n_prefix_queries += s->n_prefix_queries;
    sum->n_prefix_hits += s->n_prefix_hits;
    sum->n_evicted += s->n_evicted;
    sum->n_expired += s->n_expired;
}

/* One line for each GPU. */
static void gpu_metric(struct buf *out, const struct engine_group *g, const uint64_t *values,
                       const char *type, const char *name, const char *help)
{
    buf_printf(out, "# HELP blindllama_gpu_%s %s\n# TYPE blindllama_gpu_%s %s\n", name, help, name,
               type);
    for (size_t i = 0; i < engine_group_count(g); i++) {
        buf_printf(out, "blindllama_gpu_%s{", name);
        label(out, "uuid", engine_info(engine_group_at(g, i))->gpu_uuid);
        buf_printf(out, "} %llu\n", (unsigned long long)values[i]);
    }
}

static void engines_metrics(struct buf *out, const struct engine_group *g)
{
    enum { MAX = ENGINE_GROUP_MAX };
    struct engine_stats sum = {0}, s;
    uint64_t works[MAX], running[MAX], waiting[MAX], tokens[MAX], pages[MAX];
    for (size_t i = 0; i < engine_group_count(g); i++) {
        engine_stats(engine_group_at(g, i), &s);
        add_stats(&sum, &s);
        works[i] = !s.stopped;
        running[i] = s.n_running;
        waiting[i] = s.n_waiting;
        tokens[i] = s.n_generated_tokens;
        pages[i] = s.n_pages_used;
    }
    engine_metrics(out, &sum);
    if (engine_info(engine_group_at(g, 0))->gpu_uuid[0] == '\0')
        return;
    gpu_metric(out, g, works, "gauge", "works", "Whether the GPU has not failed.");
    gpu_metric(out, g, running, "gauge", "requests_running", "Requests in the GPU's batch.");
    gpu_metric(out, g, waiting, "gauge", "requests_waiting", "Requests that wait for the GPU.");
    gpu_metric(out, g, tokens, "counter", "generation_tokens_total", "Tokens generated.");
    gpu_metric(out, g, pages, "gauge", "kv_pages_used", "Pages of the GPU's KV cache in use.");
}

static void publishing_metrics(struct buf *out, const struct front_attester *a)
{
    const struct publishing *p = front_attester_publishing(a);
    if (!p->on)
        return;
    gauge(out, "log_entries_waiting",
          "Entries that the witnesses have not cosigned, or the log "
          "service has not taken.",
          p->n_waiting);
    gauge(out, "log_oldest_waiting_seconds", "How long the oldest of those waits.",
          front_attester_waiting_s(a));
    if (p->remote)
        gauge(out, "log_statements_refused",
              "Statements that the log service refused for good, set aside in log.queue.",
              p->n_refused);
    counter(out, "log_alarms_total",
            "Times that a witness, or the log service, showed another log than before.",
            p->n_alarms);
}

void api_metrics(struct http_exchange *x, void *context)
{
    struct front *f = context;
    BUF_AUTO out = BUF_INIT;
    buf_append_str(&out, "# HELP blindllama_info What serves.\n"
                         "# TYPE blindllama_info gauge\nblindllama_info{");
    label(&out, "version", BL_VERSION);
    buf_append_str(&out, ",");
    label(&out, "model", f->model->model_id);
    buf_append_str(&out, ",");
    label(&out, "numerics", f->model->numerics);
    buf_append_str(&out, ",");
    label(&out, "device", f->model->device[0] != '\0' ? f->model->device : "cpu");
    buf_append_str(&out, ",");
    label(&out, "system_fingerprint", f->fingerprint);
    buf_append_str(&out, "} 1\n");
    gauge(&out, "tpm_works", "Whether this host can still prove what it is.", front_attests(f));
    const struct front_attester_counts tpm = front_attester_counts(f->attester);
    counter(&out, "tpm_failures_total", "Times that the TPM has failed.", tpm.n_failures);
    counter(&out, "tpm_recoveries_total", "Times that it came back and was measured again.",
            tpm.n_recoveries);
    gauge(&out, "quote_age_seconds", "Seconds since the last quote in the log.",
          front_attester_quote_age_s(f->attester));
    publishing_metrics(&out, f->attester);
    http_metrics(&out, http_server_stats(f->http));
    engines_metrics(&out, f->engines);
    http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_bytes(&out));
}
