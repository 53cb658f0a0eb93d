/*
 * Evidence bundles (docs/FORMATS.md section 4). All nonces that wait are leaves of one RFC 6962
 * tree under one TPM2_Quote; what does not change from quote to quote is put together once per
 * head.
 */
#include "server/attester_internal.h"

#include <stdlib.h>
#include <string.h>

/* All complete subtrees over the nonces, for paths: level l has n >> l hashes. */
struct nonce_tree {
    struct merkle_hash *levels[16]; /* NONCES_MAX is 2^14 */
    size_t n;
};

static void nonce_tree_cleanup(struct nonce_tree *t)
{
    for (size_t l = 0; l < sizeof t->levels / sizeof t->levels[0]; l++)
        free(t->levels[l]);
}

static struct err nonce_tree_build(struct nonce_tree *t, const struct nonce_request *requests,
                                   size_t n)
{
    t->n = n;
    for (unsigned l = 0; n >> l > 0; l++) {
        t->levels[l] = calloc(n >> l, sizeof *t->levels[l]);
        if (!t->levels[l])
            return err_set(ERR_MEMORY, "out of memory for %zu nonces", n);
        for (size_t i = 0; i < n >> l; i++)
            t->levels[l][i] =
                l == 0 ? merkle_leaf(bytes_of(requests[i].nonce, NONCE_LEN))
                       : merkle_node(&t->levels[l - 1][2 * i], &t->levels[l - 1][2 * i + 1]);
    }
    return err_ok();
}

static struct err nonce_source(void *context, unsigned level, uint64_t index,
                               struct merkle_hash *out)
{
    const struct nonce_tree *t = context;
    if (level >= sizeof t->levels / sizeof t->levels[0] || index >= t->n >> level)
        return err_set(ERR_USAGE, "the nonce tree has no such subtree");
    *out = t->levels[level][index];
    return err_ok();
}

static struct err add_statement(struct attester *a, uint64_t index)
{
    BUF_AUTO text = BUF_INIT;
    struct merkle_proof proof;
    TRY(store_entry_read(a->log, index, &text));
    TRY(store_prove_inclusion(a->log, &proof, index, a->shown.head.size));
    evidence_add_statement(&a->evidence, index, buf_bytes(&text), &proof);
    return err_ok();
}

static struct err add_head(struct attester *a, uint64_t size)
{
    BUF_AUTO note = BUF_INIT;
    struct merkle_proof proof;
    TRY(store_checkpoint_at(a->log, size, &note));
    TRY(store_prove_consistency(a->log, &proof, size, a->shown.head.size));
    evidence_add_head(&a->evidence, buf_bytes(&note), &proof);
    return err_ok();
}

/* Those that the boot statement names: the event log's file may be another one since. */
static struct err add_boot_blobs(struct attester *a)
{
    struct blob_ref refs[STATEMENT_BLOBS_MAX];
    const struct statement boot = {.kind = STATEMENT_BOOT, .boot = a->shown.history.boot};
    size_t n = attester_statement_blobs(refs, &boot);
    for (size_t i = 0; i < n; i++) {
        BUF_AUTO blob = BUF_INIT;
        TRY(attester_blob(a, refs[i].sha256, &blob));
        evidence_add_blob(&a->evidence, buf_bytes(&blob));
    }
    return err_ok();
}

static struct err add_activations(struct attester *a)
{
    const struct statement_host *host = &a->shown.history.host;
    for (size_t i = 0; i < host->n_activations; i++) {
        BUF_AUTO note = BUF_INIT;
        TRY(attester_blob(a, host->activations[i].sha256, &note));
        evidence_add_blob(&a->evidence, buf_bytes(&note));
    }
    return err_ok();
}

static void add_blobs(struct attester *a)
{
    BUF_AUTO runtime = BUF_INIT;
    attester_runtime_text(&runtime, a, a->lanes.n_identities);
    evidence_add_blob(&a->evidence, buf_bytes(&a->ak_public));
    evidence_add_blob(&a->evidence, attester_certificate(a));
    for (size_t i = 0; i < a->n_chain; i++)
        evidence_add_blob(&a->evidence, buf_bytes(&a->chain[i]));
    evidence_add_blob(&a->evidence, buf_bytes(&runtime));
}

