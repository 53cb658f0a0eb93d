/* The software TPM of a fake host: PCRs, TPMS_ATTEST, signatures; and what its attester measures.
 */
#include "fake_internal.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/tpm_make.h"

#include "tests/unit/eventlog_make.h"

void fake_extend(struct fake_host *h, unsigned pcr, const char *kind, struct bytes data)
{
    uint8_t digest[SHA256_LEN];
    runtime_event_digest(digest, EVP_sha256(), kind, data);
    sha256_3(h->pcrs.values[pcr], bytes_of(h->pcrs.values[pcr], SHA256_LEN),
             bytes_of(digest, SHA256_LEN), bytes_of(NULL, 0));
    fake_must(runtime_log_append(&h->runtime_log, pcr, kind, data));
}

struct bytes fake_event(char text[32], unsigned pcr, unsigned n)
{
    snprintf(text, 32, "event %u of PCR %u", n, pcr);
    return bytes_of_str(text);
}

/* Two events for each of PCRs 0 to 7, one that is not extended, and the values they lead to. */
static void boot_by_events(struct fake_host *h)
{
    struct eventlog log;
    struct eventlog_pcrs pcrs;
    buf_clear(&h->event_log);
    make_sha256_header(&h->event_log);
    make_locality(&h->event_log, 3);
    for (unsigned i = 0; i < FAKE_EVENT_PCRS * FAKE_EVENTS; i++) {
        char text[32];
        unsigned pcr = i % FAKE_EVENT_PCRS;
        make_sha256_event(&h->event_log, pcr, 1, fake_event(text, pcr, i / FAKE_EVENT_PCRS));
    }
    fake_must(eventlog_parse(&log, buf_bytes(&h->event_log)));
    fake_must(eventlog_replay(&pcrs, &log, pcr_bank_of(TPM_ALG_SHA256_ID)));
    eventlog_cleanup(&log);
    for (unsigned i = 0; i < FAKE_EVENT_PCRS; i++)
        memcpy(h->pcrs.values[i], pcrs.values[i], SHA256_LEN);
}

void fake_reset(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    memset(&h->pcrs, 0, sizeof h->pcrs);
    for (unsigned i = 0; i < N_BOOT_PCRS; i++)
        memset(h->pcrs.values[i], 0xa0 + (int)i, SHA256_LEN);
    if (w->has_event_log)
        boot_by_events(h);
    h->reset_count++;
    h->counter++;
    h->clock_ms += 5000;
    random_bytes(h->boot_id, sizeof h->boot_id);
    runtime_log_cleanup(&h->runtime_log);
    h->period = 0;
}

static void extend_hex(struct fake_host *h, unsigned pcr, const char *kind, uint8_t fill,
                       const char *after)
{
    uint8_t hash[SHA256_LEN];
    memset(hash, fill, sizeof hash);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(hash, sizeof hash));
    buf_append_str(&text, after);
    fake_extend(h, pcr, kind, buf_bytes(&text));
}

void fake_measure(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    fake_extend(h, PCR_MODEL, "model-id", bytes_of_str(w->model_id));
    extend_hex(h, PCR_MODEL, "model-file", 0x31, " 512 config.json");
    extend_hex(h, PCR_MODEL, "model-file", 0x32, " 4096 model.safetensors");
    fake_extend(h, PCR_MODEL, "cap", bytes_of(NULL, 0));
    extend_hex(h, PCR_CODE, "server-binary", 0x41, "");
    fake_extend(h, PCR_CODE, "kernels", bytes_of_str(w->kernels));
    extend_hex(h, PCR_CODE, "sandbox", 0x42, "");
    fake_extend(h, PCR_CODE, "profile", bytes_of_str("default"));
    fake_extend(h, PCR_CODE, "cap", bytes_of(NULL, 0));
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(h->boot_id, BOOT_ID_LEN));
    fake_extend(h, PCR_IDENTITY, "boot-id", buf_bytes(&text));
    buf_clear(&text);
    note_vkey_format(&text, &w->log.key);
    fake_extend(h, PCR_IDENTITY, "log",
                w->log_vkey != NULL ? bytes_of_str(w->log_vkey) : buf_bytes(&text));
    buf_clear(&text);
    buf_printf(&text, "quote-interval %llu\nmax-context 4096\nmax-requests 8\n",
               (unsigned long long)w->quote_interval_s);
    fake_extend(h, PCR_IDENTITY, "config", buf_bytes(&text));
}

void fake_new_key(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    random_bytes(h->spki_sha256, SHA256_LEN);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(h->spki_sha256, SHA256_LEN));
    fake_extend(h, PCR_IDENTITY, "identity", buf_bytes(&text));
}

/* TPMS_ATTEST up to the firmware version. */
static void begin_attest(struct buf *out, struct fake_host *h, uint16_t type,
                         const uint8_t extra[SHA256_LEN])
{
    buf_append_u32be(out, 0xff544347);
    buf_append_u16be(out, type);
    fake_append_2b(
        out, bytes_of(h->ak_name.bytes, TPM_NAME_SHA256_LEN)); /* stands for the qualified name */
    fake_append_2b(out, bytes_of(extra, SHA256_LEN));
    buf_append_u64be(out, h->clock_ms);
    buf_append_u32be(out, h->reset_count);
    buf_append_u32be(out, h->restart_count);
    buf_append_u8(out, h->safe);
    buf_append_u64be(out, 0x2020010203040506);
}

void fake_attest_quote(struct buf *out, struct fake_host *h, const uint8_t extra[SHA256_LEN])
{
    uint8_t digest[SHA256_LEN];
    sha256(digest, bytes_of(h->pcrs.values, sizeof h->pcrs.values));
    begin_attest(out, h, ATTESTED_QUOTE, extra);
    buf_append_u32be(out, 1);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    buf_append(out, "\x03\xff\xff\x00", 4);
    fake_append_2b(out, bytes_of(digest, SHA256_LEN));
}

void fake_attest_counter(struct buf *out, struct fake_host *h, const uint8_t extra[SHA256_LEN])
{
    BUF_AUTO area = BUF_INIT;
    buf_append_u32be(&area, h->counter_index);
    buf_append_u16be(&area, TPM_ALG_SHA256_ID);
    buf_append_u32be(&area, h->counter_attributes);
    buf_append_u16be(&area, 0);
    buf_append_u16be(&area, 8);
    uint8_t name[TPM_NAME_SHA256_LEN] = {0, TPM_ALG_SHA256_ID};
    sha256(name + 2, buf_bytes(&area));
    begin_attest(out, h, ATTESTED_NV, extra);
    fake_append_2b(out, bytes_of(name, sizeof name));
    buf_append_u16be(out, 0);
    buf_append_u16be(out, 8);
    buf_append_u64be(out, h->counter);
}

/* TPMT_SIGNATURE with SHA-256: ECDSA, or RSASSA. */
void fake_sign(struct buf *out, EVP_PKEY *key, struct bytes message)
{
    uint16_t scheme = EVP_PKEY_is_a(key, "RSA") ? TPM_ALG_RSASSA_ID : TPM_ALG_ECDSA_ID;
    make_signature(out, key, scheme, TPM_ALG_SHA256_ID, message);
}
