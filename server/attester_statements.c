/*
 * Host, boot and identity statements (docs/FORMATS.md section 2), each logged where the log lacks
 * it.
 */
#include "server/attester_internal.h"

#include <string.h>

#include "common/text.h"

struct err attester_commit(struct attester *a, const struct statement *s, const struct bytes *blobs,
                           size_t n_blobs)
{
    BUF_AUTO text = BUF_INIT;
    statement_format(&text, s);
    struct statement as_read; /* what no verifier parses must not be logged */
    struct err e = statement_parse(&as_read, buf_bytes(&text));
    if (is_err(e))
        return err_context(e, "this host made a malformed statement");
    if (a->remote.on) {
        TRY(attester_enqueue(a, buf_bytes(&text), blobs, n_blobs));
        return attester_tell_queue(a);
    }
    const struct store_entry entry = {buf_bytes(&text), blobs, n_blobs};
    uint64_t index;
    TRY(store_append(a->log, &index, &entry, 1));
    TRY(attester_take_head(a));
    history_take(&a->history, &as_read, index, buf_bytes(&text));
    evidence_cleanup(&a->evidence);
    return err_ok();
}

static void fill_host(struct statement_host *host, const struct attester *a)
{
    *host = (struct statement_host){.ak_certified = a->options->ak_certified,
                                    .n_chain = a->n_chain,
                                    .n_activations = a->n_activations};
    blob_ref_of(&host->ak_public, buf_bytes(&a->ak_public));
    blob_ref_of(host->ak_certified ? &host->ak_certificate : &host->ek_certificate,
                attester_certificate(a));
    for (size_t i = 0; i < a->n_chain; i++)
        blob_ref_of(&host->chain[i], buf_bytes(&a->chain[i]));
    for (size_t i = 0; i < a->n_activations; i++)
        blob_ref_of(&host->activations[i], buf_bytes(&a->activations[i]));
}

struct err attester_log_host(struct attester *a)
{
    struct statement s = {.kind = STATEMENT_HOST, .ak_name = a->ak_name};
    struct bytes blobs[STATEMENT_BLOBS_MAX];
    size_t n = 0;
    fill_host(&s.host, a);
    blobs[n++] = buf_bytes(&a->ak_public);
    blobs[n++] = attester_certificate(a);
    for (size_t i = 0; i < a->n_chain; i++)
        blobs[n++] = buf_bytes(&a->chain[i]);
    for (size_t i = 0; i < a->n_activations; i++)
        blobs[n++] = buf_bytes(&a->activations[i]);
    return attester_commit(a, &s, blobs, n);
}

static bool refs_equal(const struct blob_ref *x, const struct blob_ref *y)
{
    return x->size == y->size && memcmp(x->sha256, y->sha256, SHA256_LEN) == 0;
}

/* The same keys and issuers; activations are compared nowhere: they come with a statement of their
 * own. */
static bool hosts_equal(const struct statement_host *x, const struct statement_host *y)
{
    if (!refs_equal(&x->ak_public, &y->ak_public) || x->ak_certified != y->ak_certified ||
        !refs_equal(&x->ek_certificate, &y->ek_certificate) ||
        !refs_equal(&x->ak_certificate, &y->ak_certificate) || x->n_chain != y->n_chain)
        return false;
    for (size_t i = 0; i < x->n_chain; i++)
        if (!refs_equal(&x->chain[i], &y->chain[i]))
            return false;
    return true;
}

struct err attester_ensure_host(struct attester *a)
{
    struct statement_host now;
    fill_host(&now, a);
    if (a->history.has_host && hosts_equal(&now, &a->history.host))
        return err_ok();
    return attester_log_host(a);
}

/* Increments once for a boot: a start that was killed after the increment and before its statement
 * finds the counter one ahead of the log. */
