/*
 * The quote context (docs/FORMATS.md section 3): the text whose hash a quote carries as extraData.
 */
#ifndef ATTEST_CONTEXT_H
#define ATTEST_CONTEXT_H

#include "attest/tpm_public.h"
#include "transparency/checkpoint.h"

enum quote_kind { QUOTE_PERIODIC, QUOTE_DEMAND, QUOTE_STOP };
enum { NONCE_LEN = 32, NONCES_MAX = 16384, BOOT_ID_LEN = 16, CONTEXT_MAX = 2048 };

struct quote_context {
    enum quote_kind kind;
    struct tpm_name ak_name;
    uint8_t boot_id[BOOT_ID_LEN];
    char origin[NOTE_NAME_MAX + 1];
    uint64_t head_size;
    struct merkle_hash head_root;
    uint8_t head_note[SHA256_LEN];
    bool has_previous;
    uint64_t previous_index;
    struct merkle_hash previous_leaf;
    uint8_t spki_sha256[SHA256_LEN];
    uint64_t n_nonces; /* 0: none */
    struct merkle_hash nonce_root;
    uint64_t period;
    uint64_t time_s; /* advisory */
};

void context_format(struct buf *out, const struct quote_context *c);
/* ERR_MALFORMED with the line. */
struct err context_parse(struct quote_context *out, struct bytes text) MUST_USE;
/* extraData. */
void context_hash(uint8_t out[SHA256_LEN], struct bytes text);

#endif
