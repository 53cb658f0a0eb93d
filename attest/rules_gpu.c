/*
 * Rule 8: the GPUs, by what the boot statement says of them and by the report that each gives for
 * every quote.
 */
#include "attest/rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "attest/gpu_report.h"

void rule_gpus_cleanup(struct rule_gpus *g)
{
    for (size_t i = 0; i < STATEMENT_GPUS_MAX; i++)
        gpu_chain_cleanup(&g->gpus[i].chain);
    *g = RULE_GPUS_INIT;
}

/* One key in two places would be one GPU that answers for two. */
static struct err check_different(const struct rule_gpus *g, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (EVP_PKEY_eq(g->gpus[k].chain.key, g->gpus[i].chain.key) == 1)
            return err_set(ERR_UNTRUE, "two GPUs have one key");
    return err_ok();
}

static struct err unknown_root(const uint8_t root[SHA256_LEN])
{
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(root, SHA256_LEN));
    return err_set(ERR_UNTRUE,
                   "the GPU's certificate leads to the root %s, which the policy does not name",
                   buf_str(&hex));
}

static struct err read_chain(struct rule_gpus *g, size_t i, struct bytes der,
                             const struct policy *p)
{
    struct gpu_chain *chain = &g->gpus[i].chain;
    TRY(gpu_chain_verify(chain, der));
    if (policy_find_hash(p->gpus.roots, p->gpus.n_roots, chain->root) == NULL)
        return unknown_root(chain->root);
    return check_different(g, i);
}

static struct err check_versions(const struct rule_gpus *g, size_t i, const struct policy *p)
{
    if (!policy_gpu_allows(p->gpus.drivers, p->gpus.n_drivers, g->driver))
        return err_set(ERR_UNTRUE, "the driver is of version %s, which the policy does not allow",
                       g->driver);
    if (!policy_gpu_allows(p->gpus.vbioses, p->gpus.n_vbioses, g->gpus[i].vbios))
        return err_set(ERR_UNTRUE, "its VBIOS is of version %s, which the policy does not allow",
                       g->gpus[i].vbios);
    return err_ok();
}

static struct err check_protected(const struct rule_gpu *gpu)
{
    if (gpu->memory == GPU_MEMORY_PROTECTED)
        return err_ok();
    return err_set(ERR_UNTRUE, "GPU memory not protected: it is '%s'",
                   gpu_memory_name(gpu->memory));
}

static struct err check_gpu(struct rule_gpus *g, size_t i, struct bytes der, const struct policy *p)
{
    TRY(check_versions(g, i, p));
    if (p->gpus.n_roots == 0)
        return err_ok();
    TRY(check_protected(&g->gpus[i]));
    return read_chain(g, i, der, p);
}

static struct err read_gpu(struct rule_gpus *g, size_t i, const struct statement_gpu *gpu,
                           const struct policy *p, rule_blob_source *blobs, void *context)
{
    BUF_AUTO der = BUF_INIT;
    memcpy(g->gpus[i].uuid, gpu->uuid, sizeof gpu->uuid);
    memcpy(g->gpus[i].vbios, gpu->vbios, sizeof gpu->vbios);
    g->gpus[i].memory = gpu->memory;
    if (p->gpus.n_roots > 0 && gpu->memory == GPU_MEMORY_PROTECTED)
        TRY(err_context(blobs(context, &gpu->chain, &der), "%s", gpu->uuid));
    if (g->flaw[0] != '\0')
        return err_ok();
    struct err e = err_context(check_gpu(g, i, buf_bytes(&der), p), "%s", gpu->uuid);
    if (e.code == ERR_MEMORY)
        return e;
    if (is_err(e))
        snprintf(g->flaw, sizeof g->flaw, "%s", err_message());
    return err_ok();
}

/* As the statement's lines are, without the certificates. */
static void digest(uint8_t out[SHA256_LEN], const struct statement_boot *b)
{
    BUF_AUTO text = BUF_INIT;
    if (b->n_gpus > 0)
        buf_printf(&text, "%s\n", b->gpu_driver);
    for (size_t i = 0; i < b->n_gpus; i++)
        buf_printf(&text, "%s %s %s %s\n", b->gpus[i].uuid, b->gpus[i].vbios,
                   gpu_memory_name(b->gpus[i].memory), b->gpus[i].name);
    sha256(out, buf_bytes(&text));
}

struct err rule_gpus_read(struct rule_gpus *out, const struct statement_boot *b,
                          const struct policy *p, rule_blob_source *blobs, void *context)
{
    __attribute__((cleanup(rule_gpus_cleanup))) struct rule_gpus g = RULE_GPUS_INIT;
    memcpy(g.driver, b->gpu_driver, sizeof g.driver);
    digest(g.digest, b);
    for (; g.n < b->n_gpus; g.n++)
        TRY(read_gpu(&g, g.n, &b->gpus[g.n], p, blobs, context));
    struct rule_gpus before = *out;
    *out = g;
    g = before;
    return err_ok();
}

static struct err check_report(const struct rule_gpus *g, size_t i, struct bytes report,
                               struct bytes nonce)
{
    struct gpu_report r;
    TRY(gpu_report_parse(&r, report));
    TRY(gpu_report_check(&r, g->gpus[i].chain.key, nonce));
    if (strcmp(r.driver, g->driver) != 0)
        return err_set(ERR_UNTRUE, "GPU report: it is of driver %s, the boot statement of %s",
                       r.driver, g->driver);
    if (strcasecmp(r.vbios, g->gpus[i].vbios) != 0)
        return err_set(ERR_UNTRUE, "GPU report: it is of VBIOS %s, the boot statement of %s",
                       r.vbios, g->gpus[i].vbios);
    return err_ok();
}

static struct err check_reports(const struct rule_gpus *g, const struct statement_quote *q,
                                const struct attested *a, rule_blob_source *blobs, void *context)
{
    if (q->n_gpu_reports != g->n)
        return err_set(ERR_UNTRUE,
                       "GPU memory not protected: the quote has %zu reports, the boot statement "
                       "%zu GPUs",
                       q->n_gpu_reports, g->n);
    for (size_t i = 0; i < g->n; i++) {
        BUF_AUTO report = BUF_INIT;
        TRY(err_context(blobs(context, &q->gpu_reports[i], &report), "the report of %s",
                        g->gpus[i].uuid));
        TRY(err_context(check_report(g, i, buf_bytes(&report), a->extra_data), "%s",
                        g->gpus[i].uuid));
    }
    return err_ok();
}

struct err rule_gpus_quoted(const struct rule_gpus *g, bool gpu, bool with_reports,
                            const struct statement_quote *q, const struct attested *a,
                            const struct policy *p, rule_blob_source *blobs, void *context)
{
    if (!policy_wants_gpus(p))
        return err_ok();
    if (gpu && g->n == 0)
        return err_set(ERR_UNTRUE, "GPU memory not protected: a GPU computes, and the boot "
                                   "statement names none");
    if (g->flaw[0] != '\0')
        return err_set(ERR_UNTRUE, "%s", g->flaw);
    if (p->gpus.n_roots == 0 || !with_reports)
        return err_ok();
    return check_reports(g, q, a, blobs, context);
}

bool rule_gpus_protected(const struct rule_gpus *g, const struct policy *p)
{
    return g->n > 0 && p->gpus.n_roots > 0 && g->flaw[0] == '\0';
}
