#include "engine/config.h"

#include <string.h>

#include "engine/config_rope.h"
#include "engine/family.h"
#include "engine/json_fields.h"

/* Keys of every family. What changes nothing in a forward pass is ignored; what would is held to
 * its neutral value. */
static const struct field_rule rules[] = {
    {"architectures", FIELD_READ, NULL},
    {"vocab_size", FIELD_READ, NULL},
    {"hidden_size", FIELD_READ, NULL},
    {"intermediate_size", FIELD_READ, NULL},
    {"num_hidden_layers", FIELD_READ, NULL},
    {"num_attention_heads", FIELD_READ, NULL},
    {"num_key_value_heads", FIELD_READ, NULL},
    {"head_dim", FIELD_READ, NULL},
    {"max_position_embeddings", FIELD_READ, NULL},
    {"rms_norm_eps", FIELD_READ, NULL},
    {"tie_word_embeddings", FIELD_READ, NULL},
    {"rope_theta", FIELD_READ, NULL},
    {"rope_scaling", FIELD_READ, NULL},
    {"rope_parameters", FIELD_READ, NULL},
    {"eos_token_id", FIELD_READ, NULL},
    {"hidden_act", FIELD_MUST_BE, "\"silu\""},
    {"partial_rotary_factor", FIELD_READ, NULL},
    {"quantization_config", FIELD_MUST_BE, "null"},
    {"is_encoder_decoder", FIELD_MUST_BE, "false"},
    {"bos_token_id", FIELD_IGNORED, NULL}, /* the tokenizer decides */
    {"pad_token_id", FIELD_IGNORED, NULL},
    {"torch_dtype", FIELD_IGNORED, NULL}, /* each tensor names its own type */
    {"dtype", FIELD_IGNORED, NULL},
    {"transformers_version", FIELD_IGNORED, NULL},
    {"_name_or_path", FIELD_IGNORED, NULL},
    {"use_cache", FIELD_IGNORED, NULL},
    {"initializer_range", FIELD_IGNORED, NULL},
    {"attention_dropout", FIELD_IGNORED, NULL}, /* training only */
    {"transformers.js_config", FIELD_IGNORED, NULL},
    {"_attn_implementation_autoset", FIELD_IGNORED, NULL},
    {"max_length", FIELD_IGNORED, NULL},    /* requests say how much they want */
    {"unsloth_fixed", FIELD_IGNORED, NULL}, /* marks of a mirror */
    {"unsloth_version", FIELD_IGNORED, NULL},
};

#define N_ITEMS(array) (sizeof(array) / sizeof(array)[0])

/* The keys of every family and those of this one. */
static struct err check_keys(const struct family *family, const json_t *root)
{
    struct field_rule all[N_ITEMS(rules) + FAMILY_RULES_MAX];
    memcpy(all, rules, sizeof rules);
    memcpy(all + N_ITEMS(rules), family->rules, family->n_rules * sizeof *family->rules);
    return fields_check(root, all, N_ITEMS(rules) + family->n_rules);
}

static struct err read_sizes(struct model_config *c, const json_t *root)
{
    static const char *const required[] = {
        "vocab_size",          "hidden_size",  "intermediate_size",      "num_hidden_layers",
        "num_attention_heads", "rms_norm_eps", "max_position_embeddings"};
    for (size_t i = 0; i < N_ITEMS(required); i++)
        TRY(field_required(root, required[i]));
    TRY(field_unsigned(root, "vocab_size", 1, 1 << 22, &c->vocab_size));
    TRY(field_unsigned(root, "hidden_size", 1, 1 << 17, &c->hidden_size));
    TRY(field_unsigned(root, "intermediate_size", 1, 1 << 20, &c->intermediate_size));
    TRY(field_unsigned(root, "num_hidden_layers", 1, 1024, &c->n_layers));
    TRY(field_unsigned(root, "num_attention_heads", 1, 4096, &c->n_heads));
    TRY(field_unsigned(root, "max_position_embeddings", 1, CONFIG_POSITIONS_MAX,
                       &c->max_positions));
    c->n_kv_heads = c->n_heads;
    TRY(field_unsigned(root, "num_key_value_heads", 1, 4096, &c->n_kv_heads));
    if (c->n_heads % c->n_kv_heads != 0)
        return err_set(ERR_UNSUPPORTED,
                       "\"num_key_value_heads\" is %u; it must divide num_attention_heads, %u",
                       c->n_kv_heads, c->n_heads);
    c->head_dim = c->hidden_size / c->n_heads;
    TRY(field_unsigned(root, "head_dim", 2, CONFIG_HEAD_DIM_MAX, &c->head_dim));
    if (c->head_dim < 2 || c->head_dim > CONFIG_HEAD_DIM_MAX || c->head_dim % 2 != 0)
        return err_set(ERR_UNSUPPORTED, "\"head_dim\" is %u; it must be even, from 2 to %d",
                       c->head_dim, CONFIG_HEAD_DIM_MAX);
    double eps = 0;
    TRY(field_double(root, "rms_norm_eps", 1e-12, 1e-2, &eps));
    c->rms_norm_eps = (float)eps;
    return field_bool(root, "tie_word_embeddings", &c->tied);
}

static struct err read_config(struct model_config *c, const json_t *root)
{
    const struct family *family = NULL;
    TRY(field_required(root, "architectures"));
    TRY(family_find(&family, json_object_get(root, "architectures")));
    memcpy(c->architecture, family->architecture, strlen(family->architecture) + 1);
    TRY(check_keys(family, root));
    TRY(read_sizes(c, root));
    TRY(family->read(c, root));
    TRY(config_read_rope(c, family, root));
    return field_token_ids(root, "eos_token_id", c->eos_ids, CONFIG_EOS_MAX, &c->n_eos);
}

struct err config_parse(struct model_config *out, struct bytes json)
{
    if (json.len > CONFIG_LEN_MAX)
        return err_set(ERR_LIMIT, "%zu bytes; at most %d are allowed", json.len, CONFIG_LEN_MAX);
    json_t *root = NULL;
    TRY(fields_parse(&root, json));
    struct model_config c = {0};
    struct err e = read_config(&c, root);
    json_decref(root);
    if (!is_err(e))
        *out = c;
    return e;
}
