/*
 * Bytes that a TPM made (swtpm 0.7.1, read with tpm2-tools 5.4), in hex: an ECDSA P-256 attestation
 * key, a quote by it over PCRs 0 to 15 (all zero) with extraData 32 times 01, an NV counter's
 * certified reading (value 1) with extraData 32 times 02, and a P-256 endorsement key of template
 * L-2.
 */
#ifndef TESTS_SWTPM_VECTORS_H
#define TESTS_SWTPM_VECTORS_H

#include "common/text.h"

static const char swtpm_ak_public[] =
    "0023000b00050472000000100018000b00030010002064c00ff73d81b68804120b8f00777c84df16da21cfd31b30"
    "38d025eab83286110020b8830fc57746fd8d1f5dfd14844e9ef0f784808137fa50c16a5e6862ef2d0c4b";
static const char swtpm_ak_name[] =
    "000b5ff6652b7ad16f467a9d5cea2208847cd42c8ed38dea6f369e4d380604c028fb";
static const char swtpm_quote[] =
    "ff54434780180022000b5c8958853b6d5a7251446e035af9aa5158faa70b163102eb06fe656232e6e67f00200101"
    "01010101010101010101010101010101010101010101010101010101010100000000000004e10000000200000000"
    "01201910230016363600000001000b03ffff000020076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c"
    "92b89b55f36560";
static const char swtpm_quote_signature[] =
    "0018000b00203bccebd13c6929b04735663d0f9a62adbe7be21a45a3f119643d69aa4ca186f20020a60f2c76aec9"
    "edcee93c533a3337595e9fa0d3b7ad521d9c407af3c0f7e606c7";
static const char swtpm_nv[] =
    "ff54434780140022000b5c8958853b6d5a7251446e035af9aa5158faa70b163102eb06fe656232e6e67f00200202"
    "02020202020202020202020202020202020202020202020202020202020200000000000005dc0000000200000000"
    "0120191023001636360022000b1f434389d1ce9ff82cf649aa20607a1011eb37b3fa49a93724f4bd985b4fc52f00"
    "0000080000000000000001";
static const char swtpm_nv_signature[] =
    "0018000b0020e4d342ac1ec89f940270881c3e90ae2b074849b8bea73d840fcb5e3a0b768efc002072ba65efb979"
    "14b6a12c40bf1cec24602ab32aa1370e50ee8ad9ad458c880b18";
static const char swtpm_ek_public[] =
    "0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa00060080"
    "004300100003001000203bd543a99a01073d82a2118559a642d91cb8ec9fded5101c881c63449f7da8940020c71b"
    "691eebbf97cb4889fcde7e3ac53e3cb4af205ded070873755ad5ad3c0786";
static const char swtpm_ek_name[] =
    "000bf324564f2958d6f41664ddad4976a1404ad71e45dce3c531ec9bd72e2afaec8e";

/* Appends the bytes of a hex text. */
static inline void from_hex(struct buf *out, const char *hex)
{
    struct bytes text = bytes_of_str(hex);
    for (size_t i = 0; i + 1 < text.len; i += 2) {
        uint8_t byte = 0;
        if (is_err(hex_decode(&byte, 1, bytes_of(text.data + i, 2))))
            return;
        buf_append_u8(out, byte);
    }
}

#endif
