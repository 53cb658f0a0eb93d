/*
 * The rules of docs/FORMATS.md section 9 that judge one statement, shared by the live verifier
 * (verify.c) and the replay (replay.c). Each function is one rule or one part of it: ok when it
 * holds; ERR_UNTRUE, ERR_MALFORMED, ERR_UNSUPPORTED, ERR_LIMIT or ERR_NOT_FOUND with the reason
 * when it does not; ERR_MEMORY and ERR_IO when it could not be decided. For the files of this room
 * only.
 */
#ifndef ATTEST_RULES_H
#define ATTEST_RULES_H

#include "attest/gpu_chain.h"
#include "attest/policy.h"
#include "attest/runtime_log.h"
#include "attest/statement.h"

/* Whether an error says that the rule does not hold, and not that it could not be decided. */
bool rule_refuses(struct err e);

/* Gives the bytes of a reference, appended to `out`, whose size and hash the source has checked. */
typedef struct err rule_blob_source(void *context, const struct blob_ref *ref, struct buf *out);

/* What is known of an attestation key; grows with each of its `host` statements. */
struct rule_host {
    struct tpm_name ak_name;
    struct tpm_public ak;
    bool certified;     /* by a certificate of its own; nothing else need bind it to a TPM */
    struct ek_cert ek;  /* unless certified */
    struct ak_cert own; /* if certified */
    /* Whose history this is: the hash of the public key (SPKI) that was certified, the endorsement
     * key or this one. A certificate is renewed, and whoever has it can write an ECDSA signature or
     * its DER differently; a key's name holds attributes that its certificate says nothing of. */
    uint8_t tpm[SHA256_LEN];
    bool known; /* a host statement was taken */
    bool test;  /* a chain ended at a test root */
    uint8_t root[SHA256_LEN];
    bool *vouched; /* (policy's n_activators): which of them have signed for this pair */
    unsigned n_vouched;
};
#define RULE_HOST_INIT ((struct rule_host){0})
void rule_host_cleanup(struct rule_host *h);

/* Rule 2 for one `host` statement: the AK's name, kind and attributes, the certificate's way to a
 * root of the policy, and what activations say. A later statement must name the same AK and EK
 * certificate, or certify the same AK. On failure `h` is as before. */
struct err rule_host_add(struct rule_host *h, const struct statement *s, const struct policy *p,
                         rule_blob_source *blobs, void *context) MUST_USE;
/* Rule 2, the last part, without a live activation: k activators of the policy have signed, or the
 * AK has a certificate of its own. */
struct err rule_host_bound(const struct rule_host *h, const struct policy *p) MUST_USE;

/* Manufacturer and model, or an instance's name, from the certificate; for people. */
const char *rule_host_subject(const struct rule_host *h);

bool tpm_name_equal(const struct tpm_name *a, const struct tpm_name *b);

/* Rule 3: `what` names the signed thing in messages. */
struct err rule_signature(const struct tpm_public *ak, struct bytes attest, struct bytes signature,
                          const char *what) MUST_USE;
struct err rule_quote_signature(const struct tpm_public *ak,
                                const struct statement_quote *q) MUST_USE;

/* Rule 4: magic, type, exact selection, digest of the given PCR values. `out` borrows from `q`. */
struct err rule_quote(struct attested *out, const struct tpm_public *ak,
                      const struct statement_quote *q) MUST_USE;

/* Rule 5, what one quote can show: extraData, kind, boot, origin, period and previous fit together.
 */
struct err rule_context(const struct statement_quote *q, const struct attested *a,
                        enum quote_kind kind, const uint8_t boot_id[BOOT_ID_LEN],
                        const char *origin) MUST_USE;

/* Rule 6: a boot statement's reading of the NV counter. */
struct rule_counter {
    uint64_t value;
    uint32_t index;
    struct tpm_name name;
    uint64_t clock_ms, firmware;
    uint32_t reset_count, restart_count;
    bool safe;
};
/* The reading is of a counter (its name commits to that) at the stated index, over the boot id, and
 * the counts are the statement's. */
