/* A fake host's statements, as an attester would log them. */
#include "fake_internal.h"

#include <string.h>

/* Signs and copies both into a statement's arrays. */
static void finish_attest(struct fake_world *w, struct fake_host *h, enum fake_what what,
                          struct buf *attest, uint8_t *attest_out, size_t *attest_len,
                          uint8_t *signature_out, size_t *signature_len)
{
    fake_run(w, FAKE_ATTEST, what, attest);
    BUF_AUTO signature = BUF_INIT;
    fake_sign(&signature, h->ak, buf_bytes(attest));
    fake_run(w, FAKE_SIGNATURE, what, &signature);
    memcpy(attest_out, attest->data, attest->len);
    *attest_len = attest->len;
    memcpy(signature_out, signature.data, signature.len);
    *signature_len = signature.len;
}

static uint64_t log_statement(struct fake_world *w, enum fake_what what, struct statement *s)
{
    fake_run(w, FAKE_STATEMENT, what, s);
    BUF_AUTO text = BUF_INIT;
    statement_format(&text, s);
    fake_run(w, FAKE_TEXT, what, &text);
    return fake_append(w, buf_bytes(&text));
}

static void refer(struct fake_world *w, struct blob_ref *out, struct bytes blob)
{
    blob_ref_of(out, blob);
    fake_add_blob(w, blob);
}

static void activate(struct fake_world *w, struct fake_host *h, struct buf *note)
{
    struct activation a = {.ak_name = h->ak_name, .time_s = 1700000000};
    strcpy(a.origin, w->log.key.name);
    sha256(a.ek_certificate, buf_bytes(&h->ek_certificate));
    fake_run(w, FAKE_ACTIVATION, FAKE_HOST, &a);
    BUF_AUTO text = BUF_INIT;
    activation_format(&text, &a);
    fake_must(note_sign(note, buf_bytes(&text), &w->activator));
}

uint64_t fake_log_host(struct fake_world *w, unsigned host, bool activated)
{
    struct fake_host *h = &w->hosts[host];
    struct statement s = {.kind = STATEMENT_HOST, .ak_name = h->ak_name};
    refer(w, &s.host.ak_public, buf_bytes(&h->ak_public));
    s.host.ak_certified = h->ak_certificate.len > 0;
    if (s.host.ak_certified)
        refer(w, &s.host.ak_certificate, buf_bytes(&h->ak_certificate));
    else
        refer(w, &s.host.ek_certificate, buf_bytes(&h->ek_certificate));
    refer(w, &s.host.chain[s.host.n_chain++], buf_bytes(&w->root_certificate));
    if (activated && !s.host.ak_certified) {
        BUF_AUTO note = BUF_INIT;
        activate(w, h, &note);
        refer(w, &s.host.activations[s.host.n_activations++], buf_bytes(&note));
    }
    uint64_t index = log_statement(w, FAKE_HOST, &s);
    h->first_host_index = h->host_logged ? h->first_host_index : index;
    h->host_logged = true;
    return h->host_index = index;
}

uint64_t fake_log_boot(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    struct statement s = {.kind = STATEMENT_BOOT, .ak_name = h->ak_name};
    struct statement_boot *b = &s.boot;
    memcpy(b->boot_id, h->boot_id, BOOT_ID_LEN);
    b->reset_count = h->reset_count;
    b->restart_count = h->restart_count;
    b->counter_index = h->counter_index;
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-boot/v1\n");
    buf_append_hex(&text, bytes_of(h->boot_id, BOOT_ID_LEN));
    uint8_t extra[SHA256_LEN];
    sha256(extra, buf_bytes(&text));
    BUF_AUTO attest = BUF_INIT;
    fake_attest_counter(&attest, h, extra);
    finish_attest(w, h, FAKE_BOOT, &attest, b->attest, &b->attest_len, b->signature,
                  &b->signature_len);
    h->clock_ms += 10;
    if (w->has_event_log) {
        BUF_AUTO events = BUF_INIT;
        buf_append_bytes(&events, buf_bytes(&h->event_log));
        fake_run(w, FAKE_EVENT_LOG, FAKE_BOOT, &events);
        b->has_event_log = true;
        refer(w, &b->event_log, buf_bytes(&events));
    }
    fake_say_gpus(w, b);
    return h->boot_index = log_statement(w, FAKE_BOOT, &s);
}

