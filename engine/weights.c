#include "engine/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/finite.h"

struct binding {
    const struct model_config *config;
    const struct shards *shards;
    struct weights *out; /* its vectors, n_parameters and has_bf16 */
    size_t n_used;
    size_t layer; /* of the names below "model.layers." */
};

static struct err find(struct binding *b, const char *name, const struct tensor **out)
{
    *out = shards_tensor(b->shards, name);
    if (*out == NULL)
        return err_set(ERR_MALFORMED,
                       "the weights hold no tensor \"%s\"; the files and config.json are not of "
                       "one model",
                       name);
    b->n_used++;
    return err_ok();
}

static struct err weight_type_of(const struct tensor *t, enum weight_type *out)
{
    if (strcmp(t->dtype, "BF16") == 0)
        *out = WEIGHT_BF16;
    else if (strcmp(t->dtype, "F16") == 0)
        *out = WEIGHT_F16;
    else if (strcmp(t->dtype, "F32") == 0)
        *out = WEIGHT_F32;
    else
        return err_set(ERR_UNSUPPORTED,
                       "tensor \"%s\" is of type %s; only BF16, F16 and F32 are supported", t->name,
                       t->dtype);
    return err_ok();
}

static struct err check_values(const struct tensor *t, const void *data, enum weight_type type,
                               size_t n)
{
    size_t first = 0;
    if (!weights_finite(data, type, n, &first))
        return err_set(
            ERR_MALFORMED,
            "tensor \"%s\" is damaged: its element %zu is infinite or not a number; copy "
            "the file again",
            t->name, first);
    return err_ok();
}

static struct err bind_matrix(struct binding *b, const char *name, struct weight *out,
                              size_t n_rows, size_t n_cols)
{
    const struct tensor *t = NULL;
    TRY(find(b, name, &t));
    if (t->n_dims != 2 || t->shape[0] != n_rows || t->shape[1] != n_cols)
        return err_set(ERR_MALFORMED,
                       "tensor \"%s\" has %zu dimensions (%" PRIu64 ", %" PRIu64
                       "); config.json needs (%zu, %zu)",
                       name, t->n_dims, t->shape[0], t->shape[1], n_rows, n_cols);
    TRY(weight_type_of(t, &out->type));
    if (b->shards->in_memory)
        TRY(check_values(t, t->data.data, out->type, n_rows * n_cols));
    b->out->has_bf16 |= out->type == WEIGHT_BF16;
    out->data = t->data.data;
    out->n_rows = n_rows;
    out->n_cols = n_cols;
    b->out->n_parameters += (uint64_t)n_rows * n_cols;
    return err_ok();
}

struct err vector_fill(const struct vector *v, const void *data)
{
    TRY(check_values(v->from, data, v->type, v->n));
    weight_widen(v->out, data, v->type, v->n);
    return err_ok();
}

static struct err add_vector(struct binding *b, struct vector v, float **out)
{
    struct weights *w = b->out;
    struct vector *list = reallocarray(w->vectors, w->n_vectors + 1, sizeof *list);
    if (list != NULL)
        w->vectors = list;
    v.out = calloc(v.n, sizeof *v.out);
    if (list == NULL || v.out == NULL) {
        free(v.out);
        return err_set(ERR_MEMORY, "no memory for tensor \"%s\"", v.from->name);
    }
    *out = v.out;
    list[w->n_vectors++] = v;
    return b->shards->in_memory ? vector_fill(&v, v.from->data.data) : err_ok();
}

/* A norm or a bias. */
static struct err bind_vector(struct binding *b, const char *name, float **out, size_t n)
{
    const struct tensor *t = NULL;
    enum weight_type type;
    TRY(find(b, name, &t));
    if (t->n_dims != 1 || t->shape[0] != n)
        return err_set(ERR_MALFORMED,
                       "tensor \"%s\" has %zu dimensions (%" PRIu64 "); config.json needs (%zu)",
                       name, t->n_dims, t->shape[0], n);
    TRY(weight_type_of(t, &type));
    b->out->n_parameters += n;
    return add_vector(b, (struct vector){.from = t, .type = type, .n = n}, out);
}

static const char *layer_name(const struct binding *b, char out[96], const char *part,
                              const char *kind)
{
    snprintf(out, 96, "model.layers.%zu.%s.%s", b->layer, part, kind);
    return out;
}

static struct err bind_layer_norm(struct binding *b, const char *part, float **out, size_t n)
{
    char name[96];
    return bind_vector(b, layer_name(b, name, part, "weight"), out, n);
}

