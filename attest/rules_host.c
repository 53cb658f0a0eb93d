/*
 * Rule 2: whose key is this? The attestation key's public area, the endorsement certificate's way
 * to a root of the policy, and the activators' word that both are in one TPM; or a certificate of
 * the key itself. A genuine endorsement certificate beside a software key is what an operator can
 * always make; only activation refutes it.
 */
#include "attest/rules.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

#include "attest/credential.h"
#include "transparency/note.h"

bool rule_refuses(struct err e)
{
    return is_err(e) && e.code != ERR_MEMORY && e.code != ERR_IO && e.code != ERR_BUSY;
}

bool tpm_name_equal(const struct tpm_name *a, const struct tpm_name *b)
{
    return bytes_equal(bytes_of(a->bytes, a->len), bytes_of(b->bytes, b->len));
}

const char *rule_host_subject(const struct rule_host *h)
{
    return h->certified ? h->own.subject : h->ek.subject;
}

void rule_host_cleanup(struct rule_host *h)
{
    tpm_public_cleanup(&h->ak);
    ek_cert_cleanup(&h->ek);
    free(h->vouched);
    *h = RULE_HOST_INIT;
}

/* ECDSA P-256 with SHA-256, or RSA with a signing scheme fixed in the key; the name is SHA-256's.
 */
static struct err check_ak_kind(const struct tpm_public *ak)
{
    if (ak->name_alg != TPM_ALG_SHA256_ID)
        return err_set(ERR_UNTRUE, "the attestation key's name algorithm is 0x%04x, not SHA-256",
                       ak->name_alg);
    bool ecdsa = ak->type == TPM_ALG_ECC_ID && ak->curve == TPM_ECC_P256 &&
                 ak->scheme == TPM_ALG_ECDSA_ID && ak->scheme_hash == TPM_ALG_SHA256_ID;
    bool rsa = ak->type == TPM_ALG_RSA_ID &&
               (ak->scheme == TPM_ALG_RSASSA_ID || ak->scheme == TPM_ALG_RSAPSS_ID);
    if (!ecdsa && !rsa)
        return err_set(ERR_UNTRUE,
                       "the attestation key is neither ECDSA P-256 with SHA-256 nor RSA with a "
                       "signing scheme (type 0x%04x, curve 0x%04x, scheme 0x%04x, hash 0x%04x)",
                       ak->type, ak->curve, ak->scheme, ak->scheme_hash);
    return err_ok();
}

static struct err add_ak(struct rule_host *h, const struct statement *s, rule_blob_source *blobs,
                         void *context)
{
    BUF_AUTO bytes = BUF_INIT;
    TRY(blobs(context, &s->host.ak_public, &bytes));
    TRY(tpm_public_parse(&h->ak, buf_bytes(&bytes)));
    if (!tpm_name_equal(&h->ak.name, &s->ak_name))
        return err_set(ERR_UNTRUE, "ak-public is not the key that ak-name names");
    h->ak_name = s->ak_name;
    TRY(tpm_public_check_ak(&h->ak));
    return check_ak_kind(&h->ak);
}

static const struct policy_hash *find_root(const struct policy_hash *roots, size_t n,
                                           const uint8_t sha256[SHA256_LEN])
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(roots[i].sha256, sha256, SHA256_LEN) == 0)
            return &roots[i];
    return NULL;
}

static struct err unknown_root(const char *what, const uint8_t root[SHA256_LEN])
{
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(root, SHA256_LEN));
    return err_set(ERR_UNTRUE,
                   "the %s certificate leads to the root %s, which the policy does not name", what,
                   buf_str(&hex));
}

struct chain {
    struct buf leaf, issuers[STATEMENT_CHAIN_MAX];
    struct bytes views[STATEMENT_CHAIN_MAX];
};

static void chain_cleanup(struct chain *c)
{
    buf_cleanup(&c->leaf);
    for (size_t i = 0; i < STATEMENT_CHAIN_MAX; i++)
        buf_cleanup(&c->issuers[i]);
}

static struct err read_chain(struct chain *c, const struct blob_ref *leaf,
                             const struct statement_host *s, rule_blob_source *blobs, void *context)
{
    TRY(blobs(context, leaf, &c->leaf));
    for (size_t i = 0; i < s->n_chain; i++) {
        TRY(blobs(context, &s->chain[i], &c->issuers[i]));
        c->views[i] = buf_bytes(&c->issuers[i]);
    }
    return err_ok();
}

static struct err hash_key(uint8_t out[SHA256_LEN], const EVP_PKEY *key)
{
    uint8_t *spki = NULL;
    int len = i2d_PUBKEY(key, &spki);
    if (len <= 0)
        return err_set(ERR_MEMORY, "a key cannot be encoded");
    sha256(out, bytes_of(spki, (size_t)len));
    OPENSSL_free(spki);
    return err_ok();
}

static struct err add_ek(struct rule_host *h, const struct statement_host *s,
                         const struct policy *p, rule_blob_source *blobs, void *context)
{
    __attribute__((cleanup(chain_cleanup))) struct chain c = {0};
    TRY(read_chain(&c, &s->ek_certificate, s, blobs, context));
    TRY(ek_cert_verify(&h->ek, h->root, buf_bytes(&c.leaf), c.views, s->n_chain));
    const struct policy_hash *root = find_root(p->roots, p->n_roots, h->root);
    if (root == NULL)
        return unknown_root("endorsement", h->root);
    h->test = root->test;
    return hash_key(h->tpm, h->ek.key);
}