static void runtime_log_text(struct buf *out, const struct runtime_log *log)
{
    runtime_log_format_header(out);
    for (size_t i = 0; i < log->n_records; i++)
        runtime_log_format_record(out, log->records[i].pcr, log->records[i].kind,
                                  log->records[i].data);
}

uint64_t fake_log_identity(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    struct statement s = {.kind = STATEMENT_IDENTITY, .ak_name = h->ak_name};
    memcpy(s.identity.boot_id, h->boot_id, BOOT_ID_LEN);
    memcpy(s.identity.spki_sha256, h->spki_sha256, SHA256_LEN);
    BUF_AUTO text = BUF_INIT;
    runtime_log_text(&text, &h->runtime_log);
    refer(w, &s.identity.runtime_log, buf_bytes(&text));
    return h->identity_index = log_statement(w, FAKE_IDENTITY, &s);
}

void fake_make_quote(struct fake_world *w, struct fake_host *h, enum fake_what what,
                     struct statement *s, struct quote_context *c)
{
    c->ak_name = h->ak_name;
    memcpy(c->boot_id, h->boot_id, BOOT_ID_LEN);
    strcpy(c->origin, w->log.key.name);
    c->head_size = w->n_entries;
    c->head_root = merkle_root(w->leaves, w->n_entries);
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    sha256(c->head_note, buf_bytes(&note));
    fake_add_blob(w, buf_bytes(&note));
    c->has_previous = h->has_previous;
    c->previous_index = h->previous_index;
    c->previous_leaf = h->previous_leaf;
    memcpy(c->spki_sha256, h->spki_sha256, SHA256_LEN);
    c->period = h->period;
    c->time_s = 1700000000 + h->clock_ms / 1000;
    fake_run(w, FAKE_CONTEXT, what, c);
    BUF_AUTO text = BUF_INIT;
    context_format(&text, c);
    struct statement_quote *q = &s->quote;
    memcpy(q->context_text, text.data, text.len);
    q->context_len = text.len;
    q->context = *c;
    q->pcrs = h->pcrs;
    uint8_t extra[SHA256_LEN];
    context_hash(extra, buf_bytes(&text));
    BUF_AUTO attest = BUF_INIT;
    fake_attest_quote(&attest, h, extra);
    if (what != FAKE_STOP)
        fake_add_reports(w, what, q, extra);
    finish_attest(w, h, what, &attest, q->attest, &q->attest_len, q->signature, &q->signature_len);
}

static uint64_t log_quote(struct fake_world *w, struct fake_host *h, enum fake_what what,
                          struct statement *s)
{
    struct quote_context c = {.kind = what == FAKE_STOP ? QUOTE_STOP : QUOTE_PERIODIC};
    h->clock_ms += w->quote_interval_s * 1000;
    s->ak_name = h->ak_name;
    fake_make_quote(w, h, what, s, &c);
    h->quote_index = log_statement(w, what, s);
    h->has_previous = true;
    h->previous_index = h->quote_index;
    h->previous_leaf = w->leaves[h->quote_index];
    h->period++;
    return h->quote_index;
}

uint64_t fake_log_quote(struct fake_world *w, unsigned host)
{
    struct statement s = {.kind = STATEMENT_QUOTE};
    return log_quote(w, &w->hosts[host], FAKE_PERIODIC, &s);
}

uint64_t fake_log_stop(struct fake_world *w, unsigned host, uint64_t max_duration_s)
{
    struct statement s = {.kind = STATEMENT_STOP};
    s.quote.max_duration_s = max_duration_s;
    return log_quote(w, &w->hosts[host], FAKE_STOP, &s);
}

void fake_start(struct fake_world *w, unsigned host)
{
    fake_reset(w, host);
    fake_measure(w, host);
    fake_new_key(w, host);
    fake_log_host(w, host, true);
    fake_log_boot(w, host);
    fake_log_identity(w, host);
    fake_log_quote(w, host);
}
