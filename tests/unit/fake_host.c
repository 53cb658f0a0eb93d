#include "fake_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static const char origin[] = "example.org/fake-log";

static void run(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing)
{
    if (w->hook != NULL)
        w->hook(w, stage, what, thing);
}

/* For what cannot fail in a test unless the test is wrong. */
static void must(struct err e)
{
    if (is_err(e)) {
        fprintf(stderr, "fake host: %s\n", err_message());
        abort();
    }
}

/* As assert, in every build. */
static void expect(bool holds)
{
    if (!holds) {
        fprintf(stderr, "fake host: the test itself is wrong\n");
        abort();
    }
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    expect(ext != NULL);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

static X509 *new_certificate(EVP_PKEY *key, const char *name, const char *issuer, long serial)
{
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const uint8_t *)name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(cert), "CN", MBSTRING_ASC,
                               (const uint8_t *)issuer, -1, -1, 0);
    return cert;
}

static void finish_certificate(struct buf *out, X509 *cert, EVP_PKEY *signer)
{
    X509_sign(cert, signer, EVP_sha256());
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    expect(len > 0);
    buf_append(out, der, (size_t)len);
    OPENSSL_free(der);
    X509_free(cert);
}

static void make_root(struct buf *out, EVP_PKEY *key)
{
    X509 *cert = new_certificate(key, "Fake TPM root", "Fake TPM root", 1);
    add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(cert, cert, NID_key_usage, "critical,keyCertSign");
    finish_certificate(out, cert, key);
}

static void make_ek(struct buf *out, EVP_PKEY *ek, EVP_PKEY *root, long serial)
{
    X509 *cert = new_certificate(ek, "Fake TPM", "Fake TPM root", serial);
    add_extension(cert, cert, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(cert, cert, NID_key_usage, "critical,keyAgreement");
    add_extension(cert, cert, NID_ext_key_usage, "2.23.133.8.1");
    finish_certificate(out, cert, root);
}

static void append_2b(struct buf *out, struct bytes v)
{
    buf_append_u16be(out, (uint16_t)v.len);
    buf_append_bytes(out, v);
}

static void append_coordinate(struct buf *out, EVP_PKEY *key, const char *name)
{
    BIGNUM *n = NULL;
    uint8_t bytes[32];
    expect(EVP_PKEY_get_bn_param(key, name, &n) == 1);
    expect(BN_bn2binpad(n, bytes, sizeof bytes) == 32);
    BN_free(n);
    append_2b(out, bytes_of(bytes, sizeof bytes));
}

/* TPMT_PUBLIC of a restricted P-256 signing key. */
static void make_ak_public(struct buf *out, EVP_PKEY *key)
{
    buf_append_u16be(out, TPM_ALG_ECC_ID);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    buf_append_u32be(out, TPMA_FIXED_TPM | TPMA_FIXED_PARENT | TPMA_SENSITIVE_DATA_ORIGIN | 1 << 6 |
                              TPMA_RESTRICTED | TPMA_SIGN);
    buf_append_u16be(out, 0);
    buf_append_u16be(out, TPM_ALG_NULL_ID);
    buf_append_u16be(out, TPM_ALG_ECDSA_ID);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    buf_append_u16be(out, TPM_ECC_P256);
    buf_append_u16be(out, TPM_ALG_NULL_ID);
    append_coordinate(out, key, OSSL_PKEY_PARAM_EC_PUB_X);
    append_coordinate(out, key, OSSL_PKEY_PARAM_EC_PUB_Y);
}

/* Made once a process: tests build hundreds of worlds. */
static struct {
    EVP_PKEY *root, *ek[FAKE_HOSTS], *ak[FAKE_HOSTS];
    struct buf root_certificate, ek_certificate[FAKE_HOSTS];
} keys;

static void free_keys(void)
{
    EVP_PKEY_free(keys.root);
    buf_cleanup(&keys.root_certificate);
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        EVP_PKEY_free(keys.ek[i]);
        EVP_PKEY_free(keys.ak[i]);
        buf_cleanup(&keys.ek_certificate[i]);
    }
}

