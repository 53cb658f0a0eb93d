/* Any bytes as a safetensors file: no crash, and what is accepted lies inside the file. */
#include <stdlib.h>

#include "engine/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct safetensors s = {0};
    if (is_err(safetensors_parse(&s, bytes_of(data, len))))
        return 0;
    size_t sum = 0;
    for (size_t i = 0; i < s.n; i++) {
        const struct tensor *t = &s.tensors[i];
        if (t->data.data < data + 8 || t->data.data + t->data.len > data + len)
            abort();
        sum += t->data.len;
    }
    if (sum > len)
        abort();
    safetensors_cleanup(&s);
    return 0;
}
