/*
 * Policies (docs/FORMATS.md section 7): what a client or auditor believes, as a text file. Errors
 * name the line.
 */
#ifndef ATTEST_POLICY_H
#define ATTEST_POLICY_H

#include "attest/ak_cert.h"
#include "transparency/tlog_policy.h"

enum { POLICY_MAX = 1024 * 1024, POLICY_LINES_MAX = 4096, N_BOOT_PCRS = 13 };

struct policy_hash {
    char name[256]; /* model id, code name, profile; empty for TPMs' roots */
    uint8_t sha256[SHA256_LEN];
    bool test;               /* test-tpm-root, test-ak-root */
    enum ak_profile profile; /* ak-root, test-ak-root */
};

struct policy_pcr {
    struct policy_hash *values; /* allowed values; name unused */
    size_t n_values;
    struct policy_hash *events; /* digests of allowed events; name unused */
    size_t n_events;
    bool ignored;
    char reason[256];
};

/* What is asked of the GPUs of a host that computes with them; empty lists ask nothing. */
struct policy_gpus {
    struct policy_hash *drivers, *vbioses; /* allowed versions, in `name` */
    size_t n_drivers, n_vbioses;
    struct policy_hash
        *roots; /* of GPUs' certificates; name unused. One: memory must be protected */
    size_t n_roots;
};

struct policy {
    struct note_key log;
    char log_vkey[512];        /* the vkey's text */
    struct policy_hash *roots; /* of endorsement certificates, both kinds */
    size_t n_roots;
    struct policy_hash *ak_roots; /* of attestation keys' certificates, both kinds */
    size_t n_ak_roots;
    struct note_key *activators;
    size_t n_activators;
    unsigned k_activators;        /* 0 when there are none */
    struct tlog_policy witnesses; /* no logs; `quorum none`, or who must have cosigned */
    struct policy_hash *models, *codes;
    size_t n_models, n_codes;
    struct policy_pcr boot[N_BOOT_PCRS];
    struct policy_gpus gpus;
    uint64_t max_interval_s, max_age_s;
};

/* ERR_MALFORMED "line 7: ..."; ERR_UNSUPPORTED for `release` other than none. */
struct err policy_parse(struct policy *out, struct bytes text) MUST_USE;
/* Reads and parses the file; messages name it. */
struct err policy_load(struct policy *out, const char *path) MUST_USE;
void policy_cleanup(struct policy *p);

/* The one with that hash, or NULL. */
const struct policy_hash *policy_find_hash(const struct policy_hash *list, size_t n,
                                           const uint8_t sha256[SHA256_LEN]);

/* Whether a boot's event log is asked for: a PCR has `boot-event` lines. */
bool policy_wants_events(const struct policy *p);

/* Whether anything is asked of GPUs. */
bool policy_wants_gpus(const struct policy *p);
/* Whether the version is in the list, or the list asks nothing. */
bool policy_gpu_allows(const struct policy_hash *versions, size_t n, const char *version);

#endif