static void make_keys(void)
{
    if (keys.root != NULL)
        return;
    keys.root = EVP_EC_gen("P-256");
    make_root(&keys.root_certificate, keys.root);
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        keys.ek[i] = EVP_EC_gen("P-256");
        keys.ak[i] = EVP_EC_gen("P-256");
        make_ek(&keys.ek_certificate[i], keys.ek[i], keys.root, 2 + (long)i);
    }
    atexit(free_keys);
}

static void init_host(struct fake_world *w, struct fake_host *h, unsigned i)
{
    h->ak = keys.ak[i];
    h->ek = keys.ek[i];
    make_ak_public(&h->ak_public, h->ak);
    run(w, FAKE_AK_PUBLIC, FAKE_HOST, &h->ak_public);
    buf_append_bytes(&h->ek_certificate, buf_bytes(&keys.ek_certificate[i]));
    h->ak_name.len = TPM_NAME_SHA256_LEN;
    h->ak_name.bytes[1] = TPM_ALG_SHA256_ID;
    sha256(h->ak_name.bytes + 2, buf_bytes(&h->ak_public));
    h->clock_ms = 100000;
    h->counter = 40;
    h->reset_count = 6;
    h->counter_index = 0x01800b11;
    /* NO_DA, WRITTEN, OWNERREAD, AUTHREAD, OWNERWRITE, type counter */
    h->counter_attributes = 1u << 25 | 1u << 29 | 1u << 17 | 1u << 18 | 1u << 1 | 1u << 4;
    h->safe = 1;
}

void fake_world_init(struct fake_world *w, fake_hook *hook)
{
    make_keys();
    *w = (struct fake_world){.hook = hook,
                             .root = keys.root,
                             .model_id = "fake/model-1b",
                             .kernels = "ref-1 none",
                             .quote_interval_s = 60};
    buf_append_bytes(&w->root_certificate, buf_bytes(&keys.root_certificate));
    uint8_t seed[ED25519_SEED_LEN] = {1};
    must(note_signer_init(&w->log, origin, NOTE_ED25519, seed));
    seed[0] = 2;
    must(note_signer_init(&w->activator, "activator.example", NOTE_ED25519, seed));
    for (unsigned i = 0; i < FAKE_HOSTS; i++)
        init_host(w, &w->hosts[i], i);
}

void fake_world_cleanup(struct fake_world *w)
{
    buf_cleanup(&w->root_certificate);
    for (size_t i = 0; i < w->n_entries; i++)
        buf_cleanup(&w->entries[i]);
    for (size_t i = 0; i < w->n_blobs; i++)
        buf_cleanup(&w->blobs[i]);
    free(w->entries);
    free(w->leaves);
    free(w->blobs);
    for (unsigned i = 0; i < FAKE_HOSTS; i++) {
        buf_cleanup(&w->hosts[i].ak_public);
        buf_cleanup(&w->hosts[i].ek_certificate);
        runtime_log_cleanup(&w->hosts[i].runtime_log);
    }
}

/* --- the log --- */

uint64_t fake_append(struct fake_world *w, struct bytes entry)
{
    w->entries = realloc(w->entries, (w->n_entries + 1) * sizeof *w->entries);
    w->leaves = realloc(w->leaves, (w->n_entries + 1) * sizeof *w->leaves);
    expect(w->entries != NULL && w->leaves != NULL);
    w->entries[w->n_entries] = BUF_INIT;
    buf_append_bytes(&w->entries[w->n_entries], entry);
    w->leaves[w->n_entries] = merkle_leaf(entry);
    return w->n_entries++;
}

void fake_add_blob(struct fake_world *w, struct bytes blob)
{
    for (size_t i = 0; i < w->n_blobs; i++)
        if (bytes_equal(buf_bytes(&w->blobs[i]), blob))
            return;
    w->blobs = realloc(w->blobs, (w->n_blobs + 1) * sizeof *w->blobs);
    expect(w->blobs != NULL);
    w->blobs[w->n_blobs] = BUF_INIT;
    buf_append_bytes(&w->blobs[w->n_blobs++], blob);
}

struct err fake_blob(void *world, const uint8_t hash[SHA256_LEN], struct buf *out)
{
    const struct fake_world *w = world;
    for (size_t i = 0; i < w->n_blobs; i++) {
        uint8_t is[SHA256_LEN];
        sha256(is, buf_bytes(&w->blobs[i]));
        if (memcmp(is, hash, SHA256_LEN) != 0)
            continue;
        buf_append_bytes(out, buf_bytes(&w->blobs[i]));
        return err_ok();
    }
    return err_set(ERR_NOT_FOUND, "no such blob");
}

