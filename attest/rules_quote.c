/*
 * Rules 3 to 6: signatures, what a quote covers, its context, and the counters of the TPM.
 */
#include "attest/rules.h"

#include <string.h>

enum {
    NV_TYPE_COUNTER = 1 << 4, /* TPM_NT_COUNTER in bits 4 to 7 of TPMA_NV (Part 2, 13.4) */
    NV_WRITTEN = 1 << 29,
    COUNTER_LEN = 8,
};

struct err rule_signature(const struct tpm_public *ak, struct bytes attest, struct bytes signature,
                          const char *what)
{
    return err_context(tpm_signature_verify(ak, signature, attest), "%s", what);
}

struct err rule_quote_signature(const struct tpm_public *ak, const struct statement_quote *q)
{
    static const char *const names[] = {"periodic quote", "live quote", "stop quote"};
    return rule_signature(ak, bytes_of(q->attest, q->attest_len),
                          bytes_of(q->signature, q->signature_len), names[q->context.kind]);
}

struct err rule_quote(struct attested *out, const struct tpm_public *ak,
                      const struct statement_quote *q)
{
    static const uint8_t pcrs_0_to_15[3] = {0xff, 0xff, 0x00};
    struct attested a;
    TRY(attested_parse(&a, bytes_of(q->attest, q->attest_len)));
    TRY(attested_check_selection(&a, TPM_ALG_SHA256_ID, pcrs_0_to_15));
    TRY(attested_check_digest(&a, ak, bytes_of(q->pcrs.values, sizeof q->pcrs.values)));
    *out = a;
    return err_ok();
}

struct err rule_context(const struct statement_quote *q, const struct attested *a,
                        enum quote_kind kind, const uint8_t boot_id[BOOT_ID_LEN],
                        const char *origin)
{
    const struct quote_context *c = &q->context;
    uint8_t extra[SHA256_LEN];
    context_hash(extra, bytes_of(q->context_text, q->context_len));
    TRY(attested_check_extra(a, bytes_of(extra, SHA256_LEN)));
    if (c->kind != kind)
        return err_set(ERR_UNTRUE, "the context is of another kind than is needed here");
    if (memcmp(c->boot_id, boot_id, BOOT_ID_LEN) != 0)
        return err_set(ERR_UNTRUE, "the context names another boot id than the boot statement");
    if (strcmp(c->origin, origin) != 0)
        return err_set(ERR_UNTRUE, "the context names another log than '%.80s'", origin);
    if (c->has_previous && c->previous_index >= c->head_size)
        return err_set(ERR_UNTRUE,
                       "the context's head of size %llu does not cover the previous "
                       "quote, entry %llu",
                       (unsigned long long)c->head_size, (unsigned long long)c->previous_index);
    return err_ok();
}

/* The Name of an NV index (Part 1, 16; Part 2, 13.5): SHA-256 of TPMS_NV_PUBLIC. */
static void nv_name(struct tpm_name *out, uint32_t index, uint32_t attributes)
{
    BUF_AUTO area = BUF_INIT;
    buf_append_u32be(&area, index);
    buf_append_u16be(&area, TPM_ALG_SHA256_ID);
    buf_append_u32be(&area, attributes);
    buf_append_u16be(&area, 0); /* no policy */
    buf_append_u16be(&area, COUNTER_LEN);
    *out = (struct tpm_name){.len = TPM_NAME_SHA256_LEN};
    out->bytes[1] = TPM_ALG_SHA256_ID;
    sha256(out->bytes + 2, buf_bytes(&area));
}

/*
 * An ordinary NV index holds whatever its owner writes; only one of type counter cannot go back.
 * The certified Name commits to the type, so it must be the Name of a counter at this index with
 * one of the sets of access rights that a counter may have: who may read and increment it, and
 * whether it is the platform's. An orderly counter is none: it jumps.
 */
