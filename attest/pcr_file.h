/*
 * PCR values from a file: the plain values one after the other, or the form in which tpm2-tools
 * (tpm2_quote --pcr) and, through it, keylime write them.
 */
#ifndef ATTEST_PCR_FILE_H
#define ATTEST_PCR_FILE_H

#include "attest/pcr_bank.h"

enum {
    PCR_FILE_MAX = 2048, /* bytes: more than either form can have */
    PCR_SELECT_LEN = 3,  /* bytes of a selection of 24 PCRs; bit i of byte k is PCR 8k + i */
};

/* Appends the values of the selected PCRs of `bank`, ascending. ERR_MALFORMED for a file of neither
 * form; ERR_UNTRUE for one that says that it holds another bank or other PCRs. */
struct err pcr_file_parse(struct buf *out, struct bytes data, const struct pcr_bank *bank,
                          const uint8_t select[PCR_SELECT_LEN]) MUST_USE;

/* How many PCRs are selected. */
size_t pcr_select_count(const uint8_t select[PCR_SELECT_LEN]);
bool pcr_select_has(const uint8_t select[PCR_SELECT_LEN], unsigned pcr);

#endif