static struct err subtree(void *world, unsigned level, uint64_t index, struct merkle_hash *out)
{
    const struct fake_world *w = world;
    expect((index + 1) << level <= w->n_entries);
    *out = merkle_root(w->leaves + (index << level), (uint64_t)1 << level);
    return err_ok();
}

void fake_inclusion(struct fake_world *w, struct merkle_proof *out, uint64_t index, uint64_t size)
{
    must(merkle_prove_inclusion(out, index, size, subtree, w));
}

void fake_consistency(struct fake_world *w, struct merkle_proof *out, uint64_t old_size)
{
    must(merkle_prove_consistency(out, old_size, w->n_entries, subtree, w));
}

void fake_checkpoint(struct fake_world *w, struct buf *note, uint64_t size)
{
    struct checkpoint c = {.size = size};
    strcpy(c.origin, w->log.key.name);
    c.root = size > 0 ? merkle_root(w->leaves, size) : merkle_empty();
    must(checkpoint_sign(note, &c, &w->log));
}

/* --- the TPM --- */

void fake_extend(struct fake_host *h, unsigned pcr, const char *kind, struct bytes data)
{
    uint8_t digest[SHA256_LEN];
    runtime_event_digest(digest, EVP_sha256(), kind, data);
    sha256_3(h->pcrs.values[pcr], bytes_of(h->pcrs.values[pcr], SHA256_LEN),
             bytes_of(digest, SHA256_LEN), bytes_of(NULL, 0));
    must(runtime_log_append(&h->runtime_log, pcr, kind, data));
}

void fake_reset(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    memset(&h->pcrs, 0, sizeof h->pcrs);
    for (unsigned i = 0; i < N_BOOT_PCRS; i++)
        memset(h->pcrs.values[i], 0xa0 + (int)i, SHA256_LEN);
    h->reset_count++;
    h->counter++;
    h->clock_ms += 5000;
    random_bytes(h->boot_id, sizeof h->boot_id);
    runtime_log_cleanup(&h->runtime_log);
    h->period = 0;
}

static void extend_hex(struct fake_host *h, unsigned pcr, const char *kind, uint8_t fill,
                       const char *after)
{
    uint8_t hash[SHA256_LEN];
    memset(hash, fill, sizeof hash);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(hash, sizeof hash));
    buf_append_str(&text, after);
    fake_extend(h, pcr, kind, buf_bytes(&text));
}

void fake_measure(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    fake_extend(h, PCR_MODEL, "model-id", bytes_of_str(w->model_id));
    extend_hex(h, PCR_MODEL, "model-file", 0x31, " 512 config.json");
    extend_hex(h, PCR_MODEL, "model-file", 0x32, " 4096 model.safetensors");
    fake_extend(h, PCR_MODEL, "cap", bytes_of(NULL, 0));
    extend_hex(h, PCR_CODE, "server-binary", 0x41, "");
    fake_extend(h, PCR_CODE, "kernels", bytes_of_str(w->kernels));
    extend_hex(h, PCR_CODE, "sandbox", 0x42, "");
    fake_extend(h, PCR_CODE, "profile", bytes_of_str("default"));
    fake_extend(h, PCR_CODE, "cap", bytes_of(NULL, 0));
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(h->boot_id, BOOT_ID_LEN));
    fake_extend(h, PCR_IDENTITY, "boot-id", buf_bytes(&text));
    buf_clear(&text);
    note_vkey_format(&text, &w->log.key);
    fake_extend(h, PCR_IDENTITY, "log",
                w->log_vkey != NULL ? bytes_of_str(w->log_vkey) : buf_bytes(&text));
    buf_clear(&text);
    buf_printf(&text, "quote-interval %llu\nmax-context 4096\nmax-requests 8\n",
               (unsigned long long)w->quote_interval_s);
    fake_extend(h, PCR_IDENTITY, "config", buf_bytes(&text));
}

void fake_new_key(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    random_bytes(h->spki_sha256, SHA256_LEN);
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(h->spki_sha256, SHA256_LEN));
    fake_extend(h, PCR_IDENTITY, "identity", buf_bytes(&text));
}

