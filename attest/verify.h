/*
 * The verifier of one host, live (docs/FORMATS.md section 9): the rules in their order, a line
 * each, fail closed. Pure: no network, no clock, no TSS; the caller brings evidence, nonce, peer
 * key and, when it ran one, the outcome of a live activation.
 */
#ifndef ATTEST_VERIFY_H
#define ATTEST_VERIFY_H

#include "attest/evidence.h"
#include "attest/policy.h"

enum { N_RULES = 12, VERDICT_PROVEN_MAX = 8, VERDICT_NOT_PROVEN_MAX = 24 };

enum rule_status { RULE_NOT_CHECKED = 0, RULE_TRUE, RULE_FALSE };

struct rule_result {
    enum rule_status status;
    const char *code; /* "PARSE", "AK", ... */
    char text[512];   /* the fact when true, the reason otherwise */
};

enum outcome { OUTCOME_FALSE = 0, OUTCOME_TRUE, OUTCOME_NOT_A_PROOF };

struct verdict {
    struct rule_result rules[N_RULES]; /* rules[0] is rule 1 */
    enum outcome outcome;
    bool test; /* rests on a test root */
    char proven[VERDICT_PROVEN_MAX]
               [256]; /* sentences: what is proven; none unless rules 1 to 11 hold */
    size_t n_proven;
    char not_proven[VERDICT_NOT_PROVEN_MAX][256];
    size_t n_not_proven;
};

/* Which AK and EK the evidence speaks of, before anything is believed except the chain to a root of
 * the policy: what a live activation needs. Checks rule 1 and the certificate and attribute parts
 * of rule 2. `ek` is the caller's to EVP_PKEY_free. */
struct activation_target {
    struct tpm_name ak_name;
    EVP_PKEY *ek; /* NULL: the key has a certificate of its own, and there is nothing to activate */
    uint8_t ek_certificate[SHA256_LEN];
    uint8_t spki_sha256[SHA256_LEN]; /* as the evidence claims */
};
struct err verify_activation_target(struct activation_target *out, const struct evidence *e,
                                    const struct policy *p) MUST_USE;

struct verify_input {
    struct bytes evidence_json;
    const struct policy *policy;
    uint8_t nonce[NONCE_LEN];
    uint8_t peer_spki_sha256[SHA256_LEN]; /* of the TLS connection the evidence came over */
    /* A live activation that this caller ran over that connection and whose answer it compared: the
     * AK name and EK certificate it was for. NULL: activators' statements must carry rule 2. */
    const struct activation_target *activated;
};

/* Always fills the verdict; fails only for reasons outside the evidence (memory), and then every
 * rule from the one at which it failed is `not checked` and the outcome is false. All texts are
 * printable ASCII. With an outcome of "not a proof", rule 12 is false and says which PCRs the
 * policy ignores. */
struct err verify_evidence(struct verdict *out, const struct verify_input *in) MUST_USE;

/* One line per rule, then what is proven, what is not, and the verdict, for a terminal. */
void verdict_print(struct buf *out, const struct verdict *v);
/* {"rules":[{"rule":1,"code":"PARSE","status":"true","text":".."},..],
 *  "outcome":"true|false|not-a-proof","test":true,"proven":["..",..],"not_proven":["..",..]} */
void verdict_json(struct buf *out, const struct verdict *v);

#endif
