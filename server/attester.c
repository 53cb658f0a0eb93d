#include "server/attester_internal.h"

#include <stdio.h>

#include "attest/eventlog_policy.h"
#include "common/file.h"

enum { PCR_SECURE_BOOT = 7 };

static void cleanup(struct attester *a)
{
    store_close(a->log);
    attester_close_gpus(a);
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
    buf_cleanup(&a->measurement);
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
    return attester_begin_tpm(a);
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
    *tpm_failed = a.tpm_lost;
    return e;
}

static void append_hash_line(struct buf *out, const char *key, const uint8_t hash[SHA256_LEN])
{
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(hash, SHA256_LEN));
    buf_append_str(out, "\n");
}

static void eventlog_auto(struct eventlog *log)
{
    eventlog_cleanup(log);
}

/* The events that lead to the values of now; *explained tells for which PCRs they do. */
static struct err append_events(struct buf *out, uint16_t *explained, struct bytes event_log,
                                const struct pcr_values *pcrs)
{
    __attribute__((cleanup(eventlog_auto))) struct eventlog log = EVENTLOG_INIT;
    *explained = 0;
    if (event_log.len == 0)
        return err_ok();
    TRY(eventlog_parse(&log, event_log));
    struct err e = eventlog_explains(explained, &log, pcrs);
    if (e.code == ERR_NOT_FOUND || e.code == ERR_UNTRUE) {
        buf_printf(out, "# The event log explains no PCR: %s\n", err_message());
        return err_ok();
    }
    TRY(e);
    *explained &= (uint16_t) ~(1U << PCR_SECURE_BOOT);
    return eventlog_policy_lines(out, &log, *explained);
}

static struct err append_boot_lines(struct buf *out, struct bytes event_log,
                                    const struct pcr_values *pcrs)
{
    uint16_t explained;
    TRY(append_events(out, &explained, event_log, pcrs));
    for (unsigned pcr = 0; pcr < PCR_MODEL; pcr++) {
        char key[32];
        snprintf(key, sizeof key, "boot-pcr %u", pcr);
        if ((explained >> pcr & 1) == 0)
            append_hash_line(out, key, pcrs->values[pcr]);
    }
    return err_ok();
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
    return append_boot_lines(out, options->event_log, &pcrs);
}