static struct err check_is_counter(struct bytes name, uint32_t index)
{
    static const uint32_t rights[] = {
        1u << 0 /* PPWRITE */, 1u << 1 /* OWNERWRITE */,      1u << 2 /* AUTHWRITE */,
        1u << 16 /* PPREAD */, 1u << 17 /* OWNERREAD */,      1u << 18 /* AUTHREAD */,
        1u << 25 /* NO_DA */,  1u << 30 /* PLATFORMCREATE */,
    };
    const unsigned n_rights = sizeof rights / sizeof *rights;
    for (unsigned set = 0; set < 1u << n_rights; set++) {
        uint32_t attributes = NV_TYPE_COUNTER | NV_WRITTEN;
        for (unsigned i = 0; i < n_rights; i++)
            if (set >> i & 1)
                attributes |= rights[i];
        struct tpm_name candidate;
        nv_name(&candidate, index, attributes);
        if (bytes_equal(name, bytes_of(candidate.bytes, candidate.len)))
            return err_ok();
    }
    return err_set(ERR_UNTRUE, "the certified NV index is not a counter at 0x%08x",
                   (unsigned)index);
}

/* Hash("blindllama-boot/v1\n" || the hex digits of the boot id). */
static void counter_extra(uint8_t out[SHA256_LEN], const uint8_t boot_id[BOOT_ID_LEN])
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-boot/v1\n");
    buf_append_hex(&text, bytes_of(boot_id, BOOT_ID_LEN));
    sha256(out, buf_bytes(&text));
}

static struct err check_counter(const struct attested *a, const struct statement_boot *b)
{
    if (a->type != ATTESTED_NV)
        return err_set(ERR_UNTRUE, "not a reading of an NV index: type 0x%04x", a->type);
    uint8_t extra[SHA256_LEN];
    counter_extra(extra, b->boot_id);
    TRY(attested_check_extra(a, bytes_of(extra, SHA256_LEN)));
    if (a->nv_offset != 0 || a->nv_contents.len != COUNTER_LEN)
        return err_set(ERR_UNTRUE, "%zu bytes at offset %u, not the counter's 8 bytes",
                       a->nv_contents.len, a->nv_offset);
    if (a->reset_count != b->reset_count || a->restart_count != b->restart_count)
        return err_set(ERR_UNTRUE,
                       "the TPM says reset %u, restart %u; the statement says %llu, %llu",
                       (unsigned)a->reset_count, (unsigned)a->restart_count,
                       (unsigned long long)b->reset_count, (unsigned long long)b->restart_count);
    return check_is_counter(a->nv_name, b->counter_index);
}

struct err rule_counter_read(struct rule_counter *out, const struct statement_boot *b)
{
    struct attested a;
    TRY(err_context(attested_parse(&a, bytes_of(b->attest, b->attest_len)), "boot counter"));
    TRY(err_context(check_counter(&a, b), "boot counter"));
    struct reader value = reader_of(a.nv_contents);
    struct rule_counter c = {.value = read_u64be(&value),
                             .index = b->counter_index,
                             .clock_ms = a.clock_ms,
                             .firmware = a.firmware,
                             .reset_count = a.reset_count,
                             .restart_count = a.restart_count,
                             .safe = a.safe == 1};
    c.name.len = a.nv_name.len;
    memcpy(c.name.bytes, a.nv_name.data, a.nv_name.len);
    *out = c;
    return err_ok();
}

struct err rule_counts(const struct attested *quote, const struct rule_counter *boot,
                       uint64_t clock_ms)
{
    if (quote->reset_count != boot->reset_count || quote->restart_count != boot->restart_count)
        return err_set(ERR_UNTRUE,
                       "the quote is of reset %u, restart %u; the boot statement is of "
                       "reset %u, restart %u",
                       (unsigned)quote->reset_count, (unsigned)quote->restart_count,
                       (unsigned)boot->reset_count, (unsigned)boot->restart_count);
    if (quote->firmware != boot->firmware)
        return err_set(ERR_UNTRUE, "the TPM's firmware version changed within a boot");
    if (quote->clock_ms <= clock_ms)
        return err_set(ERR_UNTRUE, "the TPM's clock does not advance: %llu ms after %llu ms",
                       (unsigned long long)quote->clock_ms, (unsigned long long)clock_ms);
    return err_ok();
}