/* The head that is shown is also the one that the live quote names. */
static struct err build(struct attester *a)
{
    TRY(attester_choose_shown(a));
    const struct history *h = &a->shown.history;
    evidence_set_checkpoint(&a->evidence, buf_bytes(&a->shown.note));
    TRY(add_statement(a, h->host_index));
    TRY(add_statement(a, h->boot_index));
    TRY(add_statement(a, h->identity_index));
    TRY(add_statement(a, h->quote_index));
    TRY(add_head(a, h->quote_head_size));
    TRY(add_head(a, a->shown.head.size));
    TRY(add_boot_blobs(a));
    TRY(add_activations(a));
    add_blobs(a);
    return err_ok();
}

/* The last logged quote must rest on everything that the bundle shows: after a new host or boot
 * statement, that takes a new one. */
static struct err refresh(struct attester *a)
{
    const struct history *h = &a->history;
    TRY(attester_ensure_boot(a));
    if (a->remote.on)
        return err_ok(); /* it is put together when the service has answered */
    if (h->quote_index < h->host_index || h->quote_index < h->boot_index)
        TRY(attester_log_quote(a));
    return a->evidence.n_statements > 0 ? err_ok() : build(a);
}

/* `json` holds what all bundles of this quote begin with; here it ends in turn as each of them. */
static struct err send_bundle(const struct attester *a, const struct nonce_request *request,
                              size_t index, struct nonce_tree *tree, struct buf *json)
{
    struct merkle_proof path;
    size_t shared_len = json->len;
    TRY(merkle_prove_inclusion(&path, index, tree->n, nonce_source, tree));
    evidence_format_nonce(json, index, &path);
    if (json->len > EVIDENCE_MAX)
        return err_set(ERR_LIMIT, "the evidence has %zu bytes, more than verifiers take",
                       json->len);
    struct err e = channel_send(a->channel, CHANNEL_EVIDENCE, request->id, buf_bytes(json));
    json->len = shared_len;
    return e;
}

static bool can_show(const struct attester *a)
{
    return !a->remote.on || (!a->publishing.alarm && a->evidence.n_statements > 0 &&
                             attester_covers_quote(a, &a->shown.history));
}

static struct err refuse(struct attester *a, const struct nonce_request *requests, size_t n)
{
    const char *why = a->publishing.trouble;
    for (size_t i = 0; i < n; i++)
        TRY(attester_send_error(a, requests[i].id,
                                err_set(ERR_BUSY,
                                        "the log %s does not show what this host has said yet%s%s",
                                        a->options->origin, why[0] != '\0' ? ": " : "", why)));
    return err_ok();
}

struct err attester_answer_nonces(struct attester *a, const struct nonce_request *requests,
                                  size_t n)
{
    __attribute__((cleanup(nonce_tree_cleanup))) struct nonce_tree tree = {0};
    struct merkle_hash root;
    struct statement s;
    BUF_AUTO quote = BUF_INIT, json = BUF_INIT;
    TRY(nonce_tree_build(&tree, requests, n));
    TRY(merkle_source_root(&root, n, nonce_source, &tree));
    TRY(refresh(a));
    if (!can_show(a))
        return refuse(a, requests, n);
    TRY(attester_make_quote(a, &s, QUOTE_DEMAND, n, &root));
    statement_format(&quote, &s);
    evidence_set_quote(&a->evidence, buf_bytes(&quote), 0, &(struct merkle_proof){0});
    size_t n_shared = a->evidence.n_blobs;
    for (size_t i = 0; i < s.quote.n_gpu_reports; i++)
        evidence_add_blob(&a->evidence, buf_bytes(&a->gpus.reports[i]));
    evidence_format_shared(&json, &a->evidence);
    evidence_drop_blobs(&a->evidence, n_shared);
    for (size_t i = 0; i < n; i++)
        TRY(send_bundle(a, &requests[i], i, &tree, &json));
    return err_ok();
}