/* TPMS_ATTEST up to the firmware version. */
static void begin_attest(struct buf *out, struct fake_host *h, uint16_t type,
                         const uint8_t extra[SHA256_LEN])
{
    buf_append_u32be(out, 0xff544347);
    buf_append_u16be(out, type);
    append_2b(out, bytes_of(h->ak_name.bytes, TPM_NAME_SHA256_LEN)); /* stands for the qualified name */
    append_2b(out, bytes_of(extra, SHA256_LEN));
    buf_append_u64be(out, h->clock_ms);
    buf_append_u32be(out, h->reset_count);
    buf_append_u32be(out, h->restart_count);
    buf_append_u8(out, h->safe);
    buf_append_u64be(out, 0x2020010203040506);
}

static void attest_quote(struct buf *out, struct fake_host *h, const uint8_t extra[SHA256_LEN])
{
    uint8_t digest[SHA256_LEN];
    sha256(digest, bytes_of(h->pcrs.values, sizeof h->pcrs.values));
    begin_attest(out, h, ATTESTED_QUOTE, extra);
    buf_append_u32be(out, 1);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    buf_append(out, "\x03\xff\xff\x00", 4);
    append_2b(out, bytes_of(digest, SHA256_LEN));
}

static void attest_counter(struct buf *out, struct fake_host *h, const uint8_t extra[SHA256_LEN])
{
    BUF_AUTO area = BUF_INIT;
    buf_append_u32be(&area, h->counter_index);
    buf_append_u16be(&area, TPM_ALG_SHA256_ID);
    buf_append_u32be(&area, h->counter_attributes);
    buf_append_u16be(&area, 0);
    buf_append_u16be(&area, 8);
    uint8_t name[TPM_NAME_SHA256_LEN] = {0, TPM_ALG_SHA256_ID};
    sha256(name + 2, buf_bytes(&area));
    begin_attest(out, h, ATTESTED_NV, extra);
    append_2b(out, bytes_of(name, sizeof name));
    buf_append_u16be(out, 0);
    buf_append_u16be(out, 8);
    buf_append_u64be(out, h->counter);
}

static void append_number(struct buf *out, const BIGNUM *n)
{
    uint8_t bytes[32];
    expect(BN_bn2binpad(n, bytes, sizeof bytes) == 32);
    append_2b(out, bytes_of(bytes, sizeof bytes));
}

/* TPMT_SIGNATURE, ECDSA with SHA-256. */
static void sign(struct buf *out, EVP_PKEY *key, struct bytes message)
{
    uint8_t der[128];
    size_t len = sizeof der;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    expect(EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1);
    expect(EVP_DigestSign(md, der, &len, message.data, message.len) == 1);
    EVP_MD_CTX_free(md);
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    expect(sig != NULL);
    buf_append_u16be(out, TPM_ALG_ECDSA_ID);
    buf_append_u16be(out, TPM_ALG_SHA256_ID);
    append_number(out, ECDSA_SIG_get0_r(sig));
    append_number(out, ECDSA_SIG_get0_s(sig));
    ECDSA_SIG_free(sig);
}

/* Signs and copies both into a statement's arrays. */
static void finish_attest(struct fake_world *w, struct fake_host *h, enum fake_what what,
                          struct buf *attest, uint8_t *attest_out, size_t *attest_len,
                          uint8_t *signature_out, size_t *signature_len)
{
    run(w, FAKE_ATTEST, what, attest);
    BUF_AUTO signature = BUF_INIT;
    sign(&signature, h->ak, buf_bytes(attest));
    run(w, FAKE_SIGNATURE, what, &signature);
    memcpy(attest_out, attest->data, attest->len);
    *attest_len = attest->len;
    memcpy(signature_out, signature.data, signature.len);
    *signature_len = signature.len;
}

/* --- statements --- */

static uint64_t log_statement(struct fake_world *w, enum fake_what what, struct statement *s)
{
    run(w, FAKE_STATEMENT, what, s);
    BUF_AUTO text = BUF_INIT;
    statement_format(&text, s);
    run(w, FAKE_TEXT, what, &text);
    return fake_append(w, buf_bytes(&text));
}