/* The root comes first: it says which profile the certificate must have. */
static struct err add_own_certificate(struct rule_host *h, const struct statement_host *s,
                                      const struct policy *p, rule_blob_source *blobs,
                                      void *context)
{
    __attribute__((cleanup(chain_cleanup))) struct chain c = {0};
    TRY(read_chain(&c, &s->ak_certificate, s, blobs, context));
    TRY(ak_cert_root(h->root, c.views, s->n_chain));
    const struct policy_hash *root = find_root(p->ak_roots, p->n_ak_roots, h->root);
    if (root == NULL)
        return unknown_root("attestation key's", h->root);
    TRY(ak_cert_verify(&h->own, &h->ak, root->profile, buf_bytes(&c.leaf), c.views, s->n_chain));
    h->test = root->test;
    h->certified = true;
    return hash_key(h->tpm, h->ak.key);
}

static struct err check_activation(const struct rule_host *h, const struct policy *p,
                                   struct bytes text)
{
    struct activation a;
    TRY(activation_parse(&a, text));
    if (memcmp(a.ek_certificate, h->ek.sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "it is for another endorsement certificate");
    if (!tpm_name_equal(&a.ak_name, &h->ak_name))
        return err_set(ERR_UNTRUE, "it is for another attestation key");
    if (strcmp(a.origin, p->log.name) != 0)
        return err_set(ERR_UNTRUE, "it is for a host of another log");
    return err_ok();
}

static void note_free(struct note **note)
{
    free(*note);
}

static bool signed_in_name_of(const struct note *note, const struct note_key *key)
{
    for (size_t i = 0; i < note->n_signatures; i++)
        if (note->signatures[i].id == key->id &&
            bytes_equal(note->signatures[i].name, bytes_of_str(key->name)))
            return true;
    return false;
}

/* Activators that this policy does not name are no concern of it; one that it names must be right.
 */
static struct err add_activation(struct rule_host *h, const struct policy *p, struct bytes bytes)
{
    __attribute__((cleanup(note_free))) struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    TRY(note_parse(note, bytes));
    TRY(check_activation(h, p, note->text));
    for (size_t i = 0; i < p->n_activators; i++) {
        if (!signed_in_name_of(note, &p->activators[i]))
            continue;
        TRY(note_verify(note, &p->activators[i]));
        h->n_vouched += !h->vouched[i];
        h->vouched[i] = true;
    }
    return err_ok();
}

static struct err add_activations(struct rule_host *h, const struct statement_host *s,
                                  const struct policy *p, rule_blob_source *blobs, void *context)
{
    h->vouched = calloc(p->n_activators + 1, sizeof *h->vouched);
    if (h->vouched == NULL)
        return err_set(ERR_MEMORY, "out of memory for a host");
    for (size_t i = 0; i < s->n_activations; i++) {
        BUF_AUTO bytes = BUF_INIT;
        TRY(blobs(context, &s->activations[i], &bytes));
        TRY(err_context(add_activation(h, p, buf_bytes(&bytes)), "activation %zu", i + 1));
    }
    return err_ok();
}

static struct err read_host(struct rule_host *h, const struct statement *s, const struct policy *p,
                            rule_blob_source *blobs, void *context)
{
    TRY(add_ak(h, s, blobs, context));
    TRY(s->host.ak_certified ? add_own_certificate(h, &s->host, p, blobs, context)
                             : add_ek(h, &s->host, p, blobs, context));
    TRY(add_activations(h, &s->host, p, blobs, context));
    h->known = true;
    return err_ok();
}

/* What an earlier statement of the same pair has shown stays shown. */
static struct err merge(struct rule_host *h, struct rule_host *now, const struct policy *p)
{
    if (!h->known)
        return err_ok();
    if (!tpm_name_equal(&h->ak_name, &now->ak_name))
        return err_set(ERR_UNTRUE, "host statements of two attestation keys");
    if (h->certified != now->certified)
        return err_set(ERR_UNTRUE, "one attestation key both with an endorsement certificate and "
                                   "with a certificate of its own");
    if (memcmp(h->ek.sha256, now->ek.sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "one attestation key with two endorsement certificates");
    for (size_t i = 0; i < p->n_activators; i++)
        if (h->vouched[i] && !now->vouched[i]) {
            now->vouched[i] = true;
            now->n_vouched++;
        }
    now->test |= h->test;
    return err_ok();
}

struct err rule_host_add(struct rule_host *h, const struct statement *s, const struct policy *p,
                         rule_blob_source *blobs, void *context)
{
    __attribute__((cleanup(rule_host_cleanup))) struct rule_host now = RULE_HOST_INIT;
    TRY(read_host(&now, s, p, blobs, context));
    TRY(merge(h, &now, p));
    struct rule_host before = *h;
    *h = now;
    now = before;
    return err_ok();
}

struct err rule_host_bound(const struct rule_host *h, const struct policy *p)
{
    if (h->certified)
        return err_ok();
    if (p->k_activators == 0)
        return err_set(ERR_UNTRUE,
                       "no activation by activators of the policy: it names none, so nothing binds "
                       "the attestation key to the endorsement certificate");
    if (h->n_vouched < p->k_activators)
        return err_set(ERR_UNTRUE,
                       "no activation by %u activators of the policy (%u have signed): nothing "
                       "binds the attestation key to the endorsement certificate",
                       p->k_activators, h->n_vouched);
    return err_ok();
}
