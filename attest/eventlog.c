/*
 * Parsing of event logs. Every record is read through one bounded reader; sizes come from the
 * Spec ID header alone, and a hash that it does not list cannot be read over.
 */
#include "attest/eventlog.h"

#include <stdlib.h>
#include <string.h>

enum { SHA1_LEN = 20, SIGNATURE_LEN = 16, EVENT_MIN = 16 };

static const char spec_id[SIGNATURE_LEN] = "Spec ID Event03";
static const char startup_locality[SIGNATURE_LEN] = "StartupLocality";

struct parse {
    struct eventlog log;
    struct bytes data; /* the whole log */
    struct reader r;
    size_t capacity;
    bool has_locality, hcrtm, extended_0;
};

void eventlog_cleanup(struct eventlog *log)
{
    free(log->events);
    *log = EVENTLOG_INIT;
}

static void parse_cleanup(struct parse *p)
{
    eventlog_cleanup(&p->log);
}

static size_t offset(const struct parse *p)
{
    return p->data.len - reader_left(&p->r);
}

static bool begins_with(struct bytes data, const char signature[SIGNATURE_LEN])
{
    return data.len >= SIGNATURE_LEN && memcmp(data.data, signature, SIGNATURE_LEN) == 0;
}

bool eventlog_extends(const struct eventlog_event *event)
{
    return event->type != EV_NO_ACTION;
}

/* A record's data, behind its u32 size. */
static struct err read_data(struct parse *p, struct bytes *out)
{
    uint32_t size = read_u32le(&p->r);
    if (!p->r.failed && size > EVENTLOG_DATA_MAX)
        return err_set(ERR_LIMIT, "an event's data of %u bytes, over %d", (unsigned)size,
                       EVENTLOG_DATA_MAX);
    size_t left = reader_left(&p->r);
    *out = read_bytes(&p->r, size);
    if (p->r.failed)
        return err_set(ERR_MALFORMED,
                       "truncated: the event's data needs more than the %zu bytes "
                       "that are left",
                       left);
    return err_ok();
}

/* TCG_PCR_EVENT: PCR, type, SHA-1 digest, size, data. */
static struct err read_legacy(struct parse *p, struct eventlog_event *event)
{
    *event = (struct eventlog_event){.offset = offset(p), .n_digests = 1};
    event->pcr = read_u32le(&p->r);
    event->type = read_u32le(&p->r);
    event->digests = read_bytes(&p->r, SHA1_LEN);
    return read_data(p, &event->data);
}

static const struct eventlog_alg *find_alg(const struct eventlog *log, uint16_t alg)
{
    for (size_t i = 0; i < log->n_algs; i++)
        if (log->algs[i].alg == alg)
            return &log->algs[i];
    return NULL;
}

static struct err read_digest(struct parse *p, uint32_t *seen)
{
    uint16_t alg = read_u16le(&p->r);
    if (p->r.failed)
        return err_set(ERR_MALFORMED, "truncated in its digests");
    const struct eventlog_alg *known = find_alg(&p->log, alg);
    if (known == NULL)
        return err_set(ERR_MALFORMED,
                       "a digest of algorithm 0x%04x, which the header does not list", alg);
    uint32_t bit = UINT32_C(1) << (known - p->log.algs);
    if ((*seen & bit) != 0)
        return err_set(ERR_MALFORMED, "two digests of algorithm 0x%04x", alg);
    *seen |= bit;
    read_bytes(&p->r, known->len);
    return p->r.failed ? err_set(ERR_MALFORMED, "truncated in its digests") : err_ok();
}

