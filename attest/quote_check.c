#include "attest/quote_check.h"

#include <string.h>

#include "attest/ak_file.h"

enum { NONCE_MAX = 64 };

static struct err check_request(const struct quote_input *in)
{
    if (in->nonce.len == 0 || in->nonce.len > NONCE_MAX)
        return err_set(ERR_USAGE,
                       "a nonce of %zu bytes; without one of 1 to %d nothing says that "
                       "the quote is fresh",
                       in->nonce.len, NONCE_MAX);
    if (pcr_select_count(in->select) == 0)
        return err_set(ERR_USAGE, "no PCR is selected: such a quote says nothing");
    if (tpm_hash(in->bank->alg) == NULL)
        return err_set(ERR_UNTRUE, "bank %s is never believed: its hash is broken", in->bank->name);
    return err_ok();
}

static void set_values(struct quote_facts *out, const struct quote_input *in, struct bytes values)
{
    const uint8_t *at = values.data;
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        if (!pcr_select_has(in->select, i))
            continue;
        memcpy(out->values[i], at, in->bank->len);
        at += in->bank->len;
    }
}

static struct err check(struct quote_facts *out, struct tpm_public *ak,
                        const struct quote_input *in)
{
    BUF_AUTO values = BUF_INIT, signature = BUF_INIT;
    TRY(ak_file_parse(ak, in->ak));
    TRY(attested_parse(&out->attest, in->attest));
    TRY(pcr_file_parse(&values, in->pcrs, in->bank, in->select));
    TRY(ak_signature(&signature, ak, in->signature));
    if (ak->name.len > 0)
        TRY(tpm_public_check_ak(ak));
    TRY(ak_take_scheme(ak, buf_bytes(&signature)));
    TRY(tpm_signature_verify(ak, buf_bytes(&signature), in->attest));
    TRY(attested_check_selection(&out->attest, in->bank->alg, in->select));
    TRY(attested_check_digest(&out->attest, ak, buf_bytes(&values)));
    TRY(attested_check_extra(&out->attest, in->nonce));
    out->name = ak->name;
    out->scheme = ak->scheme;
    out->hash = ak->scheme_hash;
    set_values(out, in, buf_bytes(&values));
    return err_ok();
}

struct err quote_check(struct quote_facts *out, const struct quote_input *in)
{
    struct quote_facts facts = {0};
    struct tpm_public ak = {0};
    TRY(check_request(in));
    struct err e = check(&facts, &ak, in);
    tpm_public_cleanup(&ak);
    TRY(e);
    *out = facts;
    return err_ok();
}
