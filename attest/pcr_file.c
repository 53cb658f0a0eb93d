/*
 * The form of tpm2-tools is its structures as x86 lays them out, little-endian: TPML_PCR_SELECTION
 * (u32 count, sixteen selections of u16 hash, u8 length, 4 bytes, 1 byte of padding), u32 number of
 * lists, and that many TPML_DIGEST (u32 count, eight times u16 length and 64 bytes).
 */
#include "attest/pcr_file.h"

#include <string.h>

enum {
    SELECTIONS = 16,
    SELECTION_LEN = 8,
    DIGESTS = 8,   /* of a list */
    LISTS_MAX = 3, /* 24 PCRs of one bank */
    DIGEST_FIELD = 64,
};

bool pcr_select_has(const uint8_t select[PCR_SELECT_LEN], unsigned pcr)
{
    return pcr < PCR_COUNT && (select[pcr / 8] >> pcr % 8 & 1) != 0;
}

size_t pcr_select_count(const uint8_t select[PCR_SELECT_LEN])
{
    size_t n = 0;
    for (unsigned i = 0; i < PCR_COUNT; i++)
        n += pcr_select_has(select, i);
    return n;
}

/* One selection, which must be the wanted one; fifteen that are not used. */
static struct err read_selections(struct reader *r, const struct pcr_bank *bank,
                                  const uint8_t select[PCR_SELECT_LEN])
{
    uint32_t n = read_u32le(r);
    uint16_t alg = read_u16le(r);
    uint8_t len = read_u8(r);
    struct bytes bits = read_bytes(r, PCR_SELECT_LEN);
    read_bytes(r, SELECTION_LEN - 2 - 1 - PCR_SELECT_LEN);
    read_bytes(r, (size_t)(SELECTIONS - 1) * SELECTION_LEN);
    if (r->failed || n != 1 || len != PCR_SELECT_LEN)
        return err_set(ERR_MALFORMED, "%u selections, the first of %u bytes, not one of 3",
                       (unsigned)n, len);
    if (alg != bank->alg)
        return err_set(ERR_UNTRUE, "it holds values of bank 0x%04x, not of %s", alg, bank->name);
    if (memcmp(bits.data, select, PCR_SELECT_LEN) != 0)
        return err_set(ERR_UNTRUE, "it holds PCRs %02x%02x%02x (a bit a PCR), not %02x%02x%02x",
                       bits.data[0], bits.data[1], bits.data[2], select[0], select[1], select[2]);
    return err_ok();
}

static struct err read_list(struct reader *r, struct buf *out, const struct pcr_bank *bank)
{
    uint32_t n = read_u32le(r);
    if (r->failed || n == 0 || n > DIGESTS)
        return err_set(ERR_MALFORMED, "a list of %u values, not 1 to %d", (unsigned)n, DIGESTS);
    for (uint32_t i = 0; i < DIGESTS; i++) {
        uint16_t len = read_u16le(r);
        struct bytes value = read_bytes(r, DIGEST_FIELD);
        if (r->failed || (i < n && len != bank->len))
            return err_set(ERR_MALFORMED, "a value of %u bytes in bank %s", len, bank->name);
        if (i < n)
            buf_append(out, value.data, len);
    }
    return err_ok();
}

static struct err read_tools(struct buf *out, struct bytes data, const struct pcr_bank *bank,
                             const uint8_t select[PCR_SELECT_LEN])
{
    struct reader r = reader_of(data);
    TRY(read_selections(&r, bank, select));
    uint32_t n_lists = read_u32le(&r);
    if (r.failed || n_lists == 0 || n_lists > LISTS_MAX)
        return err_set(ERR_MALFORMED, "%u lists of values, not 1 to %d", (unsigned)n_lists,
                       LISTS_MAX);
    for (uint32_t i = 0; i < n_lists; i++)
        TRY(read_list(&r, out, bank));
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "%zu bytes are left over", reader_left(&r));
    size_t wanted = pcr_select_count(select) * bank->len;
    if (out->len != wanted)
        return err_set(ERR_MALFORMED, "%zu bytes of values where %zu PCRs have %zu", out->len,
                       pcr_select_count(select), wanted);
    return err_ok();
}

/* The length tells the forms apart: no selection of a bank has 668, 1,200 or 1,732 bytes of values.
 */
static bool has_tools_length(size_t len)
{
    const size_t head = sizeof(uint32_t) + SELECTIONS * SELECTION_LEN + sizeof(uint32_t);
    const size_t list = sizeof(uint32_t) + DIGESTS * (sizeof(uint16_t) + DIGEST_FIELD);
    for (size_t n = 1; n <= LISTS_MAX; n++)
        if (len == head + n * list)
            return true;
    return false;
}

struct err pcr_file_parse(struct buf *out, struct bytes data, const struct pcr_bank *bank,
                          const uint8_t select[PCR_SELECT_LEN])
{
    size_t wanted = pcr_select_count(select) * bank->len;
    BUF_AUTO values = BUF_INIT;
    if (data.len == wanted)
        buf_append_bytes(&values, data);
    else if (has_tools_length(data.len))
        TRY(err_context(read_tools(&values, data, bank, select), "PCR values"));
    else
        return err_set(ERR_MALFORMED, "PCR values: %zu bytes where %zu PCRs of %s have %zu",
                       data.len, pcr_select_count(select), bank->name, wanted);
    buf_append_bytes(out, buf_bytes(&values));
    return err_ok();
}
