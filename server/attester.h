/*
 * The attester process: TPM, attestation key, log writer; no socket to the network. It measures
 * what the front reports, quotes every interval into the log, and answers nonces.
 */
#ifndef SERVER_ATTESTER_H
#define SERVER_ATTESTER_H

#include "attest/ak_cert.h"
#include "server/measurement.h"
#include "transparency/tlog_policy.h"

struct attester_options {
    const char *tcti;      /* tpm2-tss TCTI string: "device:/dev/tpmrm0", "swtpm:host=..,port=..",
                              "swtpm:path=.." */
    const char *state_dir; /* log.db, log.key, runtime.log */
    const char *origin;    /* the log's origin */
    const struct note_key *activators; /* whose activation notes are taken */
    size_t n_activators;
    const char *const
        *ek_chain; /* paths of issuer certificates (PEM or DER), nearest first, root last */
    size_t n_ek_chain;
    struct bytes event_log; /* the firmware's, of this boot (event_log.h); empty: none */
    bool ak_certified; /* the attestation key is a cloud's, and the issuers are its certificate's */
    enum ak_profile ak_profile;
    uint64_t quote_interval_s;
    const struct tlog_policy *witnesses; /* who cosigns the log; NULL: nobody */
    bool log_is_remote; /* somebody else keeps it: the one log of `witnesses`, whose name is the
                           origin; statements go there through the publisher */
    unsigned refused_pause_s; /* between two requests for what the log refuses; 0: a minute */
    bool outlive_tpm;         /* a TPM that fails is tried again, and the front told */
};

struct attester_fds {
    int front;
    int publisher; /* -1: nobody is asked to cosign */
};

/* Opens log and TPM and checks both (so that a bad TPM or log is reported before anything loads).
 * Then serves the front until CHANNEL_STOP has been answered or the other side closes. Returns an
 * error when it must end: the TPM failed (then *tpm_failed, and the front was told, if it was
 * measured by then; with `outlive_tpm` only after as many attempts as attester_recover makes), a
 * commit failed, the PCRs do not fit the runtime log, the publisher ended. */
struct err attester_run(const struct attester_options *options, struct attester_fds fds,
                        bool *tpm_failed) MUST_USE;

/* Appends the policy lines that this host can say of itself, for `--print-policy`: `log`, the root
 * of the issuers (`test-tpm-root` with `test`, else `tpm-root`; `ak-root` for a cloud's key), and
 * PCRs 0 to 12: by `boot-event` where the event log leads to the value of now, so that after an
 * update only what changed needs a new line, else, and for PCR 7, where an event that is missing
 * counts (Secure Boot), by `boot-pcr` as they are now. Makes the log's key if there is none;
 * disturbs no running attester. */
struct err attester_policy_lines(const struct attester_options *options, bool test,
                                 struct buf *out) MUST_USE;

/* The lines that NVML can say of the measured GPUs: versions, and where their memory is protected
 * the root that their certificates lead to. Nothing on the CPU. */
struct err attester_gpu_policy_lines(struct buf *out, const struct measurement *m) MUST_USE;

#endif
