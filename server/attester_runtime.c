/*
 * runtime.log: written ahead of the PCRs, and compared with them at every start and every quote.
 */
#include "server/attester_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"

enum { N_LANES = 3 };

static const uint8_t ZERO[SHA256_LEN];

/* The text of the file without a torn last line; nothing where there is no file yet. */
static struct err read_file(struct buf *text, size_t *torn, const char *path)
{
    struct err e = file_read(text, path, RUNTIME_LOG_MAX);
    if (is_err(e) && e.code != ERR_NOT_FOUND)
        return e;
    size_t len = text->len;
    while (text->len > 0 && text->data[text->len - 1] != '\n')
        text->len--;
    *torn = len - text->len;
    return err_ok();
}

static struct err open_for_append(struct attester *a, const char *path)
{
    fd_close(&a->runtime_fd);
    a->runtime_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (a->runtime_fd < 0)
        return err_errno("cannot open %s", path);
    return err_ok();
}

static struct err start_file(struct attester *a, const char *path)
{
    BUF_AUTO header = BUF_INIT;
    runtime_log_format_header(&header);
    runtime_log_cleanup(&a->runtime);
    a->lanes = (struct lanes){0};
    TRY(file_write_durable(path, buf_bytes(&header), 0600));
    return open_for_append(a, path);
}

static struct err load_file(struct attester *a, const char *path)
{
    BUF_AUTO text = BUF_INIT;
    size_t torn;
    TRY(read_file(&text, &torn, path));
    if (text.len == 0)
        return start_file(a, path);
    struct err e = runtime_log_parse(&a->runtime, buf_bytes(&text));
    if (!is_err(e))
        e = lanes_check(&a->lanes, &a->runtime, false);
    if (is_err(e))
        return err_context(e, "%s is damaged: move it away and reboot the host", path);
    TRY(open_for_append(a, path));
    if (torn > 0 && (ftruncate(a->runtime_fd, (off_t)text.len) != 0 || fsync(a->runtime_fd) != 0))
        return err_errno("cannot drop the torn last line of %s", path);
    return err_ok();
}

/* The TPM was reset: what the file tells of is over. It is kept under its boot's id. */
static struct err begin_boot(struct attester *a, const char *path)
{
    BUF_AUTO old = BUF_INIT;
    bool has_id = false;
    for (size_t i = 0; i < a->runtime.n_records; i++)
        has_id = has_id || strcmp(a->runtime.records[i].kind, "boot-id") == 0;
    buf_printf(&old, "%s/runtime-", a->options->state_dir);
    if (has_id)
        buf_append_hex(&old, bytes_of(a->lanes.boot_id, BOOT_ID_LEN));
    else
        buf_append_str(&old, "without-boot-id");
    buf_append_str(&old, ".log");
    if (rename(path, buf_str(&old)) != 0)
        return err_errno("cannot rename %s", path);
    return start_file(a, path); /* which makes the rename durable, too */
}

static bool lanes_equal(uint8_t replayed[N_LANES][SHA256_LEN], const struct pcr_values *pcrs)
{
    return memcmp(replayed, pcrs->values[PCR_MODEL], (size_t)N_LANES * SHA256_LEN) == 0;
}

static struct err misfit(const struct attester *a, const struct pcr_values *pcrs)
{
    uint8_t replayed[N_LANES][SHA256_LEN];
    runtime_log_replay(replayed, &a->runtime, a->runtime.n_records);
    unsigned lane = 0;
    while (lane < N_LANES - 1 &&
           memcmp(replayed[lane], pcrs->values[PCR_MODEL + lane], SHA256_LEN) == 0)
        lane++;
    BUF_AUTO is = BUF_INIT;
    BUF_AUTO logged = BUF_INIT;
    buf_append_hex(&is, bytes_of(pcrs->values[PCR_MODEL + lane], SHA256_LEN));
    buf_append_hex(&logged, bytes_of(replayed[lane], SHA256_LEN));
    return err_set(ERR_UNTRUE,
                   "the PCRs do not fit the runtime log: PCR %u is %s, but %s/runtime.log with its "
                   "%zu records gives %s. Another program extended it, or that file is not of this "
                   "boot. Remedy: reboot the host",
                   PCR_MODEL + lane, buf_str(&is), a->options->state_dir, a->runtime.n_records,
                   buf_str(&logged));
}

struct err attester_check_pcrs(const struct attester *a, const struct pcr_values *pcrs)
{
    uint8_t replayed[N_LANES][SHA256_LEN];
    runtime_log_replay(replayed, &a->runtime, a->runtime.n_records);
    return lanes_equal(replayed, pcrs) ? err_ok() : misfit(a, pcrs);
}

static bool tpm_was_reset(const struct pcr_values *pcrs)
{
    for (unsigned pcr = PCR_MODEL; pcr <= PCR_IDENTITY; pcr++)
        if (memcmp(pcrs->values[pcr], ZERO, SHA256_LEN) != 0)
            return false;
    return true;
}

/* The last record was on disk, but its extend was not done (or not known to be). */
static bool lacks_last(const struct attester *a, const struct pcr_values *pcrs)
{
    uint8_t replayed[N_LANES][SHA256_LEN];
    size_t n = a->runtime.n_records;
    if (n == 0)
        return false;
    runtime_log_replay(replayed, &a->runtime, n - 1);
    return lanes_equal(replayed, pcrs);
}

struct err attester_open_runtime(struct attester *a)
{
    BUF_AUTO path = BUF_INIT;
    struct pcr_values pcrs;
    TRY(load_file(a, path_join(&path, a->options->state_dir, "runtime.log")));
    TRY(tpm_pcr_read(a->tpm, &pcrs));
    if (tpm_was_reset(&pcrs))
        return a->runtime.n_records > 0 ? begin_boot(a, buf_str(&path)) : err_ok();
    return lacks_last(a, &pcrs) ? err_ok() : attester_check_pcrs(a, &pcrs);
}

struct err attester_complete_runtime(struct attester *a)
{
    struct pcr_values pcrs;
    TRY(tpm_pcr_read(a->tpm, &pcrs));
    if (lacks_last(a, &pcrs)) {
        const struct runtime_record *last = &a->runtime.records[a->runtime.n_records - 1];
        TRY(tpm_pcr_extend(a->tpm, last->pcr, last->kind, last->data));
        TRY(tpm_pcr_read(a->tpm, &pcrs));
    }
    return attester_check_pcrs(a, &pcrs);
}

struct err attester_extend(struct attester *a, unsigned pcr, const char *kind, struct bytes data)
{
    BUF_AUTO line = BUF_INIT;
    TRY(runtime_log_append(&a->runtime, pcr, kind, data));
    runtime_log_format_record(&line, pcr, kind, data);
    TRY(fd_write_all(a->runtime_fd, buf_bytes(&line)));
    if (fsync(a->runtime_fd) != 0)
        return err_errno("cannot fsync %s/runtime.log", a->options->state_dir);
    return tpm_pcr_extend(a->tpm, pcr, kind, data);
}

void attester_runtime_text(struct buf *out, const struct attester *a, size_t n_identities)
{
    size_t seen = 0;
    runtime_log_format_header(out);
    for (size_t i = 0; i < a->runtime.n_records && seen < n_identities; i++) {
        const struct runtime_record *r = &a->runtime.records[i];
        runtime_log_format_record(out, r->pcr, r->kind, r->data);
        seen += strcmp(r->kind, "identity") == 0;
    }
}
