#include "attest/attested.h"

#include <string.h>

enum {
    DATA_MAX = 2 + 64, /* TPM2B_DATA: as long as a TPMT_HA */
    DIGEST_MAX = 64,
    SELECT_LEN = 3,
};

static const uint32_t tpm_generated = 0xff544347; /* TPM_GENERATED_VALUE */

static struct err malformed(const char *field)
{
    return err_set(ERR_MALFORMED, "TPMS_ATTEST: %s", field);
}

/* TPMS_QUOTE_INFO (Part 2, 10.12.4) with one selection of three bytes. */
static struct err read_quote(struct attested *a, struct reader *r)
{
    uint32_t n_selections = read_u32be(r);
    if (!r->failed && n_selections != 1)
        return err_set(ERR_MALFORMED, "TPMS_ATTEST: %u PCR selections, not exactly one",
                       (unsigned)n_selections);
    a->pcr_bank = read_u16be(r);
    uint8_t select_len = read_u8(r);
    if (!r->failed && select_len != SELECT_LEN)
        return err_set(ERR_MALFORMED, "TPMS_ATTEST: a PCR selection of %u bytes, not 3",
                       select_len);
    struct bytes select = read_bytes(r, SELECT_LEN);
    if (r->failed)
        return malformed("truncated in the PCR selection");
    memcpy(a->pcr_select, select.data, SELECT_LEN);
    a->pcr_digest = read_prefixed_u16be(r);
    if (r->failed || a->pcr_digest.len > DIGEST_MAX)
        return malformed("the PCR digest does not fit");
    return err_ok();
}

/* TPMS_NV_CERTIFY_INFO (Part 2, 10.12.7). */
static struct err read_nv(struct attested *a, struct reader *r)
{
    a->nv_name = read_prefixed_u16be(r);
    a->nv_offset = read_u16be(r);
    a->nv_contents = read_prefixed_u16be(r);
    if (r->failed || a->nv_name.len > TPM_NAME_MAX)
        return malformed("the NV index's name or contents do not fit");
    return err_ok();
}

/* From the signer to the firmware version, the same for all types. */
static struct err read_common(struct attested *a, struct reader *r)
{
    a->signer = read_prefixed_u16be(r);
    if (r->failed || a->signer.len > TPM_NAME_MAX)
        return malformed("the signer's name does not fit");
    a->extra_data = read_prefixed_u16be(r);
    if (r->failed || a->extra_data.len > DATA_MAX)
        return malformed("extraData does not fit");
    a->clock_ms = read_u64be(r);
    a->reset_count = read_u32be(r);
    a->restart_count = read_u32be(r);
    a->safe = read_u8(r);
    a->firmware = read_u64be(r);
    if (r->failed)
        return malformed("truncated in the clock or firmware version");
    if (a->safe > 1)
        return malformed("the clock's safe flag is neither 0 nor 1");
    return err_ok();
}

struct err attested_parse(struct attested *out, struct bytes data)
{
    if (data.len > ATTESTED_MAX)
        return err_set(ERR_MALFORMED, "TPMS_ATTEST: %zu bytes, over %d", data.len, ATTESTED_MAX);
    struct reader r = reader_of(data);
    struct attested a = {0};
    uint32_t magic = read_u32be(&r);
    if (r.failed)
        return malformed("truncated in the magic");
    /* What no TPM made can begin with anything else: a restricted key signs such bytes only when
     * the TPM itself made them. */
    if (magic != tpm_generated)
        return err_set(ERR_UNTRUE, "TPMS_ATTEST: magic 0x%08x: these bytes were not made by a TPM",
                       (unsigned)magic);
    a.type = read_u16be(&r);
    if (r.failed)
        return malformed("truncated in the type");
    if (a.type != ATTESTED_QUOTE && a.type != ATTESTED_NV)
        return err_set(ERR_UNSUPPORTED,
                       "TPMS_ATTEST: type 0x%04x, neither a quote nor an NV reading", a.type);
    TRY(read_common(&a, &r));
    TRY(a.type == ATTESTED_QUOTE ? read_quote(&a, &r) : read_nv(&a, &r));
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "TPMS_ATTEST: %zu bytes are left over", reader_left(&r));
    *out = a;
    return err_ok();
}

struct err attested_check_selection(const struct attested *a, uint16_t bank,
                                    const uint8_t select[3])
{
    if (a->type != ATTESTED_QUOTE)
        return err_set(ERR_UNTRUE, "not a quote: type 0x%04x", a->type);
    if (a->pcr_bank != bank)
        return err_set(ERR_UNTRUE, "the quote is over PCR bank 0x%04x, not 0x%04x", a->pcr_bank,
                       bank);
    if (memcmp(a->pcr_select, select, SELECT_LEN) != 0)
        return err_set(ERR_UNTRUE, "the quote selects PCRs %02x%02x%02x, not %02x%02x%02x",
                       a->pcr_select[0], a->pcr_select[1], a->pcr_select[2], select[0], select[1],
                       select[2]);
    return err_ok();
}

struct err attested_check_digest(const struct attested *a, const struct tpm_public *ak,
                                 struct bytes values)
{
    if (a->type != ATTESTED_QUOTE)
        return err_set(ERR_UNTRUE, "not a quote: type 0x%04x", a->type);
    /* Part 3, 18.4: the digest is made with the hash of the signing scheme, whatever the bank. */
    const EVP_MD *md = tpm_hash(ak->scheme_hash);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (md == NULL || EVP_Digest(values.data, values.len, digest, &len, md, NULL) != 1)
        return err_set(ERR_UNTRUE, "the key's scheme has no hash for the PCR digest");
    if (!bytes_equal_secret(a->pcr_digest, bytes_of(digest, len)))
        return err_set(ERR_UNTRUE, "the quote's PCR digest is not that of the given PCR values");
    return err_ok();
}

struct err attested_check_extra(const struct attested *a, struct bytes extra)
{
    if (!bytes_equal_secret(a->extra_data, extra))
        return err_set(ERR_UNTRUE, "extraData (%zu bytes) is not the expected %zu bytes",
                       a->extra_data.len, extra.len);
    return err_ok();
}

struct err attested_check_quote(const struct attested *a, const struct tpm_public *ak,
                                const struct pcr_values *pcrs, const uint8_t extra[SHA256_LEN])
{
    static const uint8_t pcrs_0_to_15[SELECT_LEN] = {0xff, 0xff, 0x00};
    TRY(attested_check_selection(a, TPM_ALG_SHA256_ID, pcrs_0_to_15));
    TRY(attested_check_digest(a, ak, bytes_of(pcrs->values, sizeof pcrs->values)));
    return attested_check_extra(a, bytes_of(extra, SHA256_LEN));
}
