/* The fatbins of inexact.cu and probes.cu, as gpu_backend.c holds that of the kernels. BL_INEXACT
 * and BL_PROBES are the files, BL_NVCC what made them. */
#include "bench/rig_code.h"

#include <stdio.h>

#include "common/text.h"

#define FATBIN(name, file)                                                                         \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 64\n"                                                                         \
            ".globl " #name "_first\n" #name "_first:\n"                                           \
            ".incbin \"" file "\"\n"                                                               \
            ".globl " #name "_end\n" #name "_end:\n"                                               \
            ".popsection\n");                                                                      \
    extern const uint8_t name##_first[], name##_end[]

FATBIN(bench_inexact, BL_INEXACT);
FATBIN(bench_probes, BL_PROBES);

struct rig_image rig_code_image(enum rig_code code, const struct gpu_backend *backend)
{
    if (code == RIG_INEXACT)
        return (struct rig_image){bench_inexact_first,
                                  (size_t)(bench_inexact_end - bench_inexact_first)};
    if (code == RIG_PROBES)
        return (struct rig_image){bench_probes_first,
                                  (size_t)(bench_probes_end - bench_probes_first)};
    return (struct rig_image){backend->image, backend->image_len};
}

const char *rig_code_text(void)
{
    static char text[160];
    const struct gpu_backend *built = gpu_backend_built();
    BUF_AUTO hex = BUF_INIT;
    uint8_t hash[SHA256_LEN];
    sha256(hash, bytes_of(built->image, built->image_len));
    buf_append_hex(&hex, bytes_of(hash, sizeof hash));
    snprintf(text, sizeof text, "nvcc %s, SHA-256 %s", BL_NVCC, buf_str(&hex));
    return text;
}
