/* Any bytes as a policy: taken or refused, within bounds; a policy that is taken is complete. */
#include <stdlib.h>

#include "attest/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy p;
    if (is_err(policy_parse(&p, bytes_of(data, size))))
        return 0;
    if (p.n_roots + p.n_ak_roots == 0 || p.n_models == 0 || p.n_codes == 0 ||
        p.k_activators > p.n_activators || p.max_interval_s == 0 || p.max_age_s == 0)
        abort();
    policy_cleanup(&p);
    return 0;
}
