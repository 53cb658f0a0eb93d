#include "engine/shards.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "engine/json_fields.h"
#include "kernels/pool.h"

#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"

static struct err allocate(struct shards *s, size_t n)
{
    s->names = calloc(n, sizeof *s->names);
    s->headers = calloc(n, sizeof *s->headers);
    if (s->names == NULL || s->headers == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu files", n);
    return err_ok();
}

static struct err add_name(struct shards *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->names[i], name) == 0)
            return err_ok();
    char text[84];
    if (!model_file_name_valid(name))
        return err_set(ERR_MALFORMED, "\"%s\" is not the name of a file in the model folder",
                       printable(text, bytes_of_str(name)));
    if (s->n == SHARDS_MAX)
        return err_set(ERR_LIMIT, "more than %d shards", SHARDS_MAX);
    memcpy(s->names[s->n++], name, strlen(name) + 1);
    return err_ok();
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

struct err shards_parse_index(struct shards *s, struct bytes text)
{
    json_t *root = NULL;
    TRY(fields_parse(&root, text));
    s->weight_map = json_incref(json_object_get(root, "weight_map"));
    json_decref(root);
    if (!json_is_object(s->weight_map) || json_object_size(s->weight_map) == 0)
        return err_set(ERR_MALFORMED, "\"weight_map\" is not an object of tensors and files");
    TRY(allocate(s, SHARDS_MAX));
    const char *tensor;
    json_t *file;
    json_object_foreach(s->weight_map, tensor, file)
    {
        if (!json_is_string(file))
            return err_set(ERR_MALFORMED, "\"weight_map\" holds a value that is not a file name");
        TRY(add_name(s, json_string_value(file)));
    }
    qsort(s->names, s->n, sizeof *s->names, compare_names);
    return err_ok();
}

static struct err find_files(struct shards *s, struct model_files *files)
{
    uint64_t size = 0;
    struct bytes index;
    TRY(model_files_read_optional(files, INDEX_NAME, SHARDS_INDEX_MAX, &index));
    struct err single = model_files_size(files, SINGLE_NAME, &size);
    if (is_err(single) && single.code != ERR_NOT_FOUND)
        return single;
    if (index.data == NULL && is_err(single))
        return err_set(ERR_NOT_FOUND,
                       "%s holds neither " SINGLE_NAME " nor " INDEX_NAME
                       "; download the model's weights in safetensors format",
                       files->dir);
    if (index.data != NULL && !is_err(single))
        return err_set(ERR_UNSUPPORTED,
                       "%s holds both " SINGLE_NAME " and " INDEX_NAME "; remove the one that is "
                       "not wanted",
                       files->dir);
    if (index.data != NULL) {
        struct err e = shards_parse_index(s, index);
        return is_err(e) ? err_context(e, "%s/" INDEX_NAME, files->dir) : e;
    }
    TRY(allocate(s, 1));
    return add_name(s, SINGLE_NAME);
}

static struct err add_sizes(struct shards *s, const struct model_files *files)
{
    for (size_t i = 0; i < s->n; i++) {
        uint64_t size = 0;
        TRY(model_files_size(files, s->names[i], &size));
        if (__builtin_add_overflow(s->total_size, size, &s->total_size))
            return err_set(ERR_LIMIT, "the sizes of the weight files overflow");
    }
    return err_ok();
}

struct err shards_find(struct shards *out, struct model_files *files)
{
    struct shards s = {0};
    struct err e = find_files(&s, files);
    if (!is_err(e))
        e = add_sizes(&s, files);
    if (is_err(e)) {
        shards_cleanup(&s);
        return e;
    }
    *out = s;
    return err_ok();
}

/* Every tensor of shard i is mapped to it: with equal counts overall, the map holds nothing else.
 */
static struct err check_map(const struct shards *s, size_t i)
{
    if (s->weight_map == NULL)
        return err_ok();
    for (size_t t = 0; t < s->headers[i].n; t++) {
        const char *name = s->headers[i].tensors[t].name;
        const char *file = json_string_value(json_object_get(s->weight_map, name));
        if (file == NULL || strcmp(file, s->names[i]) != 0)
            return err_set(ERR_MALFORMED,
                           "it holds tensor \"%.100s\", which " INDEX_NAME
                           " puts elsewhere or does not list",
                           name);
    }
    return err_ok();
}

static struct err check_count(const struct shards *s)
{
    if (s->weight_map == NULL)
        return err_ok();
    const char *tensor;
    json_t *file;
    json_object_foreach(
        s->weight_map, tensor,
        file) if (shards_tensor(s, tensor) ==
                  NULL) return err_set(ERR_MALFORMED,
                                       INDEX_NAME
                                       " lists tensor \"%.100s\" in %s, which does not hold it",
                                       tensor, json_string_value(file));
    return err_ok();
}

static struct err in_shard(const struct shards *s, const struct model_files *files, size_t i,
                           struct err e)
{
    return is_err(e) ? err_context(e, "%s/%s", files->dir, s->names[i]) : e;
}

static struct err parse_one(struct shards *s, size_t i, struct bytes data)
{
    TRY(safetensors_parse(&s->headers[i], data));
    return check_map(s, i);
}

static struct err check_all(const struct shards *s, const struct model_files *files)
{
    struct err e = check_count(s);
    return is_err(e) ? err_context(e, "%s", files->dir) : e;
}

