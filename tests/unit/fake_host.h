/*
 * A whole world in memory for tests of the rules: hosts with software TPMs that sign as a chip
 * would (TPMS_ATTEST, TPMT_SIGNATURE, NV counter, EK certificate under a root), a log with proofs,
 * an activator, a policy that fits. A hook sees each thing before it is signed, hashed or logged,
 * and may spoil it: so a test makes one flaw and everything around it stays right.
 */
#ifndef TESTS_UNIT_FAKE_HOST_H
#define TESTS_UNIT_FAKE_HOST_H

#include "attest/credential.h"
#include "attest/evidence.h"
#include "attest/policy.h"
#include "attest/runtime_log.h"
#include "attest/verify.h"
#include "transparency/checkpoint.h"

enum { FAKE_HOSTS = 2 };

/* Where in a TPMS_ATTEST by fake_attest fields begin. */
enum {
    AT_MAGIC = 0,
    AT_TYPE = 4,
    AT_EXTRA = 44,
    AT_CLOCK = 76,
    AT_RESET = 84,
    AT_RESTART = 88,
    AT_SAFE = 92,
    AT_FIRMWARE = 93,
    AT_BANK = 105,
    AT_SELECT = 108,
    AT_DIGEST = 113,
    AT_NV_NAME = 103,
    AT_NV_OFFSET = 137,
    AT_NV_CONTENTS = 141,
};

enum fake_stage {
    FAKE_AK_PUBLIC,  /* struct buf: TPMT_PUBLIC */
    FAKE_ACTIVATION, /* struct activation */
    FAKE_CONTEXT,    /* struct quote_context */
    FAKE_ATTEST,     /* struct buf: TPMS_ATTEST, before it is signed */
    FAKE_SIGNATURE,  /* struct buf: TPMT_SIGNATURE */
    FAKE_EVENT_LOG,  /* struct buf: of a boot, before it is named */
    FAKE_GPU_CHAIN,  /* struct buf: DER, before it is named */
    FAKE_GPU_SHAPE,  /* struct gpu_report_shape: before it is signed */
    FAKE_GPU_REPORT, /* struct buf: before it is named */
    FAKE_STATEMENT,  /* struct statement */
    FAKE_TEXT,       /* struct buf: a statement's text, before it is logged or shown */
    FAKE_EVIDENCE,   /* struct evidence */
    FAKE_POLICY,     /* struct buf: the policy's text */
};

/* What a thing is for: of FAKE_CONTEXT to FAKE_TEXT. */
enum fake_what { FAKE_HOST, FAKE_BOOT, FAKE_IDENTITY, FAKE_PERIODIC, FAKE_DEMAND, FAKE_STOP };

struct gpu_keys;
struct fake_world;
typedef void fake_hook(struct fake_world *w, enum fake_stage stage, enum fake_what what,
                       void *thing);

struct fake_host {
    EVP_PKEY *ak, *ek;
    struct buf ak_public, ek_certificate;
    struct buf ak_certificate; /* empty, or made by fake_certify: then it is logged instead */
    struct tpm_name ak_name;
    /* the TPM */
    uint64_t clock_ms, counter;
    uint32_t reset_count, restart_count, counter_index, counter_attributes;
    uint8_t safe;
    struct pcr_values pcrs;
    struct buf event_log; /* with w->has_event_log: what led to PCRs 0 to 7 */
    /* the attester */
    uint8_t boot_id[BOOT_ID_LEN];
    struct runtime_log runtime_log;
    uint8_t spki_sha256[SHA256_LEN];
    bool has_previous;
    uint64_t previous_index, period;
    struct merkle_hash previous_leaf;
    bool host_logged;
    uint64_t first_host_index; /* host_index: the last */
    uint64_t host_index, boot_index, identity_index, quote_index;
};