static struct err bind_linear(struct binding *b, const char *part, struct linear *out,
                              size_t n_rows, size_t n_cols, bool has_bias)
{
    char name[96];
    TRY(bind_matrix(b, layer_name(b, name, part, "weight"), &out->matrix, n_rows, n_cols));
    if (!has_bias)
        return err_ok();
    return bind_vector(b, layer_name(b, name, part, "bias"), &out->bias, n_rows);
}

/* The next `n_rows` rows of a matrix that holds several, one below the other. Such a one has no
 * bias (family.c). */
static struct linear take_rows(struct weight *rest, size_t n_rows)
{
    struct linear part = {.matrix = *rest};
    part.matrix.n_rows = n_rows;
    rest->data = (const uint8_t *)rest->data + n_rows * rest->n_cols * weight_type_size(rest->type);
    rest->n_rows -= n_rows;
    return part;
}

static struct err bind_qkv(struct binding *b, struct layer_weights *l, size_t q_len, size_t kv_len)
{
    const struct model_config *c = b->config;
    size_t hidden = c->hidden_size;
    if (c->fused) {
        struct linear all = {0};
        TRY(bind_linear(b, "self_attn.qkv_proj", &all, q_len + 2 * kv_len, hidden, false));
        l->q = take_rows(&all.matrix, q_len);
        l->k = take_rows(&all.matrix, kv_len);
        l->v = take_rows(&all.matrix, kv_len);
        return err_ok();
    }
    TRY(bind_linear(b, "self_attn.q_proj", &l->q, q_len, hidden, c->qkv_bias));
    TRY(bind_linear(b, "self_attn.k_proj", &l->k, kv_len, hidden, c->qkv_bias));
    return bind_linear(b, "self_attn.v_proj", &l->v, kv_len, hidden, c->qkv_bias);
}

static struct err bind_attention(struct binding *b, struct layer_weights *l)
{
    const struct model_config *c = b->config;
    size_t hidden = c->hidden_size, head_dim = c->head_dim;
    size_t q_len = c->n_heads * head_dim, kv_len = c->n_kv_heads * head_dim;
    TRY(bind_layer_norm(b, "input_layernorm", &l->attention_norm, hidden));
    TRY(bind_qkv(b, l, q_len, kv_len));
    TRY(bind_linear(b, "self_attn.o_proj", &l->o, hidden, q_len, c->o_bias));
    if (c->qk_norm) {
        TRY(bind_layer_norm(b, "self_attn.q_norm", &l->q_norm, head_dim));
        TRY(bind_layer_norm(b, "self_attn.k_norm", &l->k_norm, head_dim));
    }
    /* Old checkpoints store the rotary frequencies; they follow from the config and are not read.
     */
    char name[96];
    layer_name(b, name, "self_attn.rotary_emb", "inv_freq");
    b->n_used += shards_tensor(b->shards, name) != NULL;
    return err_ok();
}

static struct err bind_mlp(struct binding *b, struct layer_weights *l)
{
    const struct model_config *c = b->config;
    size_t hidden = c->hidden_size, inner = c->intermediate_size;
    TRY(bind_layer_norm(b, "post_attention_layernorm", &l->mlp_norm, hidden));
    if (c->fused) {
        struct linear both = {0};
        TRY(bind_linear(b, "mlp.gate_up_proj", &both, 2 * inner, hidden, false));
        l->gate = take_rows(&both.matrix, inner);
        l->up = take_rows(&both.matrix, inner);
    } else {
        TRY(bind_linear(b, "mlp.gate_proj", &l->gate, inner, hidden, c->mlp_bias));
        TRY(bind_linear(b, "mlp.up_proj", &l->up, inner, hidden, c->mlp_bias));
    }
    return bind_linear(b, "mlp.down_proj", &l->down, hidden, inner, c->mlp_bias);
}

struct err weights_twin_differs(void)
{
    return err_set(ERR_UNSUPPORTED,
                   "\"tie_word_embeddings\" is true, but \"lm_head.weight\" differs from "
                   "\"model.embed_tokens.weight\"");
}

/* A tied model may store its output matrix too, if it is the same. */
static struct err bind_output(struct binding *b, struct weights *w)
{
    const struct model_config *c = b->config;
    if (!c->tied)
        return bind_matrix(b, "lm_head.weight", &w->output, c->vocab_size, c->hidden_size);
    w->output = w->embed;
    const struct tensor *stored = shards_tensor(b->shards, "lm_head.weight");
    const struct tensor *embed = shards_tensor(b->shards, "model.embed_tokens.weight");
    if (stored == NULL)
        return err_ok();
    if (strcmp(stored->dtype, embed->dtype) != 0 || stored->data.len != embed->data.len)
        return weights_twin_differs();
    if (!b->shards->in_memory)
        w->twin = stored;
    else if (!bytes_equal(stored->data, embed->data))
        return weights_twin_differs();
    b->n_used++;
    return err_ok();
}

