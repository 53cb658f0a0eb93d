#include "bench/bench_model.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"

enum {
    LAYERS = 30,
    HIDDEN = 576,
    INNER = 1536,
    HEADS = 9,
    KV_HEADS = 3,
    HEAD_DIM = 64,
    VOCAB = 49152,
    CHUNK = 1 << 16, /* values that are written at once */
    FILE_MAX = 64 << 20,
};

static const char *const copied[] = {"tokenizer.json", "tokenizer_config.json"};

static struct err write_json(const char *dir, const char *name, json_t *value)
{
    BUF_AUTO path = BUF_INIT;
    int rc = value != NULL ? json_dump_file(value, path_join(&path, dir, name), JSON_COMPACT) : -1;
    json_decref(value);
    return rc == 0 ? err_ok() : err_set(ERR_IO, "cannot write %s/%s", dir, name);
}

static struct err write_config(const char *dir)
{
    return write_json(
        dir, "config.json",
        json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:i, s:b, s:i, "
                  "s:i, s:s}",
                  "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size", VOCAB,
                  "hidden_size", HIDDEN, "intermediate_size", INNER, "num_hidden_layers", LAYERS,
                  "num_attention_heads", HEADS, "num_key_value_heads", KV_HEADS, "head_dim",
                  HEAD_DIM, "hidden_act", "silu", "rms_norm_eps", 1e-5, "rope_theta", 1e5,
                  "max_position_embeddings", 2048, "tie_word_embeddings", 1, "bos_token_id", 0,
                  "eos_token_id", 0, "torch_dtype", "bfloat16"));
}

static struct err copy_file(const char *to_dir, const char *from_dir, const char *name)
{
    BUF_AUTO from = BUF_INIT, to = BUF_INIT, data = BUF_INIT;
    TRY(file_read(&data, path_join(&from, from_dir, name), FILE_MAX));
    FD_AUTO fd = open(path_join(&to, to_dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno("cannot write %s", buf_str(&to));
    return fd_write_all(fd, buf_bytes(&data));
}

/* One tensor in the header; `end` moves by its bytes. One row: one dimension. */
static void add_tensor(json_t *header, uint64_t *end, const char *name, int n_rows, int n_cols)
{
    uint64_t begin = *end;
    *end += 2 * (uint64_t)n_rows * (uint64_t)n_cols;
    json_t *shape = n_rows == 1 ? json_pack("[i]", n_cols) : json_pack("[i,i]", n_rows, n_cols);
    json_object_set_new(header, name,
                        json_pack("{s:s, s:o, s:[I,I]}", "dtype", "BF16", "shape", shape,
                                  "data_offsets", (json_int_t)begin, (json_int_t)*end));
}

static void add_layer(json_t *header, uint64_t *end, int layer)
{
    static const struct {
        const char *name;
        int n_rows, n_cols;
    } parts[] = {{"input_layernorm", 1, HIDDEN},
                 {"self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN},
                 {"self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN},
                 {"self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN},
                 {"self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM},
                 {"post_attention_layernorm", 1, HIDDEN},
                 {"mlp.gate_proj", INNER, HIDDEN},
                 {"mlp.up_proj", INNER, HIDDEN},
                 {"mlp.down_proj", HIDDEN, INNER}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, parts[i].name);
        add_tensor(header, end, name, parts[i].n_rows, parts[i].n_cols);
    }
}

/* n_values of BF16 of size 1/32 to 1/16 with random signs: logits stay finite. */
static struct err write_values(int fd, uint64_t n_values)
{
    static uint16_t chunk[CHUNK];
    uint64_t random = 1;
    while (n_values > 0) {
        size_t n = n_values < CHUNK ? (size_t)n_values : CHUNK;
        for (size_t i = 0; i < n; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            chunk[i] = (uint16_t)((random >> 63) << 15 | 0x3d00u | (random >> 33 & 0x7fu));
        }
        TRY(fd_write_all(fd, bytes_of(chunk, n * sizeof *chunk)));
        n_values -= n;
    }
    return err_ok();
}

static struct err write_weights(const char *dir)
{
    uint64_t end = 0;
    json_t *header = json_object();
    add_tensor(header, &end, "model.embed_tokens.weight", VOCAB, HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++)
        add_layer(header, &end, layer);
    add_tensor(header, &end, "model.norm.weight", 1, HIDDEN);
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (text == NULL)
        return err_set(ERR_MEMORY, "no memory for a header");
    BUF_AUTO head = BUF_INIT, path = BUF_INIT;
    BUF_AUTO body = BUF_INIT;
    buf_append_str(&body, text);
    free(text);
    while (body.len % 64 != 56) /* values begin at a cache line */
        buf_append_u8(&body, ' ');
    for (int i = 0; i < 8; i++)
        buf_append_u8(&head, (uint8_t)((uint64_t)body.len >> (8 * i)));
    buf_append_bytes(&head, buf_bytes(&body));
    FD_AUTO fd = open(path_join(&path, dir, "model.safetensors"),
                      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno("cannot write %s", buf_str(&path));
    TRY(fd_write_all(fd, buf_bytes(&head)));
    return write_values(fd, end / 2);
}

struct err bench_model_write(const char *dir, const char *tokenizer_dir)
{
    TRY(write_config(dir));
    for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++)
        TRY(copy_file(dir, tokenizer_dir, copied[i]));
    return write_weights(dir);
}

void bench_model_remove(const char *dir)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                        "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        BUF_AUTO path = BUF_INIT;
        unlink(path_join(&path, dir, names[i]));
    }
    rmdir(dir);
}