static void refer(struct fake_world *w, struct blob_ref *out, struct bytes blob)
{
    blob_ref_of(out, blob);
    fake_add_blob(w, blob);
}

static void activate(struct fake_world *w, struct fake_host *h, struct buf *note)
{
    struct activation a = {.ak_name = h->ak_name, .time_s = 1700000000};
    strcpy(a.origin, w->log.key.name);
    sha256(a.ek_certificate, buf_bytes(&h->ek_certificate));
    run(w, FAKE_ACTIVATION, FAKE_HOST, &a);
    BUF_AUTO text = BUF_INIT;
    activation_format(&text, &a);
    must(note_sign(note, buf_bytes(&text), &w->activator));
}

uint64_t fake_log_host(struct fake_world *w, unsigned host, bool activated)
{
    struct fake_host *h = &w->hosts[host];
    struct statement s = {.kind = STATEMENT_HOST, .ak_name = h->ak_name};
    refer(w, &s.host.ak_public, buf_bytes(&h->ak_public));
    refer(w, &s.host.ek_certificate, buf_bytes(&h->ek_certificate));
    refer(w, &s.host.chain[s.host.n_chain++], buf_bytes(&w->root_certificate));
    if (activated) {
        BUF_AUTO note = BUF_INIT;
        activate(w, h, &note);
        refer(w, &s.host.activations[s.host.n_activations++], buf_bytes(&note));
    }
    uint64_t index = log_statement(w, FAKE_HOST, &s);
    h->first_host_index = h->host_logged ? h->first_host_index : index;
    h->host_logged = true;
    return h->host_index = index;
}

uint64_t fake_log_boot(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    struct statement s = {.kind = STATEMENT_BOOT, .ak_name = h->ak_name};
    struct statement_boot *b = &s.boot;
    memcpy(b->boot_id, h->boot_id, BOOT_ID_LEN);
    b->reset_count = h->reset_count;
    b->restart_count = h->restart_count;
    b->counter_index = h->counter_index;
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-boot/v1\n");
    buf_append_hex(&text, bytes_of(h->boot_id, BOOT_ID_LEN));
    uint8_t extra[SHA256_LEN];
    sha256(extra, buf_bytes(&text));
    BUF_AUTO attest = BUF_INIT;
    attest_counter(&attest, h, extra);
    finish_attest(w, h, FAKE_BOOT, &attest, b->attest, &b->attest_len, b->signature,
                  &b->signature_len);
    h->clock_ms += 10;
    return h->boot_index = log_statement(w, FAKE_BOOT, &s);
}

static void runtime_log_text(struct buf *out, const struct runtime_log *log)
{
    runtime_log_format_header(out);
    for (size_t i = 0; i < log->n_records; i++)
        runtime_log_format_record(out, log->records[i].pcr, log->records[i].kind,
                                  log->records[i].data);
}

uint64_t fake_log_identity(struct fake_world *w, unsigned host)
{
    struct fake_host *h = &w->hosts[host];
    struct statement s = {.kind = STATEMENT_IDENTITY, .ak_name = h->ak_name};
    memcpy(s.identity.boot_id, h->boot_id, BOOT_ID_LEN);
    memcpy(s.identity.spki_sha256, h->spki_sha256, SHA256_LEN);
    BUF_AUTO text = BUF_INIT;
    runtime_log_text(&text, &h->runtime_log);
    refer(w, &s.identity.runtime_log, buf_bytes(&text));
    return h->identity_index = log_statement(w, FAKE_IDENTITY, &s);
}

static void make_quote(struct fake_world *w, struct fake_host *h, enum fake_what what,
                       struct statement *s, struct quote_context *c)
{
    c->ak_name = h->ak_name;
    memcpy(c->boot_id, h->boot_id, BOOT_ID_LEN);
    strcpy(c->origin, w->log.key.name);
    c->head_size = w->n_entries;
    c->head_root = merkle_root(w->leaves, w->n_entries);
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    sha256(c->head_note, buf_bytes(&note));
    fake_add_blob(w, buf_bytes(&note));
    c->has_previous = h->has_previous;
    c->previous_index = h->previous_index;
    c->previous_leaf = h->previous_leaf;
    memcpy(c->spki_sha256, h->spki_sha256, SHA256_LEN);
    c->period = h->period;
    c->time_s = 1700000000 + h->clock_ms / 1000;
    run(w, FAKE_CONTEXT, what, c);
    BUF_AUTO text = BUF_INIT;
    context_format(&text, c);
    struct statement_quote *q = &s->quote;
    memcpy(q->context_text, text.data, text.len);
    q->context_len = text.len;
    q->context = *c;
    q->pcrs = h->pcrs;
    uint8_t extra[SHA256_LEN];
    context_hash(extra, buf_bytes(&text));
    BUF_AUTO attest = BUF_INIT;
    attest_quote(&attest, h, extra);
    finish_attest(w, h, what, &attest, q->attest, &q->attest_len, q->signature, &q->signature_len);
}

