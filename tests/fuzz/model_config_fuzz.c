/* Any bytes as config.json or generation_config.json: no crash, and what is accepted is sane. */
#include <stdlib.h>

#include "engine/generation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct model_config c;
    struct generation_config g;
    if (!is_err(config_parse(&c, bytes_of(data, len))) &&
        (c.n_heads % c.n_kv_heads != 0 || c.head_dim % 2 != 0 || c.vocab_size == 0 ||
         c.n_eos > CONFIG_EOS_MAX || c.sliding_window > 1 << 20 ||
         (c.fused && (c.qkv_bias || c.mlp_bias)))) /* as weights.c assumes */
        abort();
    if (!is_err(generation_parse(&g, bytes_of(data, len))) &&
        !(g.top_p >= 0.0f && g.top_p <= 1.0f && g.temperature >= 0.0f))
        abort();
    return 0;
}