/* What follows "model.layers.N." in a model of this config. */
static bool layer_part_expected(const struct model_config *c, const char *rest)
{
    const struct {
        const char *rest;
        bool expected;
    } parts[] = {
        {"input_layernorm.weight", true},        {"self_attn.q_proj.weight", !c->fused},
        {"self_attn.k_proj.weight", !c->fused},  {"self_attn.v_proj.weight", !c->fused},
        {"self_attn.qkv_proj.weight", c->fused}, {"self_attn.o_proj.weight", true},
        {"self_attn.q_proj.bias", c->qkv_bias},  {"self_attn.k_proj.bias", c->qkv_bias},
        {"self_attn.v_proj.bias", c->qkv_bias},  {"self_attn.o_proj.bias", c->o_bias},
        {"self_attn.q_norm.weight", c->qk_norm}, {"self_attn.k_norm.weight", c->qk_norm},
        {"self_attn.rotary_emb.inv_freq", true}, {"post_attention_layernorm.weight", true},
        {"mlp.gate_proj.weight", !c->fused},     {"mlp.up_proj.weight", !c->fused},
        {"mlp.gate_up_proj.weight", c->fused},   {"mlp.down_proj.weight", true},
        {"mlp.gate_proj.bias", c->mlp_bias},     {"mlp.up_proj.bias", c->mlp_bias},
        {"mlp.down_proj.bias", c->mlp_bias},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(rest, parts[i].rest) == 0)
            return parts[i].expected;
    return false;
}

static bool name_expected(const struct model_config *c, const char *name)
{
    if (strcmp(name, "model.embed_tokens.weight") == 0 || strcmp(name, "model.norm.weight") == 0 ||
        strcmp(name, "lm_head.weight") == 0)
        return true;
    unsigned layer = 0;
    int len = 0;
    if (sscanf(name, "model.layers.%u.%n", &layer, &len) != 1 || len == 0 || layer >= c->n_layers)
        return false;
    return layer_part_expected(c, name + len);
}

/* A tensor that nothing uses belongs to a model that is not this one. */
static struct err check_left_over(const struct binding *b)
{
    size_t total = shards_n_tensors(b->shards);
    if (b->n_used == total)
        return err_ok();
    for (size_t i = 0; i < b->shards->n; i++)
        for (size_t t = 0; t < b->shards->headers[i].n; t++)
            if (!name_expected(b->config, b->shards->headers[i].tensors[t].name))
                return err_set(ERR_UNSUPPORTED,
                               "the weights hold tensor \"%s\", which a %s of %u layers has no "
                               "place for",
                               b->shards->headers[i].tensors[t].name, b->config->architecture,
                               b->config->n_layers);
    return err_set(ERR_MALFORMED, "the weights hold %zu tensors; %zu have a place", total,
                   b->n_used);
}

static struct err bind_all(struct binding *b, struct weights *w)
{
    const struct model_config *c = b->config;
    TRY(bind_matrix(b, "model.embed_tokens.weight", &w->embed, c->vocab_size, c->hidden_size));
    for (b->layer = 0; b->layer < c->n_layers; b->layer++) {
        TRY(bind_attention(b, &w->layers[b->layer]));
        TRY(bind_mlp(b, &w->layers[b->layer]));
    }
    TRY(bind_vector(b, "model.norm.weight", &w->norm, c->hidden_size));
    TRY(bind_output(b, w));
    return check_left_over(b);
}

struct err weights_bind(struct weights *out, const struct model_config *config,
                        const struct shards *shards)
{
    struct weights w = {.layers = calloc(config->n_layers, sizeof *w.layers)};
    struct binding b = {.config = config, .shards = shards, .out = &w};
    if (w.layers == NULL)
        return err_set(ERR_MEMORY, "no memory for %u layers", config->n_layers);
    struct err e = bind_all(&b, &w);
    if (is_err(e)) {
        weights_cleanup(&w);
        return e;
    }
    *out = w;
    return err_ok();
}

void weights_cleanup(struct weights *w)
{
    for (size_t i = 0; i < w->n_vectors; i++)
        free(w->vectors[i].out);
    free(w->vectors);
    free(w->layers);
    *w = (struct weights){0};
}
