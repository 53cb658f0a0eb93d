/*
 * What a log says of PCRs: digests, replay, and which data was measured.
 */
#include <string.h>

#include "attest/eventlog.h"

enum { FIRST_DRTM_PCR = 17, LAST_DRTM_PCR = 22 };

struct bytes eventlog_digest(const struct eventlog *log, const struct eventlog_event *event,
                             const struct pcr_bank *bank)
{
    if (!log->agile)
        return bank->alg == TPM_ALG_SHA1_ID ? event->digests : (struct bytes){0};
    struct reader r = reader_of(event->digests);
    while (reader_left(&r) > 0) {
        uint16_t alg = read_u16le(&r);
        for (size_t i = 0; i < log->n_algs; i++) {
            if (log->algs[i].alg != alg)
                continue;
            struct bytes digest = read_bytes(&r, log->algs[i].len);
            if (alg == bank->alg)
                return digest;
            break;
        }
    }
    return (struct bytes){0};
}

bool eventlog_data_verified(const struct eventlog *log, const struct eventlog_event *event,
                            const struct pcr_bank *bank)
{
    uint8_t hash[PCR_DIGEST_MAX];
    struct bytes digest = eventlog_digest(log, event, bank);
    if (!eventlog_extends(event) || digest.len == 0)
        return false;
    pcr_bank_hash(bank, hash, event->data);
    return bytes_equal(digest, bytes_of(hash, bank->len));
}

static bool has_bank(const struct eventlog *log, const struct pcr_bank *bank)
{
    for (size_t i = 0; i < log->n_algs; i++)
        if (log->algs[i].alg == bank->alg)
            return true;
    return false;
}

/* TPM 2.0 PC client profile: PCRs of dynamic launches begin with ff until one happens. */
static void start_values(struct eventlog_pcrs *out, const struct eventlog *log,
                         const struct pcr_bank *bank)
{
    memset(out, 0, sizeof *out);
    out->values[0][bank->len - 1] = log->locality;
    for (size_t i = FIRST_DRTM_PCR; i <= LAST_DRTM_PCR; i++)
        memset(out->values[i], 0xff, bank->len);
}

struct err eventlog_replay(struct eventlog_pcrs *out, const struct eventlog *log,
                           const struct pcr_bank *bank)
{
    if (!has_bank(log, bank))
        return err_set(ERR_NOT_FOUND, "event log: it has no %s digests", bank->name);
    struct eventlog_pcrs pcrs;
    start_values(&pcrs, log, bank);
    for (size_t i = 0; i < log->n_events; i++) {
        const struct eventlog_event *event = &log->events[i];
        if (!eventlog_extends(event))
            continue;
        struct bytes digest = eventlog_digest(log, event, bank);
        if (digest.len == 0)
            return err_set(ERR_UNTRUE, "event log: event %zu (at byte %zu) has no %s digest", i + 1,
                           event->offset, bank->name);
        pcr_bank_extend(bank, pcrs.values[event->pcr], digest.data);
        pcrs.extended |= UINT32_C(1) << event->pcr;
    }
    *out = pcrs;
    return err_ok();
}

static const struct {
    uint32_t type;
    const char *name;
} type_names[] = {
    {0x00000000, "EV_PREBOOT_CERT"},
    {0x00000001, "EV_POST_CODE"},
    {0x00000003, "EV_NO_ACTION"},
    {0x00000004, "EV_SEPARATOR"},
    {0x00000005, "EV_ACTION"},
    {0x00000006, "EV_EVENT_TAG"},
    {0x00000007, "EV_S_CRTM_CONTENTS"},
    {0x00000008, "EV_S_CRTM_VERSION"},
    {0x00000009, "EV_CPU_MICROCODE"},
    {0x0000000a, "EV_PLATFORM_CONFIG_FLAGS"},
    {0x0000000b, "EV_TABLE_OF_DEVICES"},
    {0x0000000c, "EV_COMPACT_HASH"},
    {0x0000000d, "EV_IPL"},
    {0x0000000e, "EV_IPL_PARTITION_DATA"},
    {0x0000000f, "EV_NONHOST_CODE"},
    {0x00000010, "EV_NONHOST_CONFIG"},
    {0x00000011, "EV_NONHOST_INFO"},
    {0x00000012, "EV_OMIT_BOOT_DEVICE_EVENTS"},
    {0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG"},
    {0x80000002, "EV_EFI_VARIABLE_BOOT"},
    {0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION"},
    {0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER"},
    {0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER"},
    {0x80000006, "EV_EFI_GPT_EVENT"},
    {0x80000007, "EV_EFI_ACTION"},
    {0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"},
    {0x80000009, "EV_EFI_HANDOFF_TABLES"},
    {0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"},
    {0x8000000b, "EV_EFI_HANDOFF_TABLES2"},
    {0x8000000c, "EV_EFI_VARIABLE_BOOT2"},
    {0x80000010, "EV_EFI_HCRTM_EVENT"},
    {0x800000e0, "EV_EFI_VARIABLE_AUTHORITY"},
    {0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB"},
    {0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"},
};

const char *eventlog_type_name(uint32_t type)
{
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (type_names[i].type == type)
            return type_names[i].name;
    return "unknown";
}
