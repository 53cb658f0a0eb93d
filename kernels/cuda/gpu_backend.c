/* The driver and the fatbin of this build. BL_FATBIN is the file; its bytes lie in the program as
 * they are, so what is hashed is what the driver gets. */
#include "kernels/cuda/gpu_backend.h"

__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl gpu_fatbin_first\n"
        "gpu_fatbin_first:\n"
        ".incbin \"" BL_FATBIN "\"\n"
        ".globl gpu_fatbin_end\n"
        "gpu_fatbin_end:\n"
        ".popsection\n");

extern const uint8_t gpu_fatbin_first[], gpu_fatbin_end[];

const struct gpu_backend *gpu_backend_built(void)
{
    static struct gpu_backend built = {.driver = &gpu_cuda, .image = gpu_fatbin_first};
    built.image_len = (size_t)(gpu_fatbin_end - gpu_fatbin_first);
    return &built;
}
