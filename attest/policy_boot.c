/*
 * The boot PCRs of a policy, and what its parser shares with them.
 */
#include "attest/policy_boot.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"

struct bytes policy_split_word(struct bytes *rest, struct bytes text)
{
    const uint8_t *space = text.len > 0 ? memchr(text.data, ' ', text.len) : NULL;
    size_t len = space != NULL ? (size_t)(space - text.data) : text.len;
    *rest = space != NULL ? bytes_of(space + 1, text.len - len - 1) : bytes_of("", 0);
    return bytes_of(text.data, len);
}

const struct policy_hash *policy_find_hash(const struct policy_hash *list, size_t n,
                                           const uint8_t sha256[SHA256_LEN])
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(list[i].sha256, sha256, SHA256_LEN) == 0)
            return &list[i];
    return NULL;
}

bool policy_wants_events(const struct policy *p)
{
    for (size_t i = 0; i < N_BOOT_PCRS; i++)
        if (p->boot[i].n_events > 0)
            return true;
    return false;
}

struct err policy_hash_add(struct policy_hash **list, size_t *n, const struct policy_hash *h)
{
    if (policy_find_hash(*list, *n, h->sha256) != NULL)
        return err_set(ERR_MALFORMED, "the same hash a second time");
    struct policy_hash *grown = realloc(*list, (*n + 1) * sizeof *grown);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a policy");
    *list = grown;
    (*list)[(*n)++] = *h;
    return err_ok();
}

/* PCR 4 and 8 to 12 hold loader, kernel and command line: without them nothing later is proven. */
static struct err pcr_ignore(struct policy_pcr *pcr, unsigned index, struct bytes reason)
{
    if (index == 4 || index >= 8)
        return err_set(ERR_MALFORMED, "PCR %u may never be ignored: it holds what was booted",
                       index);
    if (pcr->n_values > 0 || pcr->n_events > 0)
        return err_set(ERR_MALFORMED, "PCR %u is ignored, and has another line", index);
    if (reason.len == 0 || reason.len >= sizeof pcr->reason)
        return err_set(ERR_MALFORMED, "a reason of %zu bytes, not 1 to %zu", reason.len,
                       sizeof pcr->reason - 1);
    pcr->ignored = true;
    memcpy(pcr->reason, reason.data, reason.len);
    pcr->reason[reason.len] = '\0';
    return err_ok();
}

/* "<0..12> <rest>"; what is ignored has no other line. */
static struct err read_pcr(struct policy_pcr *boot, unsigned *index, struct bytes *rest,
                           struct bytes value)
{
    uint64_t number;
    TRY(err_context(decimal_decode(&number, policy_split_word(rest, value), N_BOOT_PCRS - 1),
                    "a PCR from 0 to 12"));
    *index = (unsigned)number;
    if (boot[number].ignored)
        return err_set(ERR_MALFORMED, "PCR %u is ignored, and has another line", *index);
    return err_ok();
}

static struct err read_hash(struct policy_hash *out, struct bytes hex, const char *what)
{
    struct policy_hash h = {0};
    TRY(err_context(hex_decode(h.sha256, SHA256_LEN, hex), "%s", what));
    *out = h;
    return err_ok();
}

struct err policy_boot_pcr(struct policy_pcr boot[N_BOOT_PCRS], struct bytes value)
{
    struct bytes rest, reason;
    struct policy_hash h;
    unsigned index;
    TRY(read_pcr(boot, &index, &rest, value));
    struct policy_pcr *pcr = &boot[index];
    if (bytes_equal(policy_split_word(&reason, rest), bytes_of_str("ignore")))
        return pcr_ignore(pcr, index, reason);
    TRY(read_hash(&h, rest, "the PCR's value"));
    return err_context(policy_hash_add(&pcr->values, &pcr->n_values, &h), "PCR %u", index);
}

struct err policy_boot_event(struct policy_pcr boot[N_BOOT_PCRS], struct bytes value)
{
    struct bytes rest;
    struct policy_hash h;
    unsigned index;
    TRY(read_pcr(boot, &index, &rest, value));
    struct policy_pcr *pcr = &boot[index];
    TRY(read_hash(&h, rest, "the event's digest"));
    return err_context(policy_hash_add(&pcr->events, &pcr->n_events, &h), "PCR %u", index);
}

struct err policy_boot_complete(const struct policy_pcr boot[N_BOOT_PCRS])
{
    for (unsigned i = 0; i < N_BOOT_PCRS; i++)
        if (!boot[i].ignored && boot[i].n_values == 0 && boot[i].n_events == 0)
            return err_set(ERR_MALFORMED,
                           "the policy has no line 'boot-pcr %u' and no line 'boot-event %u'", i,
                           i);
    return err_ok();
}
