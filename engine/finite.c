#include "engine/finite.h"

#include <string.h>

/* An element is not finite if its exponent is all ones. `mask` leaves the exponent alone, and
 * adding `step`, the exponent's lowest bit, then carries into the sign's place, `sign`, as no other
 * exponent does. Elements side by side in a word don't disturb each other. */
struct pattern {
    uint64_t mask, step, sign;
};

static const struct pattern patterns[] = {
    [WEIGHT_BF16] = {0x7f807f807f807f80, 0x0080008000800080, 0x8000800080008000},
    [WEIGHT_F16] = {0x7c007c007c007c00, 0x0400040004000400, 0x8000800080008000},
    [WEIGHT_F32] = {0x7f8000007f800000, 0x0080000000800000, 0x8000000080000000},
};

static bool all_finite(const uint8_t *data, size_t len, const struct pattern *p)
{
    uint64_t seen = 0, word = 0;
    size_t i = 0;
    for (; i + sizeof word <= len; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        seen |= (word & p->mask) + p->step;
    }
    word = 0; /* what fills it up is finite */
    memcpy(&word, data + i, len - i);
    seen |= (word & p->mask) + p->step;
    return (seen & p->sign) == 0;
}

bool weights_finite(const void *data, enum weight_type type, size_t n, size_t *first)
{
    size_t size = weight_type_size(type);
    if (all_finite(data, n * size, &patterns[type]))
        return true;
    for (*first = 0; all_finite((const uint8_t *)data + *first * size, size, &patterns[type]);)
        (*first)++;
    return false;
}
