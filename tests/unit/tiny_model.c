#include "tests/unit/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"

const struct tiny_spec tiny_default = {
    .vocab_size = 264, /* more than the tokenizer's ids, as real models have */
    .hidden = 40,      /* no multiple of 16 */
    .inner = 72,
    .n_layers = 2,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 12, /* not hidden / n_heads */
    .max_positions = 320,
    .rope_theta = 10000.0,
    .eps = 1e-5,
    .tied = 1,
    .type = TINY_BF16,
    .seed = 1,
};

static void must(struct err e)
{
    if (is_err(e)) {
        fprintf(stderr, "tiny model: %s\n", err_message());
        abort();
    }
}

uint64_t tiny_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

float tiny_normal(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (float)(tiny_random(state) >> 40) / 16777216.0f;
    return sum - 6.0f;
}

static uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Not inlined: gcc 12.2 at -O1 and above otherwise drops the mask 0xffff0000 between the two moves
 * from and to a float register. */
__attribute__((noinline)) static uint32_t mask(uint32_t u, uint32_t bits)
{
    return u & bits;
}

/* Truncates to a value that the type holds; |x| < 16, and tiny ones become 0 for F16. */
static float round_to(float x, enum tiny_type type)
{
    if (type == TINY_BF16)
        return bits_float(mask(float_bits(x), 0xffff0000u));
    if (type == TINY_F16)
        return fabsf(x) < 0x1p-14f ? 0.0f : bits_float(mask(float_bits(x), 0xffffe000u));
    return x;
}

static void append_le(struct buf *out, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        buf_append_u8(out, (uint8_t)(v >> (8 * i)));
}

static void append_value(struct buf *out, float x, enum tiny_type type)
{
    uint32_t u = float_bits(x);
    if (type == TINY_F32)
        append_le(out, u, 4);
    else if (type == TINY_BF16)
        append_le(out, u >> 16, 2);
    else if (x == 0.0f)
        append_le(out, (u >> 16) & 0x8000u, 2);
    else
        append_le(out,
                  ((u >> 16) & 0x8000u) | (((u >> 23 & 0xffu) - 112u) << 10 | (u >> 13 & 0x3ffu)),
                  2);
}

static void add_tensor(struct tiny_model *m, const char *name, size_t n_rows, size_t n_cols,
                       float scale, float offset, uint64_t *random)
{
    struct tiny_tensor *t = &m->tensors[m->n_tensors++];
    size_t n = (n_rows > 0 ? n_rows : 1) * n_cols;
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_rows = n_rows;
    t->n_cols = n_cols;
    t->values = calloc(n, sizeof *t->values);
    if (t->values == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        t->values[i] = round_to(offset + scale * tiny_normal(random), m->spec.type);
}

/* A bias of every matrix; tiny_forward knows none. */
static void add_bias(struct tiny_model *m, unsigned layer, const char *part, size_t n,
                     uint64_t *random)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%u.%s.bias", layer, part);
    add_tensor(m, name, 0, n, 0.5f, 0, random);
}

static void add_layer(struct tiny_model *m, unsigned layer, uint64_t *random)
{
    const struct tiny_spec *s = &m->spec;
    size_t q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    struct {
        const char *name;
        size_t n_rows, n_cols;
    } parts[] = {{"self_attn.q_proj", q, s->hidden},        {"self_attn.k_proj", kv, s->hidden},
                 {"self_attn.v_proj", kv, s->hidden},       {"self_attn.o_proj", s->hidden, q},
                 {"mlp.gate_proj", s->inner, s->hidden},    {"mlp.up_proj", s->inner, s->hidden},
                 {"mlp.down_proj", s->hidden, s->inner},    {"input_layernorm", 0, s->hidden},
                 {"post_attention_layernorm", 0, s->hidden}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[96];
        int norm = parts[i].n_rows == 0;
        snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer, parts[i].name);
        add_tensor(m, name, parts[i].n_rows, parts[i].n_cols,
                   norm ? 0.2f : 1.2f / sqrtf((float)parts[i].n_cols), norm ? 1.0f : 0.0f, random);
        if (s->biases && !norm)
            add_bias(m, layer, parts[i].name, parts[i].n_rows, random);
    }
}