/* TCG_PCR_EVENT2: PCR, type, count, (algorithm, digest) each, size, data. */
static struct err read_agile(struct parse *p, struct eventlog_event *event)
{
    *event = (struct eventlog_event){.offset = offset(p)};
    event->pcr = read_u32le(&p->r);
    event->type = read_u32le(&p->r);
    event->n_digests = read_u32le(&p->r);
    if (!p->r.failed && event->n_digests > p->log.n_algs)
        return err_set(ERR_MALFORMED, "%u digests where the header lists %zu algorithms",
                       (unsigned)event->n_digests, p->log.n_algs);
    struct reader start = p->r;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < event->n_digests; i++)
        TRY(read_digest(p, &seen));
    event->digests = read_bytes(&start, reader_left(&start) - reader_left(&p->r));
    return read_data(p, &event->data);
}

static struct err read_algs(struct eventlog *log, struct reader *r)
{
    uint32_t n = read_u32le(r);
    if (r->failed || n == 0 || n > EVENTLOG_ALGS_MAX)
        return err_set(ERR_MALFORMED, "%u algorithms, not 1 to %d", (unsigned)n, EVENTLOG_ALGS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct eventlog_alg alg = {.alg = read_u16le(r)};
        alg.len = read_u16le(r);
        const struct pcr_bank *bank = pcr_bank_of(alg.alg);
        if (r->failed)
            return err_set(ERR_MALFORMED, "truncated in its algorithms");
        if (bank != NULL ? alg.len != bank->len : alg.len == 0 || alg.len > PCR_DIGEST_MAX)
            return err_set(ERR_MALFORMED, "algorithm 0x%04x with digests of %u bytes", alg.alg,
                           alg.len);
        if (find_alg(log, alg.alg) != NULL)
            return err_set(ERR_MALFORMED, "algorithm 0x%04x twice", alg.alg);
        log->algs[log->n_algs++] = alg;
    }
    return err_ok();
}

/* TCG_EfiSpecIDEvent: signature, platform class, version, errata, size of UINTN, algorithms, and
 * vendor information that must fill the event exactly. */
static struct err read_spec_id(struct eventlog *log, struct bytes data)
{
    const size_t class_to_uintn = 4 + 4;
    struct reader r = reader_of(data);
    read_bytes(&r, SIGNATURE_LEN + class_to_uintn);
    TRY(read_algs(log, &r));
    uint8_t vendor_len = read_u8(&r);
    read_bytes(&r, vendor_len);
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "its vendor information of %u bytes does not end the event",
                       vendor_len);
    log->agile = true;
    return err_ok();
}

/* Whether a Spec ID header, which has the legacy shape, is next. */
static bool spec_id_is_next(const struct parse *p, struct eventlog_event *event)
{
    struct parse peek = *p;
    return !is_err(read_legacy(&peek, event)) && event->type == EV_NO_ACTION && event->pcr == 0 &&
           begins_with(event->data, spec_id);
}

/* A log that was appended to another begins with its own header; it must list the same hashes. */
static struct err read_second_header(struct parse *p, struct bytes data)
{
    struct eventlog second = EVENTLOG_INIT;
    TRY(err_context(read_spec_id(&second, data), "a second Spec ID header"));
    if (second.n_algs != p->log.n_algs ||
        memcmp(second.algs, p->log.algs, second.n_algs * sizeof *second.algs) != 0)
        return err_set(ERR_MALFORMED, "a second Spec ID header with other algorithms");
    return err_ok();
}

static struct err read_header(struct parse *p)
{
    struct eventlog_event event;
    if (spec_id_is_next(p, &event)) {
        TRY(err_context(read_spec_id(&p->log, event.data), "Spec ID header"));
        return read_legacy(p, &event);
    }
    p->log.algs[p->log.n_algs++] = (struct eventlog_alg){TPM_ALG_SHA1_ID, SHA1_LEN};
    return err_ok();
}

