/* Attestation keys of a fake world that have certificates of their own, as clouds give them. */
#include "fake_internal.h"

#include <string.h>

#include "tests/unit/cert_make.h"
#include "tests/unit/tpm_make.h"

/* Made once a process, one of each type for each host. */
static struct {
    EVP_PKEY *rsa[FAKE_HOSTS], *ec[FAKE_HOSTS];
} keys;

static void free_keys(void)
{
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        EVP_PKEY_free(keys.rsa[i]);
        EVP_PKEY_free(keys.ec[i]);
    }
}

static void make_keys(void)
{
    if (keys.rsa[0] != NULL)
        return;
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        keys.rsa[i] = EVP_RSA_gen(2048);
        keys.ec[i] = EVP_EC_gen("P-256");
    }
    atexit(free_keys);
}

void fake_renew(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    const struct cert_shape shape = {.subject = "218557372616137117",
                                     .issuer = "Fake TPM root",
                                     .key = h->ak,
                                     .signer = w->root,
                                     .constraints = "critical,CA:FALSE",
                                     .usage = "critical,digitalSignature",
                                     .md = EVP_sha256(),
                                     .flags = CERT_GCE_INSTANCE};
    buf_clear(&h->ak_certificate);
    make_cert(&h->ak_certificate, &shape);
}

void fake_certify(struct fake_world *w, unsigned host, const char *type)
{
    make_keys();
    struct fake_host *h = &w->hosts[host];
    bool rsa = strcmp(type, "RSA") == 0;
    h->ak = rsa ? keys.rsa[host] : keys.ec[host];
    buf_clear(&h->ak_public);
    make_public(&h->ak_public, h->ak, rsa ? &rsassa_ak : &ecdsa_ak);
    fake_run(w, FAKE_AK_PUBLIC, FAKE_HOST, &h->ak_public);
    sha256(h->ak_name.bytes + 2, buf_bytes(&h->ak_public));
    fake_renew(w, host);
    w->certified = h;
}