void tiny_safetensors(const struct tiny_model *m, size_t first, size_t last, struct buf *out)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    BUF_AUTO data = BUF_INIT;
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    for (size_t i = first; i < last; i++) {
        const struct tiny_tensor *t = &m->tensors[i];
        size_t begin = data.len, n = (t->n_rows > 0 ? t->n_rows : 1) * t->n_cols;
        for (size_t k = 0; k < n; k++)
            append_value(&data, t->values[k], m->spec.type);
        json_t *shape = json_array();
        if (t->n_rows > 0)
            json_array_append_new(shape, json_integer((json_int_t)t->n_rows));
        json_array_append_new(shape, json_integer((json_int_t)t->n_cols));
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", names[m->spec.type], "shape",
                                      shape, "data_offsets", (json_int_t)begin,
                                      (json_int_t)data.len));
    }
    char *text = json_dumps(header, JSON_COMPACT);
    append_le(out, strlen(text), 8);
    buf_append_str(out, text);
    buf_append_bytes(out, buf_bytes(&data));
    free(text);
    json_decref(header);
}

static const char *file_path(const struct tiny_model *m, const char *name, struct buf *out)
{
    return path_join(out, m->dir, name);
}

void tiny_write_file(const struct tiny_model *m, const char *name, const void *data, size_t len)
{
    BUF_AUTO path = BUF_INIT;
    FILE *f = fopen(file_path(m, name, &path), "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        abort();
}

void tiny_write_json(const struct tiny_model *m, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(1));
    tiny_write_file(m, name, text, strlen(text));
    free(text);
}

json_t *tiny_read_json(const struct tiny_model *m, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    json_t *value = json_load_file(file_path(m, name, &path), 0, NULL);
    if (value == NULL)
        abort();
    return value;
}

void tiny_remove_file(const struct tiny_model *m, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    if (unlink(file_path(m, name, &path)) != 0)
        abort();
}

static json_t *config_of(const struct tiny_spec *s)
{
    json_t *scaling = json_null();
    if (s->llama3)
        scaling = json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", 8.0,
                            "low_freq_factor", 1.0, "high_freq_factor", 4.0,
                            "original_max_position_embeddings", 32);
    return json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:s, s:o, "
        "s:i, s:i, s:b, s:b}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size", s->vocab_size,
        "hidden_size", s->hidden, "intermediate_size", s->inner, "num_hidden_layers", s->n_layers,
        "num_attention_heads", s->n_heads, "num_key_value_heads", s->n_kv_heads, "head_dim",
        s->head_dim, "max_position_embeddings", s->max_positions, "rms_norm_eps", s->eps,
        "rope_theta", s->rope_theta, "tie_word_embeddings", s->tied, "hidden_act", "silu",
        "rope_scaling", scaling, "bos_token_id", TINY_BOS, "eos_token_id", TINY_EOS,
        "attention_bias", s->biases, "mlp_bias", s->biases);
}

/* GPT-2's map of bytes to characters: printable Latin-1 to itself, the rest to U+0100 and up. */
static void byte_text(unsigned byte, char out[3])
{
    unsigned code = byte, n = 0;
    for (unsigned b = 0; b < 256; b++) {
        int plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && !plain)
            code = 256 + n;
        n += !plain;
    }
    int two = code >= 128;
    out[0] = (char)(two ? 0xc0 | code >> 6 : code);
    out[1] = (char)(two ? 0x80 | (code & 63) : 0);
    out[2] = 0;
}

