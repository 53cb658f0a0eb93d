#include "attest/policy_gpu.h"

#include <stdlib.h>
#include <string.h>

#include "attest/policy_boot.h"
#include "attest/statement.h"
#include "common/text.h"

bool policy_gpu_allows(const struct policy_hash *versions, size_t n, const char *version)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(versions[i].name, version) == 0)
            return true;
    return n == 0;
}

bool policy_wants_gpus(const struct policy *p)
{
    return p->gpus.n_drivers > 0 || p->gpus.n_vbioses > 0 || p->gpus.n_roots > 0;
}

/* Versions are kept as names; their hashes only tell them apart. */
static struct err add_version(struct policy_hash **list, size_t *n, struct bytes value, size_t max)
{
    struct policy_hash h = {0};
    if (!gpu_word_valid(value) || value.len > max)
        return err_set(ERR_MALFORMED, "a version is a word of 1 to %zu bytes", max);
    memcpy(h.name, value.data, value.len);
    sha256(h.sha256, value);
    return err_context(policy_hash_add(list, n, &h), "a version");
}

struct err policy_gpu_driver(struct policy_gpus *gpus, struct bytes value)
{
    return add_version(&gpus->drivers, &gpus->n_drivers, value,
                       sizeof((struct statement_boot *)0)->gpu_driver - 1);
}

struct err policy_gpu_vbios(struct policy_gpus *gpus, struct bytes value)
{
    return add_version(&gpus->vbioses, &gpus->n_vbioses, value,
                       sizeof((struct statement_gpu *)0)->vbios - 1);
}

struct err policy_gpu_root(struct policy_gpus *gpus, struct bytes value)
{
    struct policy_hash root = {0};
    TRY(err_context(hex_decode(root.sha256, SHA256_LEN, value), "the root's SHA-256"));
    return err_context(policy_hash_add(&gpus->roots, &gpus->n_roots, &root), "a root");
}

void policy_gpus_cleanup(struct policy_gpus *gpus)
{
    free(gpus->drivers);
    free(gpus->vbioses);
    free(gpus->roots);
}
