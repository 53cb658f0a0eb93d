/* Any bytes as a witness policy, split at the first empty line from a note that it judges: without
 * a cosignature only `quorum none` is met, and no log that nobody has the key of signs. */
#include <stdlib.h>
#include <string.h>

#include "transparency/tlog_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes policy_part(struct bytes all)
{
    const uint8_t *end = all.len > 0 ? memmem(all.data, all.len, "\n\n", 2) : NULL;
    return end != NULL ? bytes_of(all.data, (size_t)(end - all.data) + 1) : all;
}

static void check_shape(const struct tlog_policy *p)
{
    size_t n_witnesses = 0;
    for (size_t i = 0; i < p->n_nodes; i++) {
        const struct tlog_policy_node *node = &p->nodes[i];
        n_witnesses += node->witness != TLOG_POLICY_NONE;
        if (node->parent != TLOG_POLICY_NONE && (node->parent <= i || node->parent >= p->n_nodes))
            abort();
    }
    if (n_witnesses != p->n_witnesses || p->n_nodes != p->n_witnesses + p->n_groups)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes all = bytes_of(data, size);
    struct bytes first = policy_part(all);
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    if (is_err(tlog_policy_parse(&p, first)))
        return 0;
    check_shape(&p);
    static struct note empty;
    struct tlog_witnessed w;
    if (is_err(tlog_policy_witnessed(&w, &p, &empty)) || w.quorum != (p.quorum == TLOG_POLICY_NONE))
        abort();
    struct checkpoint c;
    if (first.len < all.len &&
        !is_err(tlog_policy_check(&c, &w, &p, bytes_of(data + first.len, size - first.len))) &&
        (p.n_logs == 0 || !w.quorum))
        abort();
    return 0;
}