static uint64_t log_quote(struct fake_world *w, struct fake_host *h, enum fake_what what,
                          struct statement *s)
{
    struct quote_context c = {.kind = what == FAKE_STOP ? QUOTE_STOP : QUOTE_PERIODIC};
    h->clock_ms += w->quote_interval_s * 1000;
    s->ak_name = h->ak_name;
    make_quote(w, h, what, s, &c);
    h->quote_index = log_statement(w, what, s);
    h->has_previous = true;
    h->previous_index = h->quote_index;
    h->previous_leaf = w->leaves[h->quote_index];
    h->period++;
    return h->quote_index;
}

uint64_t fake_log_quote(struct fake_world *w, unsigned host)
{
    struct statement s = {.kind = STATEMENT_QUOTE};
    return log_quote(w, &w->hosts[host], FAKE_PERIODIC, &s);
}

uint64_t fake_log_stop(struct fake_world *w, unsigned host, uint64_t max_duration_s)
{
    struct statement s = {.kind = STATEMENT_STOP};
    s.quote.max_duration_s = max_duration_s;
    return log_quote(w, &w->hosts[host], FAKE_STOP, &s);
}

void fake_start(struct fake_world *w, unsigned host)
{
    fake_reset(w, host);
    fake_measure(w, host);
    fake_new_key(w, host);
    fake_log_host(w, host, true);
    fake_log_boot(w, host);
    fake_log_identity(w, host);
    fake_log_quote(w, host);
}

/* --- evidence and policy --- */

static void add_entry(struct fake_world *w, struct evidence *out, uint64_t index)
{
    struct merkle_proof proof;
    fake_inclusion(w, &proof, index, w->n_entries);
    evidence_add_statement(out, index, buf_bytes(&w->entries[index]), &proof);
}

static void add_head(struct fake_world *w, struct evidence *out, uint64_t size)
{
    BUF_AUTO note = BUF_INIT;
    struct merkle_proof proof;
    fake_checkpoint(w, &note, size);
    fake_consistency(w, &proof, size);
    evidence_add_head(out, buf_bytes(&note), &proof);
}

static void add_ref(struct fake_world *w, struct evidence *out, const struct blob_ref *ref)
{
    BUF_AUTO blob = BUF_INIT;
    if (!is_err(fake_blob(w, ref->sha256, &blob)))
        evidence_add_blob(out, buf_bytes(&blob));
}

static void add_blobs(struct fake_world *w, struct evidence *out, uint64_t index)
{
    struct statement s;
    if (is_err(statement_parse(&s, buf_bytes(&w->entries[index]))))
        return;
    if (s.kind == STATEMENT_IDENTITY)
        add_ref(w, out, &s.identity.runtime_log);
    if (s.kind != STATEMENT_HOST)
        return;
    add_ref(w, out, &s.host.ak_public);
    add_ref(w, out, &s.host.ek_certificate);
    for (size_t i = 0; i < s.host.n_chain; i++)
        add_ref(w, out, &s.host.chain[i]);
    for (size_t i = 0; i < s.host.n_activations; i++)
        add_ref(w, out, &s.host.activations[i]);
}

static uint64_t logged_head(struct fake_world *w, uint64_t index)
{
    struct statement s;
    if (is_err(statement_parse(&s, buf_bytes(&w->entries[index]))))
        return w->n_entries;
    uint64_t size = s.quote.context.head_size;
    return size > 0 && size <= w->n_entries ? size : w->n_entries;
}

