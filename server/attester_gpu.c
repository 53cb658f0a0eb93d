/*
 * The GPUs that the front computes with, as the attester sees them: by NVML, which is opened here
 * and nowhere else. What is said of them goes into the boot statement; where their memory is
 * protected, each signs a report for every quote.
 */
#include "server/attester_internal.h"

#include <stdlib.h>
#include <string.h>

#include "attest/gpu_chain.h"
#include "attest/gpu_report.h"
#include "attest/key_lines.h"
#include "kernels/cuda/nvml.h"

void attester_close_gpus(struct attester *a)
{
    nvml_close(a->gpus.nvml);
    for (size_t i = 0; i < STATEMENT_GPUS_MAX; i++) {
        buf_cleanup(&a->gpus.chains[i]);
        buf_cleanup(&a->gpus.reports[i]);
    }
    a->gpus = (struct attester_gpus){0};
}

static struct err check_word(const char *text, const char *what)
{
    if (gpu_word_valid(bytes_of_str(text)))
        return err_ok();
    return err_set(ERR_UNSUPPORTED, "NVML's version of the %s is no word: '%s'", what, text);
}

static struct err read_certificates(struct attester_gpus *g, size_t i, struct nvml *nvml)
{
    BUF_AUTO pem = BUF_INIT;
    struct gpu_chain chain = {0};
    TRY(nvml_certificates(nvml, &pem, g->facts.gpus[i].uuid));
    TRY(gpu_chain_from_pem(&g->chains[i], buf_bytes(&pem)));
    TRY(gpu_chain_verify(&chain, buf_bytes(&g->chains[i])));
    gpu_chain_cleanup(&chain);
    blob_ref_of(&g->facts.gpus[i].chain, buf_bytes(&g->chains[i]));
    return err_ok();
}

static struct err read_gpu(struct attester_gpus *g, size_t i, struct nvml *nvml,
                           enum gpu_memory memory)
{
    struct statement_gpu *gpu = &g->facts.gpus[i];
    struct nvml_gpu facts;
    TRY(nvml_describe(nvml, &facts, gpu->uuid));
    TRY(check_word(facts.vbios, "VBIOS"));
    if (!plain_name_valid(bytes_of_str(facts.name)))
        return err_set(ERR_UNSUPPORTED, "NVML has no name for %s", gpu->uuid);
    memcpy(gpu->vbios, facts.vbios, sizeof gpu->vbios);
    memcpy(gpu->name, facts.name, sizeof gpu->name);
    gpu->memory = memory;
    return memory == GPU_MEMORY_PROTECTED ? read_certificates(g, i, nvml) : err_ok();
}

static enum gpu_memory memory_of(enum nvml_confidential c)
{
    if (c == NVML_CONFIDENTIAL_ON)
        return GPU_MEMORY_PROTECTED;
    return c == NVML_CONFIDENTIAL_DEVTOOLS ? GPU_MEMORY_DEVTOOLS : GPU_MEMORY_OPEN;
}

static struct err read_all(struct attester_gpus *g, const struct measurement *m)
{
    enum nvml_confidential confidential;
    TRY(nvml_open(&g->nvml));
    TRY(nvml_driver_version(g->nvml, g->facts.gpu_driver));
    TRY(check_word(g->facts.gpu_driver, "driver"));
    TRY(nvml_confidential(g->nvml, &confidential));
    g->facts.n_gpus = m->n_gpus;
    for (size_t i = 0; i < m->n_gpus; i++) {
        memcpy(g->facts.gpus[i].uuid, m->gpus[i], sizeof m->gpus[i]);
        TRY(read_gpu(g, i, g->nvml, memory_of(confidential)));
    }
    return err_ok();
}

static bool gpus_equal(const struct statement_boot *x, const struct statement_boot *y)
{
    struct statement a = {.kind = STATEMENT_BOOT}, b = {.kind = STATEMENT_BOOT};
    BUF_AUTO one = BUF_INIT, other = BUF_INIT;
    a.boot.n_gpus = x->n_gpus;
    memcpy(a.boot.gpu_driver, x->gpu_driver, sizeof a.boot.gpu_driver);
    memcpy(a.boot.gpus, x->gpus, sizeof a.boot.gpus);
    b.boot.n_gpus = y->n_gpus;
    memcpy(b.boot.gpu_driver, y->gpu_driver, sizeof b.boot.gpu_driver);
    memcpy(b.boot.gpus, y->gpus, sizeof b.boot.gpus);
    statement_format(&one, &a);
    statement_format(&other, &b);
    return bytes_equal(buf_bytes(&one), buf_bytes(&other));
}