static struct err step_counter(struct attester *a)
{
    uint64_t logged, now;
    struct err e = tpm_counter_read(a->tpm, BOOT_COUNTER_INDEX, &now);
    if (e.code == ERR_NOT_FOUND)
        return tpm_counter_increment(a->tpm, BOOT_COUNTER_INDEX);
    TRY(e);
    if (a->history.has_boot) {
        TRY(boot_counter_value(&logged, &a->history.boot));
        if (now == logged + 1)
            return err_ok();
    }
    return tpm_counter_increment(a->tpm, BOOT_COUNTER_INDEX);
}

static struct err copy_limited(uint8_t *out, size_t *out_len, size_t max, const struct buf *from)
{
    if (from->len > max)
        return err_set(ERR_LIMIT, "the TPM gave %zu bytes where %zu are allowed", from->len, max);
    memcpy(out, from->data, from->len);
    *out_len = from->len;
    return err_ok();
}

/* Hash("blindllama-boot/v1\n" || the 32 hex digits of the boot id) */
static void boot_extra_data(uint8_t out[SHA256_LEN], const uint8_t boot_id[BOOT_ID_LEN])
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-boot/v1\n");
    buf_append_hex(&text, bytes_of(boot_id, BOOT_ID_LEN));
    sha256(out, buf_bytes(&text));
}

static struct err certify_boot(struct attester *a, struct statement_boot *boot)
{
    uint8_t extra[SHA256_LEN];
    BUF_AUTO attest = BUF_INIT;
    BUF_AUTO signature = BUF_INIT;
    boot_extra_data(extra, boot->boot_id);
    TRY(tpm_counter_certify(a->tpm, BOOT_COUNTER_INDEX, extra, &attest, &signature));
    TRY(copy_limited(boot->attest, &boot->attest_len, sizeof boot->attest, &attest));
    TRY(copy_limited(boot->signature, &boot->signature_len, sizeof boot->signature, &signature));
    struct attested parsed;
    TRY(attested_parse(&parsed, buf_bytes(&attest)));
    boot->reset_count = parsed.reset_count;
    boot->restart_count = parsed.restart_count;
    boot->counter_index = BOOT_COUNTER_INDEX;
    return err_ok();
}

struct err attester_ensure_boot(struct attester *a)
{
    struct tpm_clock clock;
    const struct statement_boot *logged = &a->history.boot;
    TRY(tpm_clock_read(a->tpm, &clock));
    if (a->history.has_boot && memcmp(logged->boot_id, a->lanes.boot_id, BOOT_ID_LEN) == 0 &&
        logged->reset_count == clock.reset_count && logged->restart_count == clock.restart_count)
        return err_ok();
    struct statement s = {.kind = STATEMENT_BOOT, .ak_name = a->ak_name};
    memcpy(s.boot.boot_id, a->lanes.boot_id, BOOT_ID_LEN);
    TRY(step_counter(a));
    TRY(certify_boot(a, &s.boot));
    struct bytes blobs[STATEMENT_BLOBS_MAX];
    size_t n = attester_say_gpus(a, &s.boot, blobs);
    s.boot.has_event_log = a->options->event_log.len > 0;
    blob_ref_of(&s.boot.event_log, a->options->event_log);
    if (s.boot.has_event_log)
        blobs[n++] = a->options->event_log;
    return attester_commit(a, &s, blobs, n);
}

struct err attester_ensure_identity(struct attester *a)
{
    BUF_AUTO runtime = BUF_INIT;
    attester_runtime_text(&runtime, a, a->lanes.n_identities);
    if (a->history.has_identity &&
        !is_err(blob_ref_check(&a->history.identity.runtime_log, buf_bytes(&runtime))))
        return err_ok();
    struct statement s = {.kind = STATEMENT_IDENTITY, .ak_name = a->ak_name};
    memcpy(s.identity.boot_id, a->lanes.boot_id, BOOT_ID_LEN);
    memcpy(s.identity.spki_sha256, a->lanes.spki_sha256, SHA256_LEN);
    blob_ref_of(&s.identity.runtime_log, buf_bytes(&runtime));
    const struct bytes blob = buf_bytes(&runtime);
    return attester_commit(a, &s, &blob, 1);
}