/* "StartupLocality" and one byte. It cannot change where PCR 0 began once PCR 0 was extended. */
static struct err take_locality(struct parse *p, const struct eventlog_event *event)
{
    if (event->data.len != SIGNATURE_LEN + 1)
        return err_set(ERR_MALFORMED, "a StartupLocality event of %zu bytes, not 17",
                       event->data.len);
    uint8_t locality = event->data.data[SIGNATURE_LEN];
    if (locality != 0 && locality != 3 && locality != 4)
        return err_set(ERR_MALFORMED, "startup locality %u, not 0, 3 or 4", locality);
    uint8_t now = p->log.locality;
    if (locality != now && (p->has_locality || p->extended_0) && !p->hcrtm)
        return err_set(ERR_MALFORMED, "startup locality %u after PCR 0 began with %u", locality,
                       now);
    p->has_locality = true;
    p->log.locality = p->hcrtm ? now : locality;
    return err_ok();
}

/* What ran before TPM2_Startup (H-CRTM) was extended at locality 4, whatever the startup's. */
static struct err take_hcrtm(struct parse *p, const struct eventlog_event *event)
{
    const uint8_t hcrtm_locality = 4;
    if (event->pcr != 0 || (p->extended_0 && !p->hcrtm))
        return err_set(ERR_MALFORMED,
                       "an EV_EFI_HCRTM_EVENT that is not the first to extend PCR 0");
    p->hcrtm = true;
    p->log.locality = hcrtm_locality;
    return err_ok();
}

static struct err take_event(struct parse *p, const struct eventlog_event *event)
{
    if (!eventlog_extends(event))
        return event->pcr == 0 && begins_with(event->data, startup_locality)
                   ? take_locality(p, event)
                   : err_ok();
    if (event->pcr >= PCR_COUNT)
        return err_set(ERR_MALFORMED, "it extends PCR %u; a TPM has %d", (unsigned)event->pcr,
                       PCR_COUNT);
    if (event->type == EV_EFI_HCRTM_EVENT)
        TRY(take_hcrtm(p, event));
    p->extended_0 |= event->pcr == 0;
    return err_ok();
}

static struct err add_event(struct parse *p, const struct eventlog_event *event)
{
    struct eventlog *log = &p->log;
    if (log->n_events == EVENTLOG_EVENTS_MAX)
        return err_set(ERR_LIMIT, "over %d events", EVENTLOG_EVENTS_MAX);
    if (log->n_events == p->capacity) {
        size_t capacity = p->capacity > 0 ? 2 * p->capacity : 64;
        struct eventlog_event *grown = realloc(log->events, capacity * sizeof *grown);
        if (grown == NULL)
            return err_set(ERR_MEMORY, "out of memory for an event log");
        log->events = grown;
        p->capacity = capacity;
    }
    log->events[log->n_events++] = *event;
    return err_ok();
}

static struct err read_event(struct parse *p)
{
    struct eventlog_event event;
    if (p->log.agile && spec_id_is_next(p, &event)) {
        TRY(read_second_header(p, event.data));
        return read_legacy(p, &event);
    }
    TRY(p->log.agile ? read_agile(p, &event) : read_legacy(p, &event));
    TRY(take_event(p, &event));
    return add_event(p, &event);
}

static struct err parse(struct parse *p)
{
    TRY(read_header(p));
    while (reader_left(&p->r) > 0) {
        size_t at = offset(p);
        TRY(err_context(read_event(p), "event %zu (at byte %zu)", p->log.n_events + 1, at));
    }
    if (p->log.n_events == 0)
        return err_set(ERR_MALFORMED, "it holds no event");
    return err_ok();
}

struct err eventlog_parse(struct eventlog *out, struct bytes data)
{
    if (data.len > EVENTLOG_MAX)
        return err_set(ERR_LIMIT, "event log: %zu bytes, over %d", data.len, EVENTLOG_MAX);
    __attribute__((cleanup(parse_cleanup))) struct parse p = {.data = data, .r = reader_of(data)};
    TRY(err_context(parse(&p), "event log"));
    *out = p.log;
    p.log = EVENTLOG_INIT;
    return err_ok();
}