struct err attester_find_gpus(struct attester *a, const struct measurement *m)
{
    attester_close_gpus(a);
    if (m->n_gpus > 0)
        TRY(err_context(read_all(&a->gpus, m), "what is to be said of the GPUs"));
    const struct statement_boot *logged = &a->history.boot;
    if (!a->history.has_boot || memcmp(logged->boot_id, a->lanes.boot_id, BOOT_ID_LEN) != 0 ||
        gpus_equal(logged, &a->gpus.facts))
        return err_ok();
    return err_set(ERR_UNTRUE,
                   "the GPUs, their driver, VBIOS or certificates are not those of this "
                   "boot's statement: what they are now needs a reboot of the host");
}

size_t attester_say_gpus(const struct attester *a, struct statement_boot *boot,
                         struct bytes blobs[STATEMENT_GPUS_MAX])
{
    const struct attester_gpus *g = &a->gpus;
    size_t n = 0;
    boot->n_gpus = g->facts.n_gpus;
    memcpy(boot->gpu_driver, g->facts.gpu_driver, sizeof boot->gpu_driver);
    memcpy(boot->gpus, g->facts.gpus, sizeof boot->gpus);
    for (size_t i = 0; i < boot->n_gpus; i++)
        if (boot->gpus[i].memory == GPU_MEMORY_PROTECTED)
            blobs[n++] = buf_bytes(&g->chains[i]);
    return n;
}

/* A report that does not even parse would make a quote that every verifier who looks at it refuses.
 */
static struct err check_report(struct bytes report, const uint8_t nonce[SHA256_LEN])
{
    struct gpu_report r;
    TRY(gpu_report_parse(&r, report));
    if (!bytes_equal(r.nonce, bytes_of(nonce, SHA256_LEN)))
        return err_set(ERR_UNTRUE, "GPU report: it answers another nonce");
    return err_ok();
}

struct err attester_add_reports(struct attester *a, struct statement_quote *q,
                                const uint8_t nonce[SHA256_LEN])
{
    struct attester_gpus *g = &a->gpus;
    for (size_t i = 0; i < g->facts.n_gpus; i++) {
        const struct statement_gpu *gpu = &g->facts.gpus[i];
        struct buf *report = &g->reports[q->n_gpu_reports];
        if (gpu->memory != GPU_MEMORY_PROTECTED)
            continue;
        buf_clear(report);
        TRY(nvml_report(g->nvml, report, gpu->uuid, nonce));
        TRY(err_context(check_report(buf_bytes(report), nonce), "%s", gpu->uuid));
        blob_ref_of(&q->gpu_reports[q->n_gpu_reports++], buf_bytes(report));
    }
    return err_ok();
}

/* Each line once: GPUs of one kind say the same. */
static void append_once(struct buf *out, const char *key, const char *value)
{
    BUF_AUTO line = BUF_INIT;
    buf_printf(&line, "%s %s\n", key, value);
    if (strstr(buf_str(out), buf_str(&line)) == NULL)
        buf_append_bytes(out, buf_bytes(&line));
}

static struct err append_root(struct buf *out, struct bytes der)
{
    BUF_AUTO hex = BUF_INIT;
    struct gpu_chain chain = {0};
    TRY(gpu_chain_verify(&chain, der));
    buf_append_hex(&hex, bytes_of(chain.root, SHA256_LEN));
    gpu_chain_cleanup(&chain);
    append_once(out, "gpu-root", buf_str(&hex));
    return err_ok();
}

static struct err policy_lines(struct buf *out, struct attester *a, const struct measurement *m)
{
    TRY(attester_find_gpus(a, m));
    const struct statement_boot *facts = &a->gpus.facts;
    if (facts->n_gpus > 0)
        append_once(out, "gpu-driver", facts->gpu_driver);
    for (size_t i = 0; i < facts->n_gpus; i++) {
        append_once(out, "gpu-vbios", facts->gpus[i].vbios);
        if (facts->gpus[i].memory == GPU_MEMORY_PROTECTED)
            TRY(append_root(out, buf_bytes(&a->gpus.chains[i])));
    }
    return err_ok();
}

struct err attester_gpu_policy_lines(struct buf *out, const struct measurement *m)
{
    struct attester a = {0};
    BUF_AUTO lines = BUF_INIT;
    struct err e = policy_lines(&lines, &a, m);
    attester_close_gpus(&a);
    TRY(e);
    buf_append_bytes(out, buf_bytes(&lines));
    return err_ok();
}
