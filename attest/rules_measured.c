/*
 * Rule 7: what was measured into the lanes of PCRs 13 to 15, by their runtime log.
 */
#include "attest/rules.h"

#include <stdio.h>
#include <string.h>

static struct err copy_text(char *out, size_t size, struct bytes text, const char *what)
{
    if (text.len >= size)
        return err_set(ERR_LIMIT, "the %s has %zu bytes; at most %zu are allowed", what, text.len,
                       size - 1);
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return err_ok();
}

/* The model and the code by their manifests; the model's name is measured, the code's is the
 * policy's. */
static struct err check_allowed(struct rule_lanes *out, const struct lanes *lanes,
                                const struct policy *p)
{
    BUF_AUTO hex = BUF_INIT;
    const struct policy_hash *model =
        policy_find_hash(p->models, p->n_models, lanes->model_manifest);
    if (model == NULL) {
        buf_append_hex(&hex, bytes_of(lanes->model_manifest, SHA256_LEN));
        return err_set(ERR_UNTRUE, "PCR 13: the model's manifest %s is not in the policy",
                       buf_str(&hex));
    }
    if (!bytes_equal(bytes_of_str(model->name), lanes->model_id))
        return err_set(ERR_UNTRUE, "PCR 13: the measured model id is not the policy's '%.80s'",
                       model->name);
    const struct policy_hash *code = policy_find_hash(p->codes, p->n_codes, lanes->code_manifest);
    if (code == NULL) {
        buf_append_hex(&hex, bytes_of(lanes->code_manifest, SHA256_LEN));
        return err_set(ERR_UNTRUE, "PCR 14: the code's manifest %s is not in the policy",
                       buf_str(&hex));
    }
    snprintf(out->code_name, sizeof out->code_name, "%s", code->name);
    if (lanes->quote_interval_s > p->max_interval_s)
        return err_set(ERR_UNTRUE, "PCR 15: a quote interval of %llu s; the policy allows %llu s",
                       (unsigned long long)lanes->quote_interval_s,
                       (unsigned long long)p->max_interval_s);
    return err_ok();
}

/* Device code is named by its hash; "none" stands for a CPU's. */
static bool names_device_code(const struct runtime_log *log)
{
    static const char none[] = " none";
    for (size_t i = 0; i < log->n_records; i++) {
        const struct runtime_record *r = &log->records[i];
        if (r->pcr != PCR_CODE || strcmp(r->kind, "kernels") != 0)
            continue;
        size_t len = sizeof none - 1;
        return r->data.len < len || memcmp(r->data.data + r->data.len - len, none, len) != 0;
    }
    return false;
}

static struct err check_identity(const struct lanes *lanes, const struct runtime_log *log,
                                 const struct statement_identity *identity)
{
    const struct runtime_record *last = &log->records[log->n_records - 1];
    if (last->pcr != PCR_IDENTITY || strcmp(last->kind, "identity") != 0)
        return err_set(ERR_UNTRUE, "the runtime log does not end with its last identity event");
    if (memcmp(lanes->boot_id, identity->boot_id, BOOT_ID_LEN) != 0)
        return err_set(ERR_UNTRUE, "PCR 15: another boot id than the identity statement's");
    if (memcmp(lanes->spki_sha256, identity->spki_sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE,
                       "PCR 15: the last identity event is of another key than the statement");
    return err_ok();
}

static struct err copy_lanes(struct rule_lanes *out, const struct lanes *lanes)
{
    TRY(copy_text(out->model_id, sizeof out->model_id, lanes->model_id, "model id"));
    TRY(copy_text(out->numerics, sizeof out->numerics, lanes->numerics, "numerics name"));
    TRY(copy_text(out->profile, sizeof out->profile, lanes->profile, "profile's name"));
    TRY(copy_text(out->log_vkey, sizeof out->log_vkey, lanes->log_vkey, "log's key"));
    memcpy(out->model_manifest, lanes->model_manifest, SHA256_LEN);
    memcpy(out->code_manifest, lanes->code_manifest, SHA256_LEN);
    memcpy(out->server_binary, lanes->server_binary, SHA256_LEN);
    memcpy(out->boot_id, lanes->boot_id, BOOT_ID_LEN);
    memcpy(out->spki_sha256, lanes->spki_sha256, SHA256_LEN);
    out->quote_interval_s = lanes->quote_interval_s;
    return err_ok();
}

struct err rule_lanes_read(struct rule_lanes *out, const struct statement_identity *identity,
                           struct bytes runtime_log, const struct policy *p)
{
    __attribute__((cleanup(runtime_log_cleanup))) struct runtime_log log = RUNTIME_LOG_INIT;
    TRY(runtime_log_parse(&log, runtime_log));
    struct lanes lanes;
    TRY(lanes_check(&lanes, &log, true));
    struct rule_lanes result = {0};
    TRY(check_identity(&lanes, &log, identity));
    TRY(check_allowed(&result, &lanes, p));
    TRY(copy_lanes(&result, &lanes));
    runtime_log_replay(result.pcrs, &log, log.n_records);
    result.n_records = log.n_records;
    result.n_identities = lanes.n_identities;
    result.gpu = names_device_code(&log);
    *out = result;
    return err_ok();
}

struct err rule_lanes_extend(const struct rule_lanes *before, struct bytes runtime_log)
{
    __attribute__((cleanup(runtime_log_cleanup))) struct runtime_log log = RUNTIME_LOG_INIT;
    TRY(runtime_log_parse(&log, runtime_log));
    if (log.n_records <= before->n_records)
        return err_set(ERR_UNTRUE, "the runtime log does not grow: %zu records after %zu",
                       log.n_records, before->n_records);
    uint8_t pcrs[3][SHA256_LEN];
    runtime_log_replay(pcrs, &log, before->n_records);
    if (memcmp(pcrs, before->pcrs, sizeof pcrs) != 0)
        return err_set(ERR_UNTRUE, "the runtime log does not continue that of the boot's earlier "
                                   "identity");
    return err_ok();
}

struct err rule_lanes_quoted(const struct rule_lanes *lanes, const struct statement_quote *q)
{
    for (unsigned i = 0; i < 3; i++)
        if (memcmp(lanes->pcrs[i], q->pcrs.values[PCR_MODEL + i], SHA256_LEN) != 0)
            return err_set(ERR_UNTRUE,
                           "PCR %u: the runtime log does not replay to the quoted value",
                           PCR_MODEL + i);
    if (memcmp(lanes->spki_sha256, q->context.spki_sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE,
                       "the quote's context is of another TLS key than the last identity event");
    return err_ok();
}