struct fake_world {
    fake_hook *hook;                   /* may be NULL */
    int hook_data;                     /* for hooks: which of several things they have seen */
    const struct fake_host *certified; /* by fake_certify, the last; or NULL */
    EVP_PKEY *root;
    struct buf root_certificate;
    struct note_signer log, activator;
    struct buf *entries;
    struct merkle_hash *leaves;
    size_t n_entries;
    struct buf *blobs;
    uint8_t (*blob_hashes)[SHA256_LEN];
    size_t n_blobs;
    struct fake_host hosts[FAKE_HOSTS];
    /* what is measured; change them before fake_boot */
    const char *model_id, *kernels, *log_vkey; /* log_vkey NULL: the log's own */
    uint64_t quote_interval_s;
    size_t n_gpus;      /* that boot and quotes speak of: 0 to 2, whose memory is protected */
    bool gpu_policy;    /* the policy asks for all that there is to ask of them */
    bool has_event_log; /* before fake_reset: PCRs 0 to 7 come from events, for host and policy */
};

enum { FAKE_EVENT_PCRS = 8, FAKE_EVENTS = 2 }; /* of each PCR */

/* What event `n` of a PCR measures. */
struct bytes fake_event(char text[32], unsigned pcr, unsigned n);

/* Of GPUs, made once a process. */
const struct gpu_keys *fake_gpu_keys(void);
/* For the boot statement; for a quote, over its extraData. */
void fake_say_gpus(struct fake_world *w, struct statement_boot *b);
void fake_add_reports(struct fake_world *w, enum fake_what what, struct statement_quote *q,
                      const uint8_t extra[SHA256_LEN]);
void fake_gpu_policy(struct fake_world *w, struct buf *out);

/* Keys and certificates are made once a process and shared by all worlds. */
void fake_world_init(struct fake_world *w, fake_hook *hook);
void fake_world_cleanup(struct fake_world *w);

/* TPM reset: PCRs as a boot leaves them, counts and counter go up, a fresh boot id, no lanes. */
void fake_reset(struct fake_world *w, unsigned host);
/* Records of the three lanes up to `config`, extended. */
void fake_measure(struct fake_world *w, unsigned host);
/* A TLS key of its own, measured. */
void fake_new_key(struct fake_world *w, unsigned host);
void fake_extend(struct fake_host *h, unsigned pcr, const char *kind, struct bytes data);

/* A new key of that type ("RSA", "EC") for the host, which the root certifies as Google would. */
void fake_certify(struct fake_world *w, unsigned host, const char *type);
/* The same key certified once more. */
void fake_renew(struct fake_world *w, unsigned host);

/* The same certificate with its signature in other bytes, as whoever has it can write it. */
void fake_write_differently(struct buf *certificate);

/* Each appends one entry and gives its index. */
uint64_t fake_log_host(struct fake_world *w, unsigned host, bool activated);
uint64_t fake_log_boot(struct fake_world *w, unsigned host);
uint64_t fake_log_identity(struct fake_world *w, unsigned host);
uint64_t fake_log_quote(struct fake_world *w, unsigned host); /* an interval after the last */
uint64_t fake_log_stop(struct fake_world *w, unsigned host, uint64_t max_duration_s);
uint64_t fake_append(struct fake_world *w, struct bytes entry);
/* All of the above for one boot: reset, measure, key, host (activated), boot, identity, quote. */
void fake_start(struct fake_world *w, unsigned host);

void fake_add_blob(struct fake_world *w, struct bytes blob);
struct err fake_blob(void *world, const uint8_t sha256[SHA256_LEN], struct buf *out);
void fake_checkpoint(struct fake_world *w, struct buf *note, uint64_t size);
void fake_inclusion(struct fake_world *w, struct merkle_proof *out, uint64_t index, uint64_t size);
void fake_consistency(struct fake_world *w, struct merkle_proof *out, uint64_t old_size);

/* The evidence of a host for a nonce, which is leaf 1 of 3. */
void fake_evidence(struct fake_world *w, unsigned host, struct evidence *out,
                   const uint8_t nonce[NONCE_LEN]);
void fake_policy_text(struct fake_world *w, struct buf *out);

#endif
