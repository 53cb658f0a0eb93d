/* A build without nvcc. */
#include "bench/rig_code.h"

struct rig_image rig_code_image(enum rig_code code, const struct gpu_backend *backend)
{
    (void)code;
    (void)backend;
    return (struct rig_image){0};
}

const char *rig_code_text(void)
{
    return "none";
}
