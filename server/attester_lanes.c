/*
 * The measurement becomes lanes 13, 14 and 15 (docs/FORMATS.md section 1), once in a boot: a
 * restart must bring the same model, code and configuration, and adds only the identity of its new
 * key.
 */
#include "server/attester_internal.h"

#include <string.h>

#include "common/hash.h"

enum { SHOWN_MAX = 200 };

#define RUNTIME_LOG_AUTO __attribute__((cleanup(runtime_log_cleanup))) struct runtime_log

/* What must differ for lane `pcr` to differ, for people. */
static const char *lane_word(unsigned pcr)
{
    if (pcr == PCR_MODEL)
        return "model";
    return pcr == PCR_CODE ? "code" : "log or configuration";
}

/* "<kind> <data>" on one line, cut where it is long. */
static const char *shown(struct buf *out, const struct runtime_record *r)
{
    size_t len = r->data.len < SHOWN_MAX ? r->data.len : SHOWN_MAX;
    buf_printf(out, "%s ", r->kind);
    size_t start = out->len;
    buf_append(out, r->data.data, len);
    for (size_t i = start; i < out->len; i++)
        if (out->data[i] < 0x20 || out->data[i] == 0x7f)
            out->data[i] = ' ';
    return buf_str(out);
}

static struct err differs(const struct runtime_record *now, const struct runtime_record *then)
{
    BUF_AUTO now_text = BUF_INIT;
    BUF_AUTO then_text = BUF_INIT;
    const struct runtime_record *any = now ? now : then;
    return err_set(ERR_UNTRUE,
                   "the %s is not what was measured in this boot: '%s' now, '%s' then. New code, a "
                   "new model or a new configuration needs a reboot of the host",
                   lane_word(any->pcr), now ? shown(&now_text, now) : "nothing",
                   then ? shown(&then_text, then) : "nothing");
}

static bool records_equal(const struct runtime_record *a, const struct runtime_record *b)
{
    return strcmp(a->kind, b->kind) == 0 && bytes_equal(a->data, b->data);
}

/* The n-th record of a PCR, from 0, that is no identity; NULL if there are fewer. */
static const struct runtime_record *lane_record(const struct runtime_log *log, unsigned pcr,
                                                size_t n)
{
    for (size_t i = 0; i < log->n_records; i++) {
        const struct runtime_record *r = &log->records[i];
        if (r->pcr == pcr && strcmp(r->kind, "identity") != 0 && n-- == 0)
            return r;
    }
    return NULL;
}

static bool has_boot_id(const struct attester *a)
{
    return lane_record(&a->runtime, PCR_IDENTITY, 0) != NULL;
}

/* All records that the lanes must hold before the identity events. */
static struct err plan_lanes(struct runtime_log *plan, const struct attester *a,
                             const struct measurement *m)
{
    TRY(measurement_model_lane(plan, m));
    TRY(measurement_code_lane(plan, m));
    uint8_t boot_id[BOOT_ID_LEN];
    if (has_boot_id(a))
        memcpy(boot_id, a->lanes.boot_id, BOOT_ID_LEN);
    else
        random_bytes(boot_id, sizeof boot_id);
    BUF_AUTO hex = BUF_INIT;
    BUF_AUTO config = BUF_INIT;
    buf_append_hex(&hex, bytes_of(boot_id, sizeof boot_id));
    measurement_config(&config, m);
    TRY(runtime_log_append(plan, PCR_IDENTITY, "boot-id", buf_bytes(&hex)));
    TRY(runtime_log_append(plan, PCR_IDENTITY, "log", bytes_of_str(a->vkey)));
    return runtime_log_append(plan, PCR_IDENTITY, "config", buf_bytes(&config));
}

/* What is there must be a prefix of the plan, lane by lane. */
static struct err compare(const struct attester *a, const struct runtime_log *plan)
{
    for (unsigned pcr = PCR_MODEL; pcr <= PCR_IDENTITY; pcr++) {
        const struct runtime_record *then;
        for (size_t n = 0; (then = lane_record(&a->runtime, pcr, n)) != NULL; n++) {
            const struct runtime_record *now = lane_record(plan, pcr, n);
            if (!now || !records_equal(now, then))
                return differs(now, then);
        }
    }
    return err_ok();
}

struct err attester_compare_lanes(struct attester *a, const struct measurement *m)
{
    RUNTIME_LOG_AUTO plan = RUNTIME_LOG_INIT;
    struct lanes lanes;
    if (m->quote_interval_s != a->options->quote_interval_s)
        return err_set(ERR_USAGE,
                       "the front measured a quote interval of %llu s, this process was "
                       "started with %llu s",
                       (unsigned long long)m->quote_interval_s,
                       (unsigned long long)a->options->quote_interval_s);
    TRY(plan_lanes(&plan, a, m));
    struct err e = lanes_check(&lanes, &plan, false);
    if (is_err(e))
        return err_context(e, "the measurement makes no valid lanes");
    return compare(a, &plan);
}

struct err attester_write_lanes(struct attester *a, const struct measurement *m)
{
    RUNTIME_LOG_AUTO plan = RUNTIME_LOG_INIT;
    TRY(plan_lanes(&plan, a, m));
    for (unsigned pcr = PCR_MODEL; pcr <= PCR_IDENTITY; pcr++) {
        size_t n = 0;
        while (lane_record(&a->runtime, pcr, n))
            n++;
        const struct runtime_record *next;
        for (; (next = lane_record(&plan, pcr, n)) != NULL; n++)
            TRY(attester_extend(a, pcr, next->kind, next->data));
    }
    BUF_AUTO spki = BUF_INIT;
    buf_append_hex(&spki, bytes_of(m->spki_sha256, SHA256_LEN));
    TRY(attester_extend(a, PCR_IDENTITY, "identity", buf_bytes(&spki)));
    return lanes_check(&a->lanes, &a->runtime, true);
}
