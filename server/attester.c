#include "server/attester_internal.h"

#include "common/file.h"

static void cleanup(struct attester *a)
{
    store_close(a->log);
    tpm_close(a->tpm);
    note_signer_cleanup(&a->signer);
    runtime_log_cleanup(&a->runtime);
    evidence_cleanup(&a->evidence);
    fd_close(&a->runtime_fd);
    fd_close(&a->lock_fd);
    buf_cleanup(&a->head_note);
    shown_cleanup(&a->shown);
    queue_cleanup(&a->queue);
    buf_cleanup(&a->from_publisher);
    buf_cleanup(&a->ak_public);
    buf_cleanup(&a->ek_certificate);
    buf_cleanup(&a->ak_certificate);
    for (size_t i = 0; i < EK_CHAIN_MAX; i++)
        buf_cleanup(&a->chain[i]);
    for (size_t i = 0; i < STATEMENT_ACTIVATIONS_MAX; i++)
        buf_cleanup(&a->activations[i]);
}

#define ATTESTER_AUTO __attribute__((cleanup(cleanup))) struct attester

/* What is cheap to check comes first. The log's lock keeps a second attester of this state from the
 * TPM; one of another state finds PCRs that are not its own, before it loads keys. */
static struct err start(struct attester *a)
{
    TRY(attester_check_options(a->options));
    TRY(attester_load_chain(a));
    TRY(attester_load_key(a));
    TRY(a->remote.on ? attester_open_remote(a) : attester_open_log(a));
    TRY(attester_open_tpm(a));
    TRY(attester_open_runtime(a));
    TRY(attester_load_tpm_keys(a));
    TRY(attester_complete_runtime(a));
    TRY(attester_read_history(a, &a->history, a->head.size));
    return attester_load_activations(a);
}

/* That the TPM is gone is told apart from all else that may end us: a log that cannot be written,
 * or a TPM that says something else than it must, leaves nothing to go on with. */
static struct err end(struct attester *a, struct err e, bool *tpm_failed)
{
    *tpm_failed = a->measured && e.code == ERR_IO && tpm_has_failed(a->tpm);
    if (!*tpm_failed)
        return e;
    BUF_AUTO reason = BUF_INIT;
    buf_append_str(&reason, err_message());
    struct err told = channel_send(a->channel, CHANNEL_TPM_FAILED, 0, buf_bytes(&reason));
    (void)told; /* the first error is the one that counts */
    return err_set(ERR_IO, "%s", buf_str(&reason));
}

struct err attester_run(const struct attester_options *options, struct attester_fds fds,
                        bool *tpm_failed)
{
    ATTESTER_AUTO a = {.options = options,
                       .channel = fds.front,
                       .publisher = fds.publisher,
                       .runtime_fd = -1,
                       .lock_fd = -1};
    a.remote.on = options->log_is_remote;
    *tpm_failed = false;
    TRY(start(&a));
    struct err e = attester_serve(&a);
    return is_err(e) ? end(&a, e, tpm_failed) : e;
}

static void append_hash_line(struct buf *out, const char *key, const uint8_t hash[SHA256_LEN])
{
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(hash, SHA256_LEN));
    buf_append_str(out, "\n");
}

struct err attester_policy_lines(const struct attester_options *options, bool test, struct buf *out)
{
    ATTESTER_AUTO a = {
        .options = options, .channel = -1, .publisher = -1, .runtime_fd = -1, .lock_fd = -1};
    a.remote.on = options->log_is_remote;
    uint8_t root[SHA256_LEN];
    struct pcr_values pcrs;
    TRY(attester_check_options(options));
    TRY(attester_load_chain(&a));
    TRY(attester_load_key(&a));
    TRY(tpm_open(&a.tpm, options->tcti));
    TRY(tpm_pcr_read(a.tpm, &pcrs));
    sha256(root, buf_bytes(&a.chain[a.n_chain - 1]));
    buf_printf(out, "log %s\n", a.vkey);
    BUF_AUTO key = BUF_INIT;
    buf_printf(&key, "%s%s", test ? "test-" : "", options->ak_certified ? "ak-root " : "tpm-root");
    if (options->ak_certified)
        buf_append_str(&key, ak_profile_name(options->ak_profile));
    append_hash_line(out, buf_str(&key), root);
    for (unsigned pcr = 0; pcr < PCR_MODEL; pcr++) {
        buf_clear(&key);
        buf_printf(&key, "boot-pcr %u", pcr);
        append_hash_line(out, buf_str(&key), pcrs.values[pcr]);
    }
    return err_ok();
}
