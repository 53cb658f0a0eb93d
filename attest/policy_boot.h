/*
 * The lines `boot-pcr` and `boot-event` of a policy, and what they share with the others. For
 * policy.c and policy_boot.c only.
 */
#ifndef ATTEST_POLICY_BOOT_H
#define ATTEST_POLICY_BOOT_H

#include "attest/policy.h"

/* What follows the keyword. ERR_MALFORMED. */
struct err policy_boot_pcr(struct policy_pcr boot[N_BOOT_PCRS], struct bytes value) MUST_USE;
struct err policy_boot_event(struct policy_pcr boot[N_BOOT_PCRS], struct bytes value) MUST_USE;
/* Each PCR has a line. ERR_MALFORMED. */
struct err policy_boot_complete(const struct policy_pcr boot[N_BOOT_PCRS]) MUST_USE;

/* The word before the first space, and what follows it; without a space: everything, and nothing.
 */
struct bytes policy_split_word(struct bytes *rest, struct bytes text);
/* Appends to the list unless the same hash is there. */
struct err policy_hash_add(struct policy_hash **list, size_t *n,
                           const struct policy_hash *h) MUST_USE;

#endif
