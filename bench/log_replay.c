/*
 * An auditor's whole replay: blindllama-audit over a log of quotes, a COMMIT each as a host logs
 * them, against the signatures that any replay must verify. The log is of a host in memory (the
 * tests'), whose key signs as a TPM does. What the program says is looked at: true, every quote
 * counted; and false of the same log under another policy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "bench/log_bench.h"
#include "bench/programs.h"
#include "common/file.h"
#include "tests/unit/fake_host.h"

enum { N_QUOTES = 3000, N_QUOTES_TINY = 20, N_SIGNATURES = 2000, N_SIGNATURES_TINY = 10 };

static const char log_name[] = "replay.db", policy_name[] = "replay.policy";

struct audited {
    const struct log_bench *b;
    char log[128], policy[128];
    uint64_t n_quotes;
    size_t quote_len;
    struct series rates, ecdsa, least;
};

double log_bench_ecdsa_rate(unsigned n)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    uint8_t digest[SHA256_LEN] = {1}, signature[80];
    size_t len = sizeof signature;
    bool good = EVP_PKEY_sign_init(ctx) == 1 &&
                EVP_PKEY_sign(ctx, signature, &len, digest, sizeof digest) == 1 &&
                EVP_PKEY_verify_init(ctx) == 1;
    double start = seconds_cpu();
    for (unsigned i = 0; i < n; i++)
        good = good && EVP_PKEY_verify(ctx, signature, len, digest, sizeof digest) == 1;
    double rate = n / (seconds_cpu() - start);
    must(good ? err_ok() : err_set(ERR_IO, "OpenSSL does not verify its own signature"));
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    return rate;
}

/* The world's newest entry, with the blobs that came with it. */
static void append_newest(struct store *log, const struct fake_world *w, size_t n_blobs_before)
{
    struct bytes blobs[16];
    size_t n = w->n_blobs - n_blobs_before;
    uint64_t index;
    must(n <= 16 ? err_ok() : err_set(ERR_LIMIT, "a statement with %zu blobs", n));
    for (size_t i = 0; i < n; i++)
        blobs[i] = buf_bytes(&w->blobs[n_blobs_before + i]);
    struct store_entry entry = {buf_bytes(&w->entries[w->n_entries - 1]), blobs, n};
    must(store_append(log, &index, &entry, 1));
}

static void write_log(struct audited *a, struct fake_world *w)
{
    struct store *log = NULL;
    must(store_create(a->log, &w->log));
    must(store_open(&log, a->log, &w->log));
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    append_newest(log, w, 0);
    for (uint64_t i = 0; i < a->n_quotes + 2; i++) {
        size_t n_blobs = w->n_blobs;
        if (i == 0)
            fake_log_boot(w, 0);
        else if (i == 1)
            fake_log_identity(w, 0);
        else
            fake_log_quote(w, 0);
        append_newest(log, w, n_blobs);
    }
    a->quote_len = w->entries[w->n_entries - 1].len;
    store_close(log);
}

static void make_files(struct audited *a)
{
    struct fake_world w;
    BUF_AUTO policy = BUF_INIT;
    snprintf(a->log, sizeof a->log, "%.100s/%s", a->b->folder, log_name);
    snprintf(a->policy, sizeof a->policy, "%.100s/%s", a->b->folder, policy_name);
    fake_world_init(&w, NULL);
    write_log(a, &w);
    fake_policy_text(&w, &policy);
    must(file_write_durable(a->policy, buf_bytes(&policy), 0600));
    fake_world_cleanup(&w);
}

static double children_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Quotes a second of the program's CPU time. */
static double replay_rate(const struct audited *a)
{
    BUF_AUTO program = BUF_INIT, said = BUF_INIT;
    const char *argv[] = {program_beside(&program, "blindllama-audit"),
                          "replay",
                          a->log,
                          "--policy",
                          a->policy,
                          NULL};
    struct program p;
    char wanted[80];
    double before = children_cpu();
    program_start(&p, argv, 0);
    program_finish(&p, &said);
    double seconds = children_cpu() - before;
    snprintf(wanted, sizeof wanted, "boots: 1, quotes: %llu\nVerdict: true",
             (unsigned long long)a->n_quotes);
    if (strstr(buf_str(&said), wanted) == NULL)
        must(err_set(ERR_UNTRUE, "the audit does not say \"%s\": %s", wanted,
                     buf_str(&said) + (said.len > 600 ? said.len - 600 : 0)));
    return (double)a->n_quotes / seconds;
}

/* Seconds of the least that a quote takes: its signature, that of the head after it, a hash. */
static double least_time(const struct audited *a, double ecdsa_rate, unsigned n)
{
    static uint8_t entry[STORE_ENTRY_MAX];
    const struct note_signer *signer = &a->b->signer;
    uint8_t text[128] = {1}, signature[ED25519_SIGNATURE_LEN], hash[SHA256_LEN];
    ed25519_sign(signature, signer->seed, bytes_of(text, sizeof text));
    double start = seconds_cpu();
    for (unsigned i = 0; i < n; i++) {
        must(ed25519_verify(signer->key.public_key, signature, bytes_of(text, sizeof text)));
        sha256(hash, bytes_of(entry, a->quote_len));
    }
    return (seconds_cpu() - start) / n + 1 / ecdsa_rate;
}

static void report(struct results *r, const struct audited *a)
{
    results_group(r, "log, an audit of %llu quotes of %zu bytes, on 1 core",
                  (unsigned long long)a->n_quotes, a->quote_len);
    results_add_series(r, "ECDSA P-256 alone", &a->ecdsa, 1, "1/s", NULL, NULL, NULL);
    results_add_series(r, "quotes replayed", &a->rates, 1, "1/s", "OpenSSL's ECDSA P-256 verify",
                       &a->ecdsa, NULL);
    results_add_series(r, "quotes replayed, against all they need", &a->rates, 1, "1/s",
                       "ECDSA P-256, Ed25519 of a head and SHA-256, once each", &a->least, NULL);
}

void log_bench_replay(struct results *r, const struct log_bench *b)
{
    struct audited *a = calloc(1, sizeof *a);
    must(a != NULL ? err_ok() : err_set(ERR_MEMORY, "no memory for an audit"));
    *a = (struct audited){.b = b, .n_quotes = b->o->tiny ? N_QUOTES_TINY : N_QUOTES};
    unsigned n = b->o->tiny ? N_SIGNATURES_TINY : N_SIGNATURES;
    make_files(a);
    for (unsigned round = 0; round < b->o->n_rounds; round++) {
        double ecdsa = log_bench_ecdsa_rate(n);
        series_add(&a->ecdsa, ecdsa);
        series_add(&a->least, 1 / least_time(a, ecdsa, n));
        series_add(&a->rates, replay_rate(a));
    }
    report(r, a);
    unlink(a->policy);
    log_bench_remove(b, log_name);
    free(a);
}
