/*
 * The hosts that a replay tells apart. Whoever can make a log service take statements can make up
 * many names: each kind of name is bounded, so that no host uses up what others need.
 */
#include <stdlib.h>
#include <string.h>

#include "attest/replay_state.h"
#include "attest/report.h"

void replay_host_name(char out[24], const struct tpm_name *ak_name)
{
    report_short(out, ak_name->bytes + 2, 8);
}

static const struct rule_host *known(const struct replay_host *h)
{
    return h->facts.known ? &h->facts : &h->surveyed;
}

struct replay_host *replay_host_of(struct replay *r, const struct tpm_name *ak_name)
{
    for (size_t i = 0; i < r->n_hosts; i++)
        if (tpm_name_equal(&known(&r->hosts[i])->ak_name, ak_name))
            return &r->hosts[i];
    return NULL;
}

static struct err add(struct replay *r, struct replay_host **out, const struct tpm_name *ak_name)
{
    struct replay_host *grown = realloc(r->hosts, (r->n_hosts + 1) * sizeof *grown);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a host");
    r->hosts = grown;
    *out = &grown[r->n_hosts++];
    memset(*out, 0, sizeof **out);
    (*out)->surveyed.ak_name = *ak_name; /* found by it until a host statement is true */
    return err_ok();
}

static bool is_stranger(const struct replay_host *h)
{
    return !h->facts.known && !h->surveyed.known;
}

static size_t count_strangers(const struct replay *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_hosts; i++)
        n += is_stranger(&r->hosts[i]);
    return n;
}

/* A TPM makes as many attestation keys as it is asked for. */
static struct err check_room(const struct replay *r, const struct rule_host *alone)
{
    size_t n_of_tpm = 0;
    for (size_t i = 0; i < r->n_hosts; i++)
        n_of_tpm += !is_stranger(&r->hosts[i]) &&
                    memcmp(known(&r->hosts[i])->tpm, alone->tpm, SHA256_LEN) == 0;
    if (n_of_tpm >= REPLAY_AKS_MAX)
        return err_set(ERR_LIMIT, "more than %d attestation keys of one TPM", REPLAY_AKS_MAX);
    if (r->n_hosts - count_strangers(r) >= REPLAY_HOSTS_MAX)
        return err_set(ERR_LIMIT, "more than %d attestation keys in one log", REPLAY_HOSTS_MAX);
    return err_ok();
}

struct err replay_host_make(struct replay *r, struct replay_host **out,
                            const struct rule_host *alone)
{
    struct replay_host *h = replay_host_of(r, &alone->ak_name);
    if (h == NULL || is_stranger(h))
        TRY(check_room(r, alone));
    if (h == NULL)
        TRY(add(r, &h, &alone->ak_name));
    *out = h;
    return err_ok();
}

struct err replay_stranger_make(struct replay *r, struct replay_host **out,
                                const struct tpm_name *ak_name)
{
    *out = replay_host_of(r, ak_name);
    if (*out != NULL || count_strangers(r) >= REPLAY_STRANGERS_MAX)
        return err_ok();
    return add(r, out, ak_name);
}

struct err replay_survey(struct replay *r, struct bytes entry)
{
    struct statement s;
    struct err e = statement_parse(&s, entry);
    if (is_err(e) || s.kind != STATEMENT_HOST)
        return is_err(e) && !rule_refuses(e) ? e : err_ok();
    struct rule_host alone = RULE_HOST_INIT;
    e = rule_host_add(&alone, &s, r->policy, replay_blob_source, r);
    struct replay_host *h;
    if (!is_err(e))
        e = replay_host_make(r, &h, &alone);
    rule_host_cleanup(&alone);
    if (!is_err(e))
        e = rule_host_add(&h->surveyed, &s, r->policy, replay_blob_source, r);
    return rule_refuses(e) ? err_ok() : e;
}
