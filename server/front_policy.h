/*
 * --print-policy: a draft of a client's policy (docs/FORMATS.md section 7) from what is on this
 * host.
 */
#ifndef SERVER_FRONT_POLICY_H
#define SERVER_FRONT_POLICY_H

#include "server/attester.h"
#include "server/front.h"

/* Reads and hashes everything as a start would; extends nothing. `activators` are the texts of
 * attester->activators; `kind` is "test" or "production" and names the kind of TPM root. */
struct err front_policy_draft(struct buf *out, const struct front_options *front,
                              const struct attester_options *attester,
                              const char *const *activators, const char *kind) MUST_USE;

#endif
