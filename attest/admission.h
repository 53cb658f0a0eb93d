/*
 * What a log service asks of statements before it appends them (docs/FORMATS.md section 10): one
 * host's statements in order, each by the rules of section 9 that it can be judged by alone or
 * after those before it. Pure. Verifiers do not rely on it; it keeps rubbish out of a log.
 */
#ifndef ATTEST_ADMISSION_H
#define ATTEST_ADMISSION_H

#include "attest/policy.h"
#include "attest/statement.h"
#include "attest/verify.h"

struct admission;

/* Gives the bytes of a reference, appended to `out`, whose size (but for BLOB_SIZE_UNKNOWN) and
 * hash the source has checked; ERR_NOT_FOUND. */
typedef struct err admission_blobs(void *context, const struct blob_ref *ref, struct buf *out);

/* One host, by its `host` statement: rule 2 but for what binds the AK to the EK. The policy is
 * borrowed for the admission's life. ERR_UNTRUE and the other refusals of a rule. */
struct err admission_new(struct admission **out, const struct policy *p, struct bytes statement,
                         admission_blobs *blobs, void *context) MUST_USE;
void admission_free(struct admission *a);

/* Whom a live activation is for; `target->ek` is the caller's to EVP_PKEY_free, its SPKI the
 * caller's to fill. An AK with a certificate of its own has no EK to make a credential for: `ek` is
 * then NULL, and its possession is shown by a quote. */
struct err admission_target(struct activation_target *target, const struct admission *a) MUST_USE;

/* Whose history this is, by a hash of the certified key: two admissions with the same are of one
 * TPM, whatever certificate each came with. (SHA256_LEN) */
const uint8_t *admission_tpm(const struct admission *a);

/* ERR_UNTRUE unless the AK has signed this TPMS_ATTEST, a quote over PCRs 0 to 15 of the SHA-256
 * bank, with `extra` as its extraData: the TPM that has the key is there now, if `extra` is fresh.
 * What the PCRs are is not looked at. ERR_MALFORMED. */
struct err admission_check_possession(const struct admission *a, struct bytes attest,
                                      struct bytes signature,
                                      const uint8_t extra[SHA256_LEN]) MUST_USE;

/* The next statement. ok: it holds, and the next is judged after it. Else nothing has changed:
 * ERR_MALFORMED when it does not parse, other refusals with the rule's reason, ERR_MEMORY and
 * ERR_IO when it could not be judged. */
struct err admission_check(struct admission *a, struct bytes statement, admission_blobs *blobs,
                           void *context) MUST_USE;

#endif
