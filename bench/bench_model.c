#include "bench/bench_model.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "common/file.h"
#include "engine/model_files.h"
#include "engine/tokenizer.h"

enum { CHUNK = 1 << 16 /* values that are written at once */ };

static const struct bench_shape shapes[] = {
    {"smollm2-135m", 30, 576, 1536, 9, 3, 64, 49152, 32},
    {"llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, 8},
    {"llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128256, 8},
    {"tiny", 2, 128, 256, 4, 2, 32, 2048, 4},
    {"tiny-gpu", 2, 128, 256, 4, 2, 64, 2048, 4},
};
/* The first ones are measured unless another is asked for. */
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_MEASURED = 2 };

const struct bench_shape *bench_shape_at(size_t i)
{
    return i < N_MEASURED ? &shapes[i] : NULL;
}

const struct bench_shape *bench_shape_named(const char *name)
{
    for (size_t i = 0; i < N_SHAPES; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

struct err bench_shape_check(const char *name)
{
    if (name == NULL || bench_shape_named(name) != NULL)
        return err_ok();
    BUF_AUTO names = BUF_INIT;
    for (size_t i = 0; i < N_SHAPES; i++)
        buf_printf(&names, " %s", shapes[i].name);
    return err_set(ERR_USAGE, "there is no shape \"%s\"; there are:%s", name, buf_str(&names));
}

/* --- folders --- */

/* Folders that are removed at the end, as text so that a signal's handler can do it. */
enum { FOLDERS_MAX = 4 };
static char folders[FOLDERS_MAX][200];

/* With all that is in it. Only what a signal's handler may call. */
static void remove_folder(char *dir)
{
    if (dir[0] == 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    dir[0] = 0;
}

static void remove_all(void)
{
    for (size_t i = 0; i < FOLDERS_MAX; i++)
        remove_folder(folders[i]);
}

static void end_by_signal(int number)
{
    remove_all();
    _exit(128 + number);
}

struct err bench_folder_make(char out[200], const char *parent)
{
    static bool registered;
    size_t i = 0;
    while (i < FOLDERS_MAX && folders[i][0] != 0)
        i++;
    if (i == FOLDERS_MAX)
        return err_set(ERR_LIMIT, "more than %d temporary folders", FOLDERS_MAX);
    if (!registered) {
        atexit(remove_all);
        signal(SIGINT, end_by_signal);
        signal(SIGTERM, end_by_signal);
    }
    registered = true;
    char path[200];
    if (snprintf(path, sizeof path, "%s/bench.XXXXXX", parent) >= (int)sizeof path)
        return err_set(ERR_LIMIT, "the path of the folder for temporary files is too long");
    if (mkdtemp(path) == NULL)
        return err_errno("cannot make a folder in %s", parent);
    memcpy(folders[i], path, sizeof path);
    memcpy(out, path, sizeof path);
    return err_ok();
}

void bench_folder_remove(const char *dir)
{
    for (size_t i = 0; i < FOLDERS_MAX; i++)
        if (strcmp(folders[i], dir) == 0)
            remove_folder(folders[i]);
}

struct err bench_room_check(const char *folder, uint64_t disk_len, uint64_t memory_len)
{
    struct statvfs disk;
    if (statvfs(folder, &disk) != 0)
        return err_errno("cannot look at %s", folder);
    uint64_t have = (uint64_t)disk.f_bavail * disk.f_frsize, memory = memory_available();
    if (have < disk_len)
        return err_set(ERR_LIMIT,
                       "%s has room for %" PRIu64 " MiB where %" PRIu64
                       " MiB are needed; name another folder with --folder",
                       folder, have >> 20, disk_len >> 20);
    if (memory < memory_len)
        return err_set(ERR_LIMIT,
                       "%" PRIu64 " MiB of memory are free where %" PRIu64
                       " MiB are needed; choose a smaller --shape",
                       memory >> 20, memory_len >> 20);
    return err_ok();
}

/* --- settings --- */

static struct err write_json(const char *dir, const char *name, json_t *value)
{
    BUF_AUTO path = BUF_INIT;
    int rc = value != NULL ? json_dump_file(value, path_join(&path, dir, name), JSON_COMPACT) : -1;
    json_decref(value);
    return rc == 0 ? err_ok() : err_set(ERR_IO, "cannot write %s/%s", dir, name);
}

static struct err write_config(const char *dir, const struct bench_shape *s)
{
    return write_json(
        dir, "config.json",
        json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:i, s:b, s:i, "
                  "s:i, s:s}",
                  "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size",
                  s->vocab, "hidden_size", s->hidden, "intermediate_size", s->inner,
                  "num_hidden_layers", s->n_layers, "num_attention_heads", s->n_heads,
                  "num_key_value_heads", s->n_kv_heads, "head_dim", s->head_dim, "hidden_act",
                  "silu", "rms_norm_eps", 1e-5, "rope_theta", 1e5, "max_position_embeddings", 2048,
                  "tie_word_embeddings", 1, "bos_token_id", 0, "eos_token_id", 0, "torch_dtype",
                  "bfloat16"));
}

/* The demo's tokenizer with as many tokens as the shape has: choosing one costs what it would. */
static struct err write_tokenizer(const char *dir, const struct bench_shape *s)
{
    BUF_AUTO text = BUF_INIT;
    TRY(file_read(&text, "models/demo/tokenizer.json", TOKENIZER_JSON_MAX));
    json_t *root = json_loadb((const char *)text.data, text.len, 0, NULL);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    char name[32];
    for (int id = (int)json_object_size(vocab); id < s->vocab; id++) {
        snprintf(name, sizeof name, "~%07d", id);
        json_object_set_new(vocab, name, json_integer(id));
    }
    return write_json(dir, "tokenizer.json", root);
}

/* --- weights --- */

struct weights_file {
    json_t *header;
    uint64_t end; /* bytes of the values */
};

/* One tensor in the header. One row: one dimension. */
static void add_tensor(struct weights_file *w, const char *name, uint64_t n_rows, uint64_t n_cols)
{
    uint64_t begin = w->end;
    w->end += 2 * n_rows * n_cols;
    json_t *shape = n_rows == 1 ? json_pack("[I]", (json_int_t)n_cols)
                                : json_pack("[I,I]", (json_int_t)n_rows, (json_int_t)n_cols);
    json_object_set_new(w->header, name,
                        json_pack("{s:s, s:o, s:[I,I]}", "dtype", "BF16", "shape", shape,
                                  "data_offsets", (json_int_t)begin, (json_int_t)w->end));
}

static void add_layer(struct weights_file *w, const struct bench_shape *s, int layer)
{
    int q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    const struct {
        const char *name;
        int n_rows, n_cols;
    } parts[] = {{"input_layernorm", 1, s->hidden},      {"self_attn.q_proj", q, s->hidden},
                 {"self_attn.k_proj", kv, s->hidden},    {"self_attn.v_proj", kv, s->hidden},
                 {"self_attn.o_proj", s->hidden, q},     {"post_attention_layernorm", 1, s->hidden},
                 {"mlp.gate_proj", s->inner, s->hidden}, {"mlp.up_proj", s->inner, s->hidden},
                 {"mlp.down_proj", s->hidden, s->inner}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, parts[i].name);
        add_tensor(w, name, (uint64_t)parts[i].n_rows, (uint64_t)parts[i].n_cols);
    }
}

static struct weights_file tensors_of(const struct bench_shape *s)
{
    struct weights_file w = {json_object(), 0};
    add_tensor(&w, "model.embed_tokens.weight", (uint64_t)s->vocab, (uint64_t)s->hidden);
    for (int layer = 0; layer < s->n_layers; layer++)
        add_layer(&w, s, layer);
    add_tensor(&w, "model.norm.weight", 1, (uint64_t)s->hidden);
    return w;
}

uint64_t bench_shape_len(const struct bench_shape *s)
{
    struct weights_file w = tensors_of(s);
    json_decref(w.header);
    return w.end;
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

/* Takes the header. */
static struct err write_weights(const char *dir, const char *name, struct weights_file w)
{
    char *text = json_dumps(w.header, JSON_COMPACT);
    json_decref(w.header);
    if (text == NULL)
        return err_set(ERR_MEMORY, "no memory for a header");
    BUF_AUTO head = BUF_INIT, path = BUF_INIT, body = BUF_INIT;
    buf_append_str(&body, text);
    free(text);
    while (body.len % 64 != 0) /* values begin at a multiple of 8 only, as in real files */
        buf_append_u8(&body, ' ');
    for (int i = 0; i < 8; i++)
        buf_append_u8(&head, (uint8_t)((uint64_t)body.len >> (8 * i)));
    buf_append_bytes(&head, buf_bytes(&body));
    FD_AUTO fd = open(path_join(&path, dir, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno("cannot write %s", buf_str(&path));
    TRY(fd_write_all(fd, buf_bytes(&head)));
    TRY(write_values(fd, w.end / 2));
    return fsync(fd) == 0 ? err_ok() : err_errno("cannot write %s to the disk", buf_str(&path));
}

struct err bench_model_write(const char *dir, const struct bench_shape *s)
{
    TRY(write_config(dir, s));
    TRY(write_tokenizer(dir, s));
    return write_weights(dir, "model.safetensors", tensors_of(s));
}

struct err bench_shards_write(const char *dir, char names[][64], size_t n, uint64_t len)
{
    json_t *map = json_object();
    struct err e = err_ok();
    for (size_t i = 0; i < n && !is_err(e); i++) {
        char tensor[32];
        struct weights_file w = {json_object(), 0};
        snprintf(tensor, sizeof tensor, "part%zu", i);
        add_tensor(&w, tensor, len / 2048, 1024);
        json_object_set_new(map, tensor, json_string(names[i]));
        e = write_weights(dir, names[i], w);
    }
    if (is_err(e) || n == 1) {
        json_decref(map);
        return e;
    }
    return write_json(dir, "model.safetensors.index.json", json_pack("{s:o}", "weight_map", map));
}