struct err shards_read(struct shards *s, struct model_files *files)
{
    const char *names[SHARDS_MAX];
    size_t first = files->n;
    for (size_t i = 0; i < s->n; i++)
        names[i] = s->names[i];
    TRY(model_files_read_all(files, names, s->n, UINT64_MAX, pool_cpus()));
    for (size_t i = 0; i < s->n; i++)
        TRY(in_shard(s, files, i, parse_one(s, i, files->items[first + i].data)));
    s->in_memory = true;
    return check_all(s, files);
}

/* The header of a file that was just opened; the caller frees it, also after an error. */
static struct err read_header(struct parted_file *f, struct bytes *out)
{
    uint8_t prefix[SAFETENSORS_PREFIX_LEN], *text;
    size_t len = 0;
    if (f->size < sizeof prefix)
        return err_set(ERR_MALFORMED, "it ends inside the header's length; copy it again");
    TRY(parted_file_next(f, prefix, sizeof prefix));
    TRY(safetensors_header_len(&len, bytes_of(prefix, sizeof prefix)));
    if (len > f->size - sizeof prefix)
        return err_set(ERR_MALFORMED, "it ends inside its header of %zu bytes; copy it again", len);
    if ((text = malloc(len + 1)) == NULL)
        return err_set(ERR_MEMORY, "no memory for its header of %zu bytes", len);
    *out = bytes_of(text, len);
    return parted_file_next(f, text, len);
}

static struct err open_one(struct shards *s, struct model_files *files, size_t i,
                           struct bytes *text)
{
    struct parted_file *f = &s->parts[i];
    struct bytes all = files->items[files->n - 1].data;
    TRY(read_header(f, text));
    struct bytes data = bytes_of(all.data + f->at, all.len - f->at);
    TRY(safetensors_parse_header(&s->headers[i], *text, data));
    return check_map(s, i);
}

static struct err make_parts(struct shards *s)
{
    s->parts = calloc(s->n, sizeof *s->parts);
    return s->parts != NULL ? err_ok() : err_set(ERR_MEMORY, "no memory for %zu files", s->n);
}

struct err shards_open(struct shards *s, struct model_files *files)
{
    TRY(make_parts(s));
    for (size_t i = 0; i < s->n; i++) {
        struct bytes text = {0};
        TRY(model_files_open(files, s->names[i], &s->parts[i]));
        s->n_opened++;
        struct err e = open_one(s, files, i, &text);
        free((void *)(uintptr_t)text.data);
        TRY(in_shard(s, files, i, e));
    }
    return check_all(s, files);
}

static void close_parts(struct shards *s)
{
    for (size_t i = 0; s->parts != NULL && i < s->n; i++)
        parted_file_cleanup(&s->parts[i]);
    free(s->parts);
    s->parts = NULL;
}

void shards_close(struct shards *s, struct model_files *files)
{
    close_parts(s);
    for (size_t i = 0; i < s->n; i++)
        safetensors_cleanup(&s->headers[i]);
    model_files_drop(files, s->n_opened);
    s->n_opened = 0;
}

/* The first time it becomes the file's hash; then it must be that one. */
static struct err settle_hash(struct model_file *file, const struct parted_file *f)
{
    static const uint8_t none[SHA256_LEN];
    if (memcmp(file->info.sha256, none, SHA256_LEN) == 0)
        memcpy(file->info.sha256, f->sha256, SHA256_LEN);
    if (memcmp(file->info.sha256, f->sha256, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "it is not the file that was measured: its SHA-256 has changed");
    return err_ok();
}

struct err shards_stream(struct shards *s, struct model_files *files,
                         const struct part_memory *memory, const struct part_taker *taker)
{
    size_t failed = 0;
    struct err e = file_parts_read(s->parts, s->n, pool_cpus(), memory, taker, &failed);
    if (is_err(e) && failed < s->n)
        return in_shard(s, files, failed, e);
    TRY(e);
    for (size_t i = 0; i < s->n; i++)
        TRY(in_shard(s, files, i, settle_hash(model_files_find(files, s->names[i]), &s->parts[i])));
    close_parts(s);
    return err_ok();
}

struct err shards_reopen(struct shards *s, const struct model_files *files)
{
    close_parts(s);
    TRY(make_parts(s));
    for (size_t i = 0; i < s->n; i++) {
        struct bytes text = {0};
        TRY(model_files_reopen(files, s->names[i], &s->parts[i]));
        struct err e = read_header(&s->parts[i], &text);
        free((void *)(uintptr_t)text.data);
        TRY(in_shard(s, files, i, e));
    }
    return err_ok();
}

void shards_cleanup(struct shards *s)
{
    close_parts(s);
    for (size_t i = 0; s->headers != NULL && i < s->n; i++)
        safetensors_cleanup(&s->headers[i]);
    free(s->headers);
    free(s->names);
    json_decref(s->weight_map);
    *s = (struct shards){0};
}

const struct tensor *shards_tensor(const struct shards *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct tensor *t = safetensors_find(&s->headers[i], name);
        if (t != NULL)
            return t;
    }
    return NULL;
}

const struct tensor *shards_tensor_at(const struct shards *s, const uint8_t *address)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t t = 0; t < s->headers[i].n; t++) {
            struct bytes data = s->headers[i].tensors[t].data;
            if (address >= data.data && address < data.data + data.len)
                return &s->headers[i].tensors[t];
        }
    return NULL;
}

size_t shards_n_tensors(const struct shards *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->headers[i].n;
    return n;
}