static json_t *special_token(int id, const char *content)
{
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", content,
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

/* Token b is byte b; then three special tokens. */
static json_t *tokenizer_json(void)
{
    json_t *vocab = json_object();
    for (unsigned b = 0; b < 256; b++) {
        char text[3];
        byte_text(b, text);
        json_object_set_new(vocab, text, json_integer(b));
    }
    return json_pack(
        "{s:s, s:n, s:n, s:[o,o,o], s:n, s:{s:s, s:b, s:b, s:b}, s:n, s:{s:s, s:b, s:b, s:b}, "
        "s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:o, s:[]}}",
        "version", "1.0", "truncation", "padding", "added_tokens",
        special_token(TINY_BOS, "<|bos|>"), special_token(TINY_EOS, "<|eos|>"),
        special_token(TINY_PAD, "<|pad|>"), "normalizer", "pre_tokenizer", "type", "ByteLevel",
        "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "post_processor", "decoder",
        "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "model",
        "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
        "fuse_unk", 0, "byte_fallback", 0, "vocab", vocab, "merges");
}

static void write_and_free(const struct tiny_model *m, const char *name, json_t *value)
{
    if (value == NULL)
        abort();
    tiny_write_json(m, name, value);
    json_decref(value);
}

void tiny_write(struct tiny_model *m, const struct tiny_spec *spec)
{
    *m = (struct tiny_model){.dir = "/tmp/tiny-model-XXXXXX", .spec = *spec};
    if (mkdtemp(m->dir) == NULL)
        abort();
    uint64_t random = spec->seed;
    add_tensor(m, "model.embed_tokens.weight", spec->vocab_size, spec->hidden, 0.5f, 0, &random);
    for (unsigned i = 0; i < spec->n_layers; i++)
        add_layer(m, i, &random);
    add_tensor(m, "model.norm.weight", 0, spec->hidden, 0.2f, 1, &random);
    if (!spec->tied)
        add_tensor(m, "lm_head.weight", spec->vocab_size, spec->hidden, 0.4f, 0, &random);
    BUF_AUTO file = BUF_INIT;
    tiny_safetensors(m, 0, m->n_tensors, &file);
    tiny_write_file(m, "model.safetensors", file.data, file.len);
    write_and_free(m, "config.json", config_of(spec));
    write_and_free(m, "generation_config.json",
                   json_pack("{s:i, s:i, s:b, s:f}", "bos_token_id", TINY_BOS, "eos_token_id",
                             TINY_EOS, "do_sample", 1, "temperature", 0.75));
    write_and_free(m, "tokenizer.json", tokenizer_json());
    write_and_free(m, "tokenizer_config.json",
                   json_pack("{s:s, s:{s:s}, s:s}", "bos_token", "<|bos|>", "eos_token", "content",
                             "<|eos|>", "chat_template",
                             "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]"
                             "{{ m['content'] }}{{ eos_token }}{% endfor %}"
                             "{% if add_generation_prompt %}[assistant]{% endif %}"));
}

void tiny_remove(struct tiny_model *m)
{
    BUF_AUTO command = BUF_INIT;
    for (size_t i = 0; i < m->n_tensors; i++)
        free(m->tensors[i].values);
    buf_printf(&command, "rm -rf '%s'", m->dir);
    if (system(buf_str(&command)) != 0)
        must(err_set(ERR_IO, "cannot remove %s", m->dir));
}

static const struct tiny_tensor *tensor(const struct tiny_model *m, const char *format, ...)
    PRINTF_LIKE(2, 3);
static const struct tiny_tensor *tensor(const struct tiny_model *m, const char *format, ...)
{
    char name[96];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    abort();
}

static void norm(double *out, const double *x, const struct tiny_tensor *w, double eps)
{
    double sum = 0;
    for (size_t i = 0; i < w->n_cols; i++)
        sum += x[i] * x[i];
    for (size_t i = 0; i < w->n_cols; i++)
        out[i] = x[i] / sqrt(sum / (double)w->n_cols + eps) * (double)w->values[i];
}

static void multiply(double *y, const double *x, const struct tiny_tensor *w)
{
    for (size_t n = 0; n < w->n_rows; n++) {
        y[n] = 0;
        for (size_t k = 0; k < w->n_cols; k++)
            y[n] += x[k] * (double)w->values[n * w->n_cols + k];
    }
}

static double frequency(const struct tiny_spec *s, unsigned i)
{
    double f = pow(s->rope_theta, -2.0 * i / s->head_dim), wave = 2 * M_PI / f;
    if (!s->llama3 || wave < 32.0 / 4.0)
        return f;
    if (wave > 32.0 / 1.0)
        return f / 8.0;
    double smooth = (32.0 / wave - 1.0) / (4.0 - 1.0);
    return (1 - smooth) * f / 8.0 + smooth * f;
}

static void turn(const struct tiny_spec *s, double *x, unsigned n_heads, size_t position)
{
    unsigned half = s->head_dim / 2;
    for (unsigned h = 0; h < n_heads; h++)
        for (unsigned i = 0; i < half; i++) {
            double angle = (double)position * frequency(s, i);
            double *a = x + h * s->head_dim + i, *b = a + half, old = *a;
            *a = old * cos(angle) - *b * sin(angle);
            *b = *b * cos(angle) + old * sin(angle);
        }
}

/* One head of one row over keys 0 to `row`. */
static void attend(const struct tiny_spec *s, double *out, const double *q, const double *k,
                   const double *v, size_t row, size_t stride)
{
    double *p = calloc(row + 1, sizeof *p), max = -INFINITY, sum = 0;
    for (size_t j = 0; j <= row; j++) {
        for (unsigned d = 0; d < s->head_dim; d++)
            p[j] += q[d] * k[j * stride + d];
        p[j] /= sqrt((double)s->head_dim);
        max = fmax(max, p[j]);
    }
    for (size_t j = 0; j <= row; j++)
        sum += p[j] = exp(p[j] - max);
    for (unsigned d = 0; d < s->head_dim; d++) {
        out[d] = 0;
        for (size_t j = 0; j <= row; j++)
            out[d] += p[j] / sum * v[j * stride + d];
    }
    free(p);
}

struct rows {
    double *x, *h, *q, *k, *v, *att, *gate, *up;
};

static void attention_layer(const struct tiny_model *m, unsigned l, struct rows *r, size_t n)
{
    const struct tiny_spec *s = &m->spec;
    size_t qs = s->n_heads * s->head_dim, ks = s->n_kv_heads * s->head_dim;
    for (size_t i = 0; i < n; i++) {
        norm(r->h, r->x + i * s->hidden, tensor(m, "model.layers.%u.input_layernorm.weight", l),
             s->eps);
        multiply(r->q + i * qs, r->h, tensor(m, "model.layers.%u.self_attn.q_proj.weight", l));
        multiply(r->k + i * ks, r->h, tensor(m, "model.layers.%u.self_attn.k_proj.weight", l));
        multiply(r->v + i * ks, r->h, tensor(m, "model.layers.%u.self_attn.v_proj.weight", l));
        turn(s, r->q + i * qs, s->n_heads, i);
        turn(s, r->k + i * ks, s->n_kv_heads, i);
    }
    for (size_t i = 0; i < n; i++) {
        for (unsigned h = 0; h < s->n_heads; h++) {
            size_t kv = h / (s->n_heads / s->n_kv_heads) * s->head_dim;
            attend(s, r->att + h * s->head_dim, r->q + i * qs + h * s->head_dim, r->k + kv,
                   r->v + kv, i, ks);
        }
        multiply(r->h, r->att, tensor(m, "model.layers.%u.self_attn.o_proj.weight", l));
        for (unsigned d = 0; d < s->hidden; d++)
            r->x[i * s->hidden + d] += r->h[d];
    }
}

static void mlp_layer(const struct tiny_model *m, unsigned l, struct rows *r, size_t n)
{
    const struct tiny_spec *s = &m->spec;
    for (size_t i = 0; i < n; i++) {
        norm(r->h, r->x + i * s->hidden,
             tensor(m, "model.layers.%u.post_attention_layernorm.weight", l), s->eps);
        multiply(r->gate, r->h, tensor(m, "model.layers.%u.mlp.gate_proj.weight", l));
        multiply(r->up, r->h, tensor(m, "model.layers.%u.mlp.up_proj.weight", l));
        for (unsigned d = 0; d < s->inner; d++)
            r->gate[d] = r->gate[d] / (1 + exp(-r->gate[d])) * r->up[d];
        multiply(r->h, r->gate, tensor(m, "model.layers.%u.mlp.down_proj.weight", l));
        for (unsigned d = 0; d < s->hidden; d++)
            r->x[i * s->hidden + d] += r->h[d];
    }
}

void tiny_forward(const struct tiny_model *m, const uint32_t *tokens, size_t n, double *out)
{
    const struct tiny_spec *s = &m->spec;
    size_t qs = s->n_heads * s->head_dim, ks = s->n_kv_heads * s->head_dim;
    size_t wide = qs > s->hidden ? qs : s->hidden;
    double *memory =
        calloc(n * (s->hidden + qs + 2 * ks) + 2 * wide + 2 * s->inner, sizeof *memory);
    const struct tiny_tensor *embed = tensor(m, "model.embed_tokens.weight");
    if (memory == NULL)
        abort();
    struct rows r = {.x = memory};
    r.q = r.x + n * s->hidden;
    r.k = r.q + n * qs;
    r.v = r.k + n * ks;
    r.h = r.v + n * ks;
    r.att = r.h + wide;
    r.gate = r.att + wide;
    r.up = r.gate + s->inner;
    for (size_t i = 0; i < n; i++)
        for (unsigned d = 0; d < s->hidden; d++)
            r.x[i * s->hidden + d] = (double)embed->values[tokens[i] * s->hidden + d];
    for (unsigned l = 0; l < s->n_layers; l++) {
        attention_layer(m, l, &r, n);
        mlp_layer(m, l, &r, n);
    }
    for (size_t i = 0; i < n; i++) {
        norm(r.h, r.x + i * s->hidden, tensor(m, "model.norm.weight"), s->eps);
        multiply(out + i * s->vocab_size, r.h, s->tied ? embed : tensor(m, "lm_head.weight"));
    }
    free(memory);
}
