/*
 * The lines `gpu-driver`, `gpu-vbios` and `gpu-root` of a policy. For policy.c only.
 */
#ifndef ATTEST_POLICY_GPU_H
#define ATTEST_POLICY_GPU_H

#include "attest/policy.h"

/* What follows the keyword, added unless it is there already. ERR_MALFORMED. */
struct err policy_gpu_driver(struct policy_gpus *gpus, struct bytes value) MUST_USE;
struct err policy_gpu_vbios(struct policy_gpus *gpus, struct bytes value) MUST_USE;
struct err policy_gpu_root(struct policy_gpus *gpus, struct bytes value) MUST_USE;
void policy_gpus_cleanup(struct policy_gpus *gpus);

#endif