struct err rule_counter_read(struct rule_counter *out, const struct statement_boot *b) MUST_USE;
/* The quote is of that boot (counts, firmware), and its clock is past `clock_ms`. */
struct err rule_counts(const struct attested *quote, const struct rule_counter *boot,
                       uint64_t clock_ms) MUST_USE;

/* Rule 7: what a runtime log says, once it replays and the policy allows it. */
struct rule_lanes {
    char model_id[256], code_name[256], numerics[256], profile[256];
    uint8_t model_manifest[SHA256_LEN], code_manifest[SHA256_LEN], server_binary[SHA256_LEN];
    uint8_t boot_id[BOOT_ID_LEN], spki_sha256[SHA256_LEN];
    char log_vkey[512];
    uint64_t quote_interval_s;
    uint8_t pcrs[3][SHA256_LEN]; /* 13, 14, 15 */
    size_t n_records, n_identities;
    bool gpu; /* the kernels record names device code */
};
struct err rule_lanes_read(struct rule_lanes *out, const struct statement_identity *identity,
                           struct bytes runtime_log, const struct policy *p) MUST_USE;
/* `runtime_log`, which rule_lanes_read has taken, begins with what `before` was read from and adds
 * to it. */
struct err rule_lanes_extend(const struct rule_lanes *before, struct bytes runtime_log) MUST_USE;
struct err rule_lanes_quoted(const struct rule_lanes *lanes,
                             const struct statement_quote *q) MUST_USE;

/* Rule 8: what a boot statement's event log says of PCRs 0 to 12 (docs/FORMATS.md section 9.1). */
struct rule_boot_log {
    bool there;     /* the statement names one, and the policy asks */
    char flaw[256]; /* why it explains nothing; else "" */
    struct rule_boot_events {
        size_t n;       /* events that extend the PCR */
        size_t foreign; /* number of the first one not allowed, from 1; else 0 */
        uint8_t foreign_digest[SHA256_LEN];
        uint8_t value[SHA256_LEN]; /* what they replay to */
    } pcrs[N_BOOT_PCRS];
};
/* A log that is no log is a flaw, not an error: an error is a blob that is not there. */
struct err rule_boot_log_read(struct rule_boot_log *out, const struct statement_boot *b,
                              const struct policy *p, rule_blob_source *blobs,
                              void *context) MUST_USE;

/* Rule 8. Bits of PCRs that were not measured (all zero, under a test root), that the policy
 * ignores, and that only the event log explains. */
struct rule_boot_pcrs {
    uint16_t zero, ignored, explained;
};
struct err rule_boot_values(struct rule_boot_pcrs *out, const struct pcr_values *pcrs,
                            const struct rule_boot_log *log, const struct policy *p,
                            bool test) MUST_USE;

/* Rule 8: what a boot statement says of its GPUs (docs/FORMATS.md section 9.2). */
struct rule_gpus {
    size_t n;
    char driver[80];
    struct rule_gpu {
        char uuid[GPU_UUID_LEN + 1], vbios[32];
        enum gpu_memory memory;
        struct gpu_chain chain; /* where the policy has a root for it */
    } gpus[STATEMENT_GPUS_MAX];
    char flaw[256];             /* why the policy does not take them; else "" */
    uint8_t digest[SHA256_LEN]; /* of all that is said of them */
};
#define RULE_GPUS_INIT ((struct rule_gpus){0})
void rule_gpus_cleanup(struct rule_gpus *g);
/* What does not fit the policy is a flaw, not an error: an error is a blob that is not there. `out`
 * is replaced on success. */
struct err rule_gpus_read(struct rule_gpus *out, const struct statement_boot *b,
                          const struct policy *p, rule_blob_source *blobs, void *context) MUST_USE;
/* One quote's part. `gpu`: the measured code is a GPU's (rule_lanes). `with_reports`: each GPU's
 * report answers this quote; a stop has none. */
struct err rule_gpus_quoted(const struct rule_gpus *g, bool gpu, bool with_reports,
                            const struct statement_quote *q, const struct attested *a,
                            const struct policy *p, rule_blob_source *blobs,
                            void *context) MUST_USE;
/* Whether quotes that rule_gpus_quoted takes under this policy prove each GPU's memory protected.
 */
bool rule_gpus_protected(const struct rule_gpus *g, const struct policy *p);

#endif
