/*
 * Firmware event logs (TCG PC Client Platform Firmware Profile 1.06, section 10), as Linux shows
 * them in binary_bios_measurements: legacy (TCG_PCR_EVENT, SHA-1 alone) and crypto-agile
 * (TCG_PCR_EVENT2 after a Spec ID header). Little-endian. No TSS.
 *
 * A log is a claim. Nothing in it is believed before the replay of a bank equals quoted PCRs, and
 * then only the digests are: an event's type is never measured, its data only where its hash is the
 * digest (eventlog_data_verified).
 */
#ifndef ATTEST_EVENTLOG_H
#define ATTEST_EVENTLOG_H

#include "attest/pcr_bank.h"

enum {
    EVENTLOG_MAX = 16 * 1024 * 1024, /* bytes of a log */
    EVENTLOG_EVENTS_MAX = 65536,
    EVENTLOG_DATA_MAX = 1024 * 1024, /* bytes of one event's data */
    EVENTLOG_ALGS_MAX = 8,           /* hashes of a Spec ID header */
};

/* Event types that change how a log is replayed (section 10.4.1). */
#define EV_NO_ACTION UINT32_C(0x00000003)
#define EV_EFI_HCRTM_EVENT UINT32_C(0x80000010)

struct eventlog_alg {
    uint16_t alg; /* TPM_ALG_ID; may be one that is no pcr_bank: read over by its length */
    uint16_t len; /* bytes of its digests */
};

/* All views are into the log's bytes. */
struct eventlog_event {
    uint32_t pcr; /* 0 to 23; any value where the type is EV_NO_ACTION */
    uint32_t type;
    uint32_t n_digests;
    struct bytes digests; /* n_digests times (u16 algorithm, digest); legacy: 20 bytes */
    struct bytes data;
    size_t offset; /* where the event begins in the log */
};

struct eventlog {
    bool agile; /* false: legacy, one SHA-1 digest an event */
    struct eventlog_alg algs[EVENTLOG_ALGS_MAX];
    size_t n_algs;
    struct eventlog_event *events; /* Spec ID headers are not events */
    size_t n_events;
    uint8_t locality; /* PCR 0 begins with this in its last byte: 0, 3 or 4 */
};

#define EVENTLOG_INIT ((struct eventlog){0})
void eventlog_cleanup(struct eventlog *log);

/* The whole log, which must outlive `out`. ERR_MALFORMED with the event's number and offset,
 * ERR_LIMIT. A log without one event is malformed. */
struct err eventlog_parse(struct eventlog *out, struct bytes data) MUST_USE;

/* The event's digest in that bank; empty where it has none. */
struct bytes eventlog_digest(const struct eventlog *log, const struct eventlog_event *event,
                             const struct pcr_bank *bank);
/* Whether the event is extended: everything but EV_NO_ACTION. */
bool eventlog_extends(const struct eventlog_event *event);
/* Whether the event's data is what was measured: its hash is the digest. For many types the digest
 * is of something else (a program, a table), and this is false without anything being wrong. */
bool eventlog_data_verified(const struct eventlog *log, const struct eventlog_event *event,
                            const struct pcr_bank *bank);
/* The name that the specification gives the type; "unknown" for others. Not measured. */
const char *eventlog_type_name(uint32_t type);

struct eventlog_pcrs {
    uint32_t extended;                         /* bit i: PCR i has at least one event */
    uint8_t values[PCR_COUNT][PCR_DIGEST_MAX]; /* the first bank->len bytes; also of the others */
};

/* The PCRs of one bank after the log. PCR 0 begins with the startup locality, PCRs 17 to 22 begin
 * with ff, the others with 0. ERR_NOT_FOUND if the log has no such bank, ERR_UNTRUE if an event
 * lacks the bank's digest: then nothing of that bank is explained. */
struct err eventlog_replay(struct eventlog_pcrs *out, const struct eventlog *log,
                           const struct pcr_bank *bank) MUST_USE;

#endif
