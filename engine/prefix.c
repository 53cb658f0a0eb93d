#include "engine/prefix.h"

#include <string.h>

#include "kernels/backend.h"

static const char label[] = "blindllama KV page 1\n";

void prefix_key(uint8_t out[SHA256_LEN], const uint8_t before[SHA256_LEN], const uint32_t *tokens)
{
    uint8_t bytes[KV_PAGE_TOKENS * 4];
    for (size_t i = 0; i < KV_PAGE_TOKENS; i++) {
        bytes[4 * i] = (uint8_t)tokens[i];
        bytes[4 * i + 1] = (uint8_t)(tokens[i] >> 8);
        bytes[4 * i + 2] = (uint8_t)(tokens[i] >> 16);
        bytes[4 * i + 3] = (uint8_t)(tokens[i] >> 24);
    }
    sha256_3(out, bytes_of_str(label), bytes_of(before, SHA256_LEN), bytes_of(bytes, sizeof bytes));
    explicit_bzero(bytes, sizeof bytes);
}
