/*
 * The TPM, through tpm2-tss (ESYS) over any TCTI. The only header of the files that include
 * <tss2/...>; it shows none of their types. One `struct tpm` is one connection; not thread-safe.
 *
 * Errors name the command and the decoded response code; codes that ask for it (RETRY, YIELDED,
 * TESTING, NV_RATE) are retried within a bound.
 */
#ifndef ATTEST_TPM_H
#define ATTEST_TPM_H

#include "attest/ak_cert.h"
#include "attest/attested.h"
#include "attest/runtime_log.h"

struct tpm;

/* "device:/dev/tpmrm0", "swtpm:path=/run/x.sock", "swtpm:host=127.0.0.1,port=2321", "mssim:...".
 * Starts the TPM up if it is not (TPM2_Startup(CLEAR) may answer INITIALIZE). ERR_IO with the
 * remedy when there is no TPM; ERR_USAGE for other kinds of address, which could load code.
 * Disturbs no other user of the TPM. */
struct err tpm_open(struct tpm **out, const char *tcti) MUST_USE;
void tpm_close(struct tpm *t);

/* Whether a command failed for the TPM's or the connection's own reasons (ERR_IO), after all
 * retries: it is gone, in failure mode or in lockout. What it refuses is no failure. */
bool tpm_has_failed(const struct tpm *t);

/* The EK certificate from NV (RSA-2048 at 0x01C00002, else P-256 0x01C0000A, P-384 0x01C00016), DER
 * without padding. ERR_NOT_FOUND with the remedy. */
struct err tpm_ek_certificate(struct tpm *t, struct buf *der) MUST_USE;

/* Flushes leftover transient objects and sessions where there is no resource manager (so one
 * process at a time may hold keys there). Then creates the attestation key (ECDSA P-256 SHA-256,
 * restricted, primary in the endorsement hierarchy, fixed template) and the EK that the certificate
 * is for; gives the AK's TPMT_PUBLIC. Once per connection. From then on an HMAC session salted with
 * the EK authorises our commands. */
struct err tpm_keys(struct tpm *t, struct buf *ak_public) MUST_USE;

/* The same for a key that a cloud has made and certified: AK_PROFILE_GCP (certificates at NV
 * 0x01C10000 and 0x01C10002, templates beside them) or AK_PROFILE_AZURE (0x01C101D0, the key at
 * 0x81000003). There is no EK to activate with then. ERR_NOT_FOUND with the remedy. */
struct err tpm_ak_certificate(struct tpm *t, enum ak_profile profile, struct buf *der) MUST_USE;
struct err tpm_keys_certified(struct tpm *t, enum ak_profile profile,
                              struct buf *ak_public) MUST_USE;

/* PCRs 0-15 of the SHA-256 bank. ERR_UNSUPPORTED when that bank is not allocated. */
struct err tpm_pcr_read(struct tpm *t, struct pcr_values *out) MUST_USE;
/* Extends the PCR in every allocated bank with the digest of a runtime log event. */
struct err tpm_pcr_extend(struct tpm *t, unsigned pcr, const char *kind,
                          struct bytes data) MUST_USE;

/* TPM2_Quote over PCRs 0-15 of SHA-256; gives TPMS_ATTEST, TPMT_SIGNATURE and the values quoted
 * (read until they fit the quote's digest). */
struct err tpm_quote(struct tpm *t, struct buf *attest, struct buf *signature,
                     struct pcr_values *pcrs, const uint8_t extra[SHA256_LEN]) MUST_USE;

/* TPM2_ActivateCredential: the TPM2B bytes; gives the secret. ERR_UNTRUE when the TPM says that
 * it does not fit its keys. */
struct err tpm_activate(struct tpm *t, struct buf *secret, struct bytes id_object,
                        struct bytes encrypted_secret) MUST_USE;

/* Clock now, and reset and restart counts as the AK attests them (TPM2_ReadClock). */
struct tpm_clock {
    uint64_t clock_ms;
    uint32_t reset_count, restart_count;
    bool safe;
};
struct err tpm_clock_read(struct tpm *t, struct tpm_clock *out) MUST_USE;

/* The boot counter: an NV counter of the owner's at `index`, defined on first use. Increments, then
 * certifies the reading (TPM2_NV_Certify by the AK, 8 bytes at offset 0) over `extra`. */
struct err tpm_counter_increment(struct tpm *t, uint32_t index) MUST_USE;
/* ERR_NOT_FOUND where it is not defined or has never been incremented. */
struct err tpm_counter_read(struct tpm *t, uint32_t index, uint64_t *value) MUST_USE;
struct err tpm_counter_certify(struct tpm *t, uint32_t index, const uint8_t extra[SHA256_LEN],
                               struct buf *attest, struct buf *signature) MUST_USE;

#endif
