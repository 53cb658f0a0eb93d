/*
 * The name of a page: a hash of everything that its keys and values depend on, and of who may find
 * it. Key 0 = SHA-256(label || salt || tokens 0 to 63), key i = SHA-256(label || key i - 1 ||
 * tokens 64 i to 64 i + 63), tokens as 32-bit little endian. Two prompts share a page only if salt
 * and all tokens up to its end are equal; that two differ and have one key would be a collision of
 * SHA-256, so the tokens are not kept to be compared again.
 */
#ifndef ENGINE_PREFIX_H
#define ENGINE_PREFIX_H

#include "common/hash.h"

/* `before`: the salt for the first page, else the key of the page before. 64 tokens. */
void prefix_key(uint8_t out[SHA256_LEN], const uint8_t before[SHA256_LEN], const uint32_t *tokens);

#endif
