/* Any bytes as config.json or generation_config.json: no crash, and what is accepted is sane. */
#include <math.h>
#include <stdlib.h>

#include "engine/generation.h"
#include "engine/rope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Every angle of the table has a cosine and a sine, at the last position of the longest context,
 * too. */
static void check_rope(const struct model_config *c)
{
    enum { POSITIONS = 3 };
    static float table[POSITIONS * CONFIG_HEAD_DIM_MAX];
    const struct rope_config *r = &c->rope;
    if (r->dim < 2 || r->dim % 2 != 0 || r->dim > c->head_dim)
        abort();
    rope_table(table, r, POSITIONS);
    for (size_t i = 0; i < (size_t)POSITIONS * r->dim; i++)
        if (!isfinite(table[i]))
            abort();
    for (unsigned i = 0; i < r->dim / 2; i++)
        if (!(rope_frequency(r, c->max_positions, i) * c->max_positions <= CONFIG_POSITIONS_MAX))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct model_config c;
    struct generation_config g;
    if (!is_err(config_parse(&c, bytes_of(data, len))) &&
        (c.n_heads % c.n_kv_heads != 0 || c.head_dim % 2 != 0 || c.vocab_size == 0 ||
         c.n_eos > CONFIG_EOS_MAX || c.sliding_window > 1 << 20 ||
         (c.fused && (c.qkv_bias || c.mlp_bias)))) /* as weights.c assumes */
        abort();
    if (!is_err(config_parse(&c, bytes_of(data, len))))
        check_rope(&c);
    if (!is_err(generation_parse(&g, bytes_of(data, len))) &&
        !(g.top_p >= 0.0f && g.top_p <= 1.0f && g.temperature >= 0.0f))
        abort();
    return 0;
}
