/* Evidence of a fake host, and the policy that fits it. */
#include "fake_internal.h"

#include <stdio.h>
#include <string.h>

static void add_entry(struct fake_world *w, struct evidence *out, uint64_t index)
{
    struct merkle_proof proof;
    fake_inclusion(w, &proof, index, w->n_entries);
    evidence_add_statement(out, index, buf_bytes(&w->entries[index]), &proof);
}

static void add_head(struct fake_world *w, struct evidence *out, uint64_t size)
{
    BUF_AUTO note = BUF_INIT;
    struct merkle_proof proof;
    fake_checkpoint(w, &note, size);
    fake_consistency(w, &proof, size);
    evidence_add_head(out, buf_bytes(&note), &proof);
}

static void add_ref(struct fake_world *w, struct evidence *out, const struct blob_ref *ref)
{
    BUF_AUTO blob = BUF_INIT;
    if (!is_err(fake_blob(w, ref->sha256, &blob)))
        evidence_add_blob(out, buf_bytes(&blob));
}

static void add_blobs(struct fake_world *w, struct evidence *out, uint64_t index)
{
    struct statement s;
    if (is_err(statement_parse(&s, buf_bytes(&w->entries[index]))))
        return;
    if (s.kind == STATEMENT_IDENTITY)
        add_ref(w, out, &s.identity.runtime_log);
    if (s.kind == STATEMENT_BOOT && s.boot.has_event_log)
        add_ref(w, out, &s.boot.event_log);
    for (size_t i = 0; s.kind == STATEMENT_BOOT && i < s.boot.n_gpus; i++)
        add_ref(w, out, &s.boot.gpus[i].chain);
    if (s.kind != STATEMENT_HOST)
        return;
    add_ref(w, out, &s.host.ak_public);
    add_ref(w, out, s.host.ak_certified ? &s.host.ak_certificate : &s.host.ek_certificate);
    for (size_t i = 0; i < s.host.n_chain; i++)
        add_ref(w, out, &s.host.chain[i]);
    for (size_t i = 0; i < s.host.n_activations; i++)
        add_ref(w, out, &s.host.activations[i]);
}

static uint64_t logged_head(struct fake_world *w, uint64_t index)
{
    struct statement s;
    if (is_err(statement_parse(&s, buf_bytes(&w->entries[index]))))
        return w->n_entries;
    uint64_t size = s.quote.context.head_size;
    return size > 0 && size <= w->n_entries ? size : w->n_entries;
}

/* Three nonces that came together; the caller's is the second. */
static void nonce_tree(struct quote_context *c, struct merkle_proof *proof,
                       const uint8_t nonce[NONCE_LEN])
{
    const uint8_t other[NONCE_LEN] = {7};
    struct merkle_hash leaves[3] = {merkle_leaf(bytes_of(other, NONCE_LEN)),
                                    merkle_leaf(bytes_of(nonce, NONCE_LEN)),
                                    merkle_leaf(bytes_of(other, NONCE_LEN))};
    c->n_nonces = 3;
    c->nonce_root = merkle_root(leaves, 3);
    proof->n_hashes = 2;
    proof->hashes[0] = leaves[0];
    proof->hashes[1] = leaves[2];
}

void fake_evidence(struct fake_world *w, unsigned host, struct evidence *out,
                   const uint8_t nonce[NONCE_LEN])
{
    struct fake_host *h = &w->hosts[host];
    h->clock_ms += 2000;
    struct quote_context c = {.kind = QUOTE_DEMAND};
    struct merkle_proof nonce_proof;
    nonce_tree(&c, &nonce_proof, nonce);
    struct statement s = {.kind = STATEMENT_QUOTE, .ak_name = h->ak_name};
    fake_make_quote(w, h, FAKE_DEMAND, &s, &c);
    fake_run(w, FAKE_STATEMENT, FAKE_DEMAND, &s);
    BUF_AUTO quote = BUF_INIT;
    statement_format(&quote, &s);
    fake_run(w, FAKE_TEXT, FAKE_DEMAND, &quote);
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    evidence_set_checkpoint(out, buf_bytes(&note));
    const uint64_t entries[] = {h->host_index, h->boot_index, h->identity_index, h->quote_index};
    for (size_t i = 0; i < 4; i++) {
        add_entry(w, out, entries[i]);
        add_blobs(w, out, entries[i]);
    }
    if (h->first_host_index != h->host_index) {
        add_entry(w, out, h->first_host_index);
        add_blobs(w, out, h->first_host_index);
    }
    uint64_t logged = logged_head(w, h->quote_index);
    uint64_t live = c.head_size > 0 && c.head_size <= w->n_entries ? c.head_size : w->n_entries;
    add_head(w, out, logged);
    if (live != logged)
        add_head(w, out, live);
    evidence_set_quote(out, buf_bytes(&quote), 1, &nonce_proof);
    for (size_t i = 0; i < s.quote.n_gpu_reports; i++)
        add_ref(w, out, &s.quote.gpu_reports[i]);
    fake_run(w, FAKE_EVIDENCE, FAKE_DEMAND, out);
}

static void append_hash_line(struct buf *out, const char *key, struct bytes data)
{
    uint8_t hash[SHA256_LEN];
    sha256(hash, data);
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(hash, SHA256_LEN));
    buf_append_str(out, "\n");
}

static void append_key_line(struct buf *out, const char *key, const struct note_key *vkey)
{
    buf_printf(out, "%s ", key);
    note_vkey_format(out, vkey);
    buf_append_str(out, "\n");
}

/* The policy for what host 0 measured, or would. */
void fake_policy_text(struct fake_world *w, struct buf *out)
{
    BUF_AUTO model = BUF_INIT, code = BUF_INIT, name = BUF_INIT;
    lane_manifest(&model, &w->hosts[0].runtime_log, PCR_MODEL);
    lane_manifest(&code, &w->hosts[0].runtime_log, PCR_CODE);
    buf_append_str(out, "blindllama-policy/v1\n# for tests\n\n");
    append_key_line(out, "log", &w->log.key);
    buf_append_str(out, "quorum none\nrelease none\n");
    append_hash_line(out, "test-tpm-root", buf_bytes(&w->root_certificate));
    if (w->certified != NULL)
        append_hash_line(out, "test-ak-root gcp", buf_bytes(&w->root_certificate));
    append_key_line(out, "activator", &w->activator.key);
    buf_append_str(out, "activators 1\n");
    buf_printf(&name, "model %s", w->model_id);
    append_hash_line(out, buf_str(&name), buf_bytes(&model));
    append_hash_line(out, "code fake-code", buf_bytes(&code));
    unsigned n_explained = w->has_event_log ? FAKE_EVENT_PCRS : 0;
    for (unsigned i = 0; i < n_explained * FAKE_EVENTS; i++) {
        char text[32], key[32];
        unsigned pcr = i % FAKE_EVENT_PCRS;
        snprintf(key, sizeof key, "boot-event %u", pcr);
        append_hash_line(out, key, fake_event(text, pcr, i / FAKE_EVENT_PCRS));
    }
    for (unsigned i = n_explained; i < N_BOOT_PCRS; i++) {
        buf_printf(out, "boot-pcr %u ", i);
        for (unsigned k = 0; k < SHA256_LEN; k++)
            buf_printf(out, "%02x", 0xa0 + i);
        buf_append_str(out, "\n");
    }
    if (w->gpu_policy)
        fake_gpu_policy(w, out);
    buf_append_str(out, "max-interval 300\nmax-age 600\n");
    fake_run(w, FAKE_POLICY, FAKE_HOST, out);
}
