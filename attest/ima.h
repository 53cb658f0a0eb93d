/*
 * IMA measurement lists, as Linux shows them in binary_runtime_measurements and
 * ascii_runtime_measurements (kernel: security/integrity/ima/ima_fs.c, ima_template.c). No TSS.
 *
 * A list is a claim until its replay meets a quoted PCR 10. Every entry's template hash is checked
 * on the way; what IMA could not pin down (a violation) has none and is counted.
 */
#ifndef ATTEST_IMA_H
#define ATTEST_IMA_H

#include "attest/pcr_bank.h"

enum {
    IMA_MAX = 64 * 1024 * 1024,  /* bytes of a list */
    IMA_ENTRY_MAX = 1024 * 1024, /* bytes of one entry's template data */
    IMA_NAME_MAX = 32,           /* of a template's name */
    IMA_PCR = 10,
    IMA_SHA1_LEN = 20,
};

/* Views are valid until the next call on the same list. */
struct ima_entry {
    char template_name[IMA_NAME_MAX + 1];
    uint8_t template_hash[IMA_SHA1_LEN]; /* all zero: a violation */
    bool violation;
    struct bytes measured;   /* what every bank hashes */
    bool has_fields;         /* the template is one of ima, ima-ng, ima-ngv2, ima-sig, ima-sigv2 and
                                ima-buf; of others only the hash is checked */
    struct bytes digest_alg; /* "sha256"; "ima:sha256" in v2; empty in `ima`, which is SHA-1 */
    struct bytes digest, path;
    struct bytes extra; /* the signature, or the buffer; may be empty */
};

struct ima_list {
    struct reader r;
    bool ascii;
    uint64_t n; /* entries read */
    struct buf data;
};

/* Which of the two forms it is, by its first bytes; `data` must outlive the list. ERR_MALFORMED for
 * neither, ERR_LIMIT. */
struct err ima_list_init(struct ima_list *out, struct bytes data) MUST_USE;
void ima_list_cleanup(struct ima_list *list);
bool ima_list_at_end(const struct ima_list *list);

/* The next entry. ERR_MALFORMED for one that is not well-formed; ERR_UNTRUE for a template hash
 * that is not its data's, or a PCR other than 10; ERR_UNSUPPORTED for a template that the text form
 * does not show whole. Messages name the entry, from 1. */
struct err ima_next(struct ima_list *list, struct ima_entry *out) MUST_USE;

struct ima_result {
    uint64_t n_entries, n_violations; /* of the whole list */
    uint64_t n_attested;              /* entries up to the one that met `quoted` */
    uint8_t pcr[PCR_DIGEST_MAX];      /* PCR 10 after the whole list */
};

/* Replays the whole list in one bank: the template hash for SHA-1, the bank's own hash of the same
 * data for others (Linux 5.8 and later). With `quoted` (bank->len bytes) ERR_UNTRUE unless PCR 10
 * has that value after some entry, and ERR_UNSUPPORTED for SHA-1, which no quote is believed in. */
struct err ima_replay(struct ima_result *out, struct bytes data, const struct pcr_bank *bank,
                      const uint8_t *quoted) MUST_USE;

#endif
