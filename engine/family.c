#include "engine/family.h"

#include <string.h>

#define N_ITEMS(array) (sizeof(array) / sizeof(array)[0])

/* Llama 2 and 3, TinyLlama, SmolLM2. */
static const struct field_rule llama_rules[] = {
    {"model_type", FIELD_MUST_BE, "\"llama\""},
    {"attention_bias", FIELD_READ, NULL},
    {"mlp_bias", FIELD_READ, NULL},
    {"sliding_window", FIELD_MUST_BE, "null"},
    {"use_sliding_window", FIELD_MUST_BE, "false|null"},
    {"rope_interleaved", FIELD_MUST_BE, "false|null"},
    {"pretraining_tp", FIELD_IGNORED, NULL}, /* slices the same sums */
    {"is_llama_config", FIELD_IGNORED, NULL},
};

static struct err read_llama(struct model_config *c, const json_t *root)
{
    bool bias = false;
    TRY(field_bool(root, "attention_bias", &bias));
    c->qkv_bias = c->o_bias = bias;
    return field_bool(root, "mlp_bias", &c->mlp_bias);
}

static const struct field_rule mistral_rules[] = {
    {"model_type", FIELD_MUST_BE, "\"mistral\""},
    {"sliding_window", FIELD_READ, NULL},
};

/* transformers takes 8 heads and a window of 4096 when these are absent; it always writes them, so
 * a file without them was made by something that may have meant another default. */
static struct err read_mistral(struct model_config *c, const json_t *root)
{
    TRY(field_required(root, "num_key_value_heads"));
    if (json_object_get(root, "sliding_window") == NULL)
        return err_set(ERR_MALFORMED, "\"sliding_window\" is missing; it must be null or a number");
    return field_unsigned(root, "sliding_window", 1, 1 << 20, &c->sliding_window);
}

static const struct field_rule qwen2_rules[] = {
    {"model_type", FIELD_MUST_BE, "\"qwen2\""},
    {"use_mrope", FIELD_MUST_BE, "false|null"},
    {"use_sliding_window", FIELD_MUST_BE, "false|null"},
    {"sliding_window", FIELD_IGNORED, NULL}, /* these two: when use_sliding_window is true */
    {"max_window_layers", FIELD_IGNORED, NULL},
    {"layer_types", FIELD_READ, NULL},
};

/* Newer transformers say it layer by layer. */
static struct err check_layer_types(const struct model_config *c, const json_t *root)
{
    const json_t *list = json_object_get(root, "layer_types");
    if (list == NULL || json_is_null(list))
        return err_ok();
    if (!json_is_array(list) || json_array_size(list) != c->n_layers)
        return field_refused("layer_types", list, "it must list one type for each layer");
    for (size_t i = 0; i < c->n_layers; i++) {
        const json_t *type = json_array_get(list, i);
        if (!json_is_string(type) || strcmp(json_string_value(type), "full_attention") != 0)
            return field_refused("layer_types", type, "only \"full_attention\" is supported");
    }
    return err_ok();
}

/* Its biases are part of the architecture: no key names them. */
static struct err read_qwen2(struct model_config *c, const json_t *root)
{
    TRY(field_required(root, "num_key_value_heads"));
    c->qkv_bias = true;
    return check_layer_types(c, root);
}

static const struct field_rule qwen3_rules[] = {
    {"model_type", FIELD_MUST_BE, "\"qwen3\""},
    {"attention_bias", FIELD_READ, NULL},
    {"use_sliding_window", FIELD_MUST_BE, "false|null"},
    {"sliding_window", FIELD_IGNORED, NULL}, /* as in qwen2_rules */
    {"max_window_layers", FIELD_IGNORED, NULL},
    {"layer_types", FIELD_READ, NULL},
};

static struct err read_qwen3(struct model_config *c, const json_t *root)
{
    bool bias = false;
    TRY(field_required(root, "num_key_value_heads"));
    TRY(field_required(root, "head_dim"));
    TRY(field_bool(root, "attention_bias", &bias));
    c->qkv_bias = c->o_bias = bias;
    c->qk_norm = true;
    return check_layer_types(c, root);
}

/* Phi-3, Phi-3.5 and Phi-4 (mini too), as far as they are text alone. */
static const struct field_rule phi3_rules[] = {
    {"model_type", FIELD_MUST_BE, "\"phi3\""},
    {"attention_bias", FIELD_MUST_BE, "false|null"},
    {"mlp_bias", FIELD_MUST_BE, "false|null"},
    {"lm_head_bias", FIELD_MUST_BE, "false|null"},
    {"sliding_window", FIELD_READ, NULL},
    {"original_max_position_embeddings", FIELD_READ, NULL}, /* longrope's */
    {"full_attn_mod", FIELD_MUST_BE, "1|null"},             /* no layer is another's kind */
    {"interpolate_factor", FIELD_MUST_BE, "1|null"},
    {"embd_pdrop", FIELD_IGNORED, NULL}, /* training only */
    {"resid_pdrop", FIELD_IGNORED, NULL},
    {"auto_map", FIELD_IGNORED, NULL}, /* Python of the same architecture */
};

static struct err read_phi3(struct model_config *c, const json_t *root)
{
    c->fused = true;
    return field_unsigned(root, "sliding_window", 1, 1 << 20, &c->sliding_window);
}

static const struct family families[] = {
    {"LlamaForCausalLM", llama_rules, N_ITEMS(llama_rules), read_llama, false},
    {"MistralForCausalLM", mistral_rules, N_ITEMS(mistral_rules), read_mistral, false},
    {"Qwen2ForCausalLM", qwen2_rules, N_ITEMS(qwen2_rules), read_qwen2, false},
    {"Qwen3ForCausalLM", qwen3_rules, N_ITEMS(qwen3_rules), read_qwen3, false},
    {"Phi3ForCausalLM", phi3_rules, N_ITEMS(phi3_rules), read_phi3, true},
};

struct err family_find(const struct family **out, const json_t *value)
{
    const char *name = json_string_value(json_array_get(value, 0));
    for (size_t i = 0; i < N_ITEMS(families); i++)
        if (json_array_size(value) == 1 && name != NULL &&
            strcmp(name, families[i].architecture) == 0) {
            *out = &families[i];
            return err_ok();
        }
    return field_refused("architectures", value,
                         "only one of LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
                         "Qwen3ForCausalLM and Phi3ForCausalLM is supported");
}
