/*
 * Verifying one host over one connection: evidence over a fresh nonce, a live activation, the
 * rules.
 */
#ifndef CLIENT_HOST_CHECK_H
#define CLIENT_HOST_CHECK_H

#include "attest/verify.h"
#include "http/connection.h"

/* The evidence that a host gave over a nonce drawn here. */
struct host_evidence {
    uint8_t nonce[NONCE_LEN];
    struct buf json;
};
#define HOST_EVIDENCE_INIT ((struct host_evidence){.json = BUF_INIT})
void host_evidence_cleanup(struct host_evidence *e);
#define HOST_EVIDENCE_AUTO __attribute__((cleanup(host_evidence_cleanup))) struct host_evidence
struct err host_evidence_get(struct host_evidence *out, struct connection *c) MUST_USE;

/* Makes a credential for the target, asks for its answer over the connection and compares. One
 * attempt. ERR_UNTRUE when the TPM does not hold both keys; ERR_BUSY when the host asks to wait;
 * ERR_IO. */
struct err host_activate(struct connection *c, const struct activation_target *target,
                         const char *origin) MUST_USE;

/* All of it. Fills the verdict, whatever it is; an error means that nothing could be judged. */
struct err host_check(struct verdict *out, struct connection *c, const struct policy *p) MUST_USE;

/* The one exit code of a verdict: 0, or 1 where it is not true (an outcome of "not a proof" is
 * taken for true only with `allow_not_a_proof`). */
int host_check_exit(const struct verdict *v, bool allow_not_a_proof);

#endif
