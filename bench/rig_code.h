/* Machine code that only benchmarks load, and what it and the kernels are. */
#ifndef BENCH_RIG_CODE_H
#define BENCH_RIG_CODE_H

#include "bench/rig.h"

struct rig_image {
    const void *at;
    size_t len; /* 0: this build has none */
};

struct rig_image rig_code_image(enum rig_code code, const struct gpu_backend *backend);
/* The compiler and the SHA-256 of the kernels' fatbin. */
const char *rig_code_text(void);

#endif