/* Three nonces that came together; the caller's is the second. */
static void nonce_tree(struct quote_context *c, struct merkle_proof *proof,
                       const uint8_t nonce[NONCE_LEN])
{
    const uint8_t other[NONCE_LEN] = {7};
    struct merkle_hash leaves[3] = {merkle_leaf(bytes_of(other, NONCE_LEN)),
                                    merkle_leaf(bytes_of(nonce, NONCE_LEN)),
                                    merkle_leaf(bytes_of(other, NONCE_LEN))};
    c->n_nonces = 3;
    c->nonce_root = merkle_root(leaves, 3);
    proof->n_hashes = 2;
    proof->hashes[0] = leaves[0];
    proof->hashes[1] = leaves[2];
}

void fake_evidence(struct fake_world *w, unsigned host, struct evidence *out,
                   const uint8_t nonce[NONCE_LEN])
{
    struct fake_host *h = &w->hosts[host];
    h->clock_ms += 2000;
    struct quote_context c = {.kind = QUOTE_DEMAND};
    struct merkle_proof nonce_proof;
    nonce_tree(&c, &nonce_proof, nonce);
    struct statement s = {.kind = STATEMENT_QUOTE, .ak_name = h->ak_name};
    make_quote(w, h, FAKE_DEMAND, &s, &c);
    run(w, FAKE_STATEMENT, FAKE_DEMAND, &s);
    BUF_AUTO quote = BUF_INIT;
    statement_format(&quote, &s);
    run(w, FAKE_TEXT, FAKE_DEMAND, &quote);
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    evidence_set_checkpoint(out, buf_bytes(&note));
    const uint64_t entries[] = {h->host_index, h->boot_index, h->identity_index, h->quote_index};
    for (size_t i = 0; i < 4; i++) {
        add_entry(w, out, entries[i]);
        add_blobs(w, out, entries[i]);
    }
    if (h->first_host_index != h->host_index) {
        add_entry(w, out, h->first_host_index);
        add_blobs(w, out, h->first_host_index);
    }
    uint64_t logged = logged_head(w, h->quote_index);
    uint64_t live = c.head_size > 0 && c.head_size <= w->n_entries ? c.head_size : w->n_entries;
    add_head(w, out, logged);
    if (live != logged)
        add_head(w, out, live);
    evidence_set_quote(out, buf_bytes(&quote), 1, &nonce_proof);
    run(w, FAKE_EVIDENCE, FAKE_DEMAND, out);
}

static void append_hash_line(struct buf *out, const char *key, struct bytes data)
{
    uint8_t hash[SHA256_LEN];
    sha256(hash, data);
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(hash, SHA256_LEN));
    buf_append_str(out, "\n");
}

static void append_key_line(struct buf *out, const char *key, const struct note_key *vkey)
{
    buf_printf(out, "%s ", key);
    note_vkey_format(out, vkey);
    buf_append_str(out, "\n");
}

/* The policy for what host 0 measured, or would. */
void fake_policy_text(struct fake_world *w, struct buf *out)
{
    BUF_AUTO model = BUF_INIT, code = BUF_INIT, name = BUF_INIT;
    lane_manifest(&model, &w->hosts[0].runtime_log, PCR_MODEL);
    lane_manifest(&code, &w->hosts[0].runtime_log, PCR_CODE);
    buf_append_str(out, "blindllama-policy/v1\n# for tests\n\n");
    append_key_line(out, "log", &w->log.key);
    buf_append_str(out, "quorum none\nrelease none\n");
    append_hash_line(out, "test-tpm-root", buf_bytes(&w->root_certificate));
    append_key_line(out, "activator", &w->activator.key);
    buf_append_str(out, "activators 1\n");
    buf_printf(&name, "model %s", w->model_id);
    append_hash_line(out, buf_str(&name), buf_bytes(&model));
    append_hash_line(out, "code fake-code", buf_bytes(&code));
    for (unsigned i = 0; i < N_BOOT_PCRS; i++) {
        buf_printf(out, "boot-pcr %u ", i);
        for (unsigned k = 0; k < SHA256_LEN; k++)
            buf_printf(out, "%02x", 0xa0 + i);
        buf_append_str(out, "\n");
    }
    buf_append_str(out, "max-interval 300\nmax-age 600\n");
    run(w, FAKE_POLICY, FAKE_HOST, out);
}
