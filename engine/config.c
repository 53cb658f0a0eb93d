#include "engine/config.h"

#include <string.h>

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
    {"partial_rotary_factor", FIELD_MUST_BE, "1.0|null"},
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
};

static const struct field_rule scaling_rules[] = {
    {"rope_type", FIELD_READ, NULL},
    {"type", FIELD_READ, NULL},
    {"rope_theta", FIELD_READ, NULL},
    {"factor", FIELD_READ, NULL},
    {"low_freq_factor", FIELD_READ, NULL},
    {"high_freq_factor", FIELD_READ, NULL},
    {"original_max_position_embeddings", FIELD_READ, NULL},
    {"partial_rotary_factor", FIELD_MUST_BE, "1.0|null"},
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
    TRY(field_unsigned(root, "max_position_embeddings", 1, 1 << 20, &c->max_positions));
    c->n_kv_heads = c->n_heads;
    TRY(field_unsigned(root, "num_key_value_heads", 1, 4096, &c->n_kv_heads));
    if (c->n_heads % c->n_kv_heads != 0)
        return err_set(ERR_UNSUPPORTED,
                       "\"num_key_value_heads\" is %u; it must divide num_attention_heads, %u",
                       c->n_kv_heads, c->n_heads);
    c->head_dim = c->hidden_size / c->n_heads;
    TRY(field_unsigned(root, "head_dim", 2, 1024, &c->head_dim));
    if (c->head_dim < 2 || c->head_dim > 1024 || c->head_dim % 2 != 0)
        return err_set(ERR_UNSUPPORTED, "\"head_dim\" is %u; it must be even, from 2 to 1024",
                       c->head_dim);
    double eps = 0;
    TRY(field_double(root, "rms_norm_eps", 1e-12, 1e-2, &eps));
    c->rms_norm_eps = (float)eps;
    return field_bool(root, "tie_word_embeddings", &c->tied);
}

static struct err read_llama3(struct rope_config *r, const json_t *scaling)
{
    static const char *const required[] = {"factor", "low_freq_factor", "high_freq_factor",
                                           "original_max_position_embeddings"};
    for (size_t i = 0; i < N_ITEMS(required); i++)
        TRY(field_required(scaling, required[i]));
    r->kind = ROPE_LLAMA3;
    TRY(field_double(scaling, "factor", 1, 1e6, &r->factor));
    TRY(field_double(scaling, "low_freq_factor", 1e-3, 1e6, &r->low_freq_factor));
    TRY(field_double(scaling, "high_freq_factor", 1e-3, 1e6, &r->high_freq_factor));
    TRY(field_unsigned(scaling, "original_max_position_embeddings", 1, 1 << 20,
                       &r->original_max_positions));
    if (r->high_freq_factor <= r->low_freq_factor)
        return err_set(ERR_UNSUPPORTED,
                       "\"high_freq_factor\" is %g; it must be more than low_freq_factor, %g",
                       r->high_freq_factor, r->low_freq_factor);
    return err_ok();
}

/* Older files say "type", newer ones "rope_type", those in between say it twice. */
static struct err read_rope_type(const char **out, const json_t *scaling)
{
    const json_t *old = json_object_get(scaling, "type");
    const json_t *new = json_object_get(scaling, "rope_type");
    if (old != NULL && new != NULL && !json_equal(old, new))
        return field_refused("type", old, "\"rope_type\" beside it says something else");
    *out = json_string_value(new != NULL ? new : old);
    return err_ok();
}

/* One object: rope_scaling, or rope_parameters of newer transformers. */
static struct err read_scaling(struct rope_config *r, const json_t *root, const char *key)
{
    const json_t *scaling = json_object_get(root, key);
    if (scaling == NULL || json_is_null(scaling))
        return err_ok();
    if (!json_is_object(scaling))
        return field_refused(key, scaling, "it must be an object or null");
    struct err e = fields_check(scaling, scaling_rules, N_ITEMS(scaling_rules));
    if (is_err(e))
        return err_context(e, "%s", key);
    TRY(field_double(scaling, "rope_theta", 1, 1e12, &r->theta));
    const char *name = NULL;
    e = read_rope_type(&name, scaling);
    if (is_err(e))
        return err_context(e, "%s", key);
    if (name != NULL && strcmp(name, "llama3") == 0) {
        e = read_llama3(r, scaling);
        return is_err(e) ? err_context(e, "%s", key) : e;
    }
    if (name != NULL && strcmp(name, "default") == 0)
        return err_ok();
    return field_refused(key, scaling, "only rope_type \"llama3\" and \"default\" are supported");
}

static struct err read_rope(struct model_config *c, const json_t *root)
{
    c->rope.theta = 10000.0; /* what transformers takes when the key is absent */
    TRY(field_double(root, "rope_theta", 1, 1e12, &c->rope.theta));
    const json_t *old = json_object_get(root, "rope_scaling");
    const json_t *new = json_object_get(root, "rope_parameters");
    if (json_is_object(old) && json_is_object(new))
        return err_set(ERR_UNSUPPORTED,
                       "both \"rope_scaling\" and \"rope_parameters\" are there; remove one");
    TRY(read_scaling(&c->rope, root, "rope_scaling"));
    return read_scaling(&c->rope, root, "rope_parameters");
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
    TRY(read_rope(c, root));
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
