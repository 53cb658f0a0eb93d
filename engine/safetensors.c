#include "engine/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

struct dtype {
    const char *name;
    uint64_t size;
};

static const struct dtype dtypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
    {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8},
};

static struct err dtype_find(const char *name, const struct dtype **out)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = &dtypes[i];
            return err_ok();
        }
    char text[84];
    return err_set(ERR_UNSUPPORTED, "dtype \"%s\" is not known",
                   printable(text, bytes_of_str(name)));
}

static struct err read_unsigned(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(ERR_MALFORMED, "a number there is not an integer of 0 to 2^63 - 1");
    *out = (uint64_t)json_integer_value(value);
    return err_ok();
}

/* Fills shape; `n_bytes` is the product of the dimensions and the element size. */
static struct err read_shape(struct tensor *t, const json_t *shape, uint64_t element,
                             uint64_t *n_bytes)
{
    if (!json_is_array(shape))
        return err_set(ERR_MALFORMED, "shape is not an array");
    if (json_array_size(shape) > SAFETENSORS_DIMS_MAX)
        return err_set(ERR_LIMIT, "shape has %zu dimensions; at most %d are allowed",
                       json_array_size(shape), SAFETENSORS_DIMS_MAX);
    t->n_dims = json_array_size(shape);
    uint64_t product = element;
    for (size_t i = 0; i < t->n_dims; i++) {
        TRY(read_unsigned(json_array_get(shape, i), &t->shape[i]));
        if (__builtin_mul_overflow(product, t->shape[i], &product))
            return err_set(ERR_MALFORMED, "the product of shape overflows");
    }
    *n_bytes = product;
    return err_ok();
}

static struct err read_offsets(const json_t *offsets, uint64_t n_bytes, struct bytes data,
                               struct bytes *out)
{
    uint64_t begin = 0, end = 0;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return err_set(ERR_MALFORMED, "data_offsets is not an array of two numbers");
    TRY(read_unsigned(json_array_get(offsets, 0), &begin));
    TRY(read_unsigned(json_array_get(offsets, 1), &end));
    if (begin > end || end > data.len)
        return err_set(ERR_MALFORMED,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] leave the file's %zu bytes of data",
                       begin, end, data.len);
    if (end - begin != n_bytes)
        return err_set(ERR_MALFORMED,
                       "data_offsets span %" PRIu64 " bytes; dtype and shape need %" PRIu64,
                       end - begin, n_bytes);
    *out = bytes_of(data.data + begin, end - begin);
    return err_ok();
}

static struct err read_tensor(struct tensor *t, const char *name, const json_t *value,
                              struct bytes data)
{
    if (name[0] == 0 || strlen(name) > SAFETENSORS_NAME_MAX)
        return err_set(ERR_LIMIT, "the name is not of 1 to %d bytes", SAFETENSORS_NAME_MAX);
    if (!json_is_object(value) || json_object_size(value) != 3)
        return err_set(ERR_MALFORMED,
                       "it is not an object of exactly dtype, shape and data_offsets");
    const char *dtype_name = json_string_value(json_object_get(value, "dtype"));
    if (dtype_name == NULL)
        return err_set(ERR_MALFORMED, "dtype is not a string");
    const struct dtype *dtype = NULL;
    uint64_t n_bytes = 0;
    TRY(dtype_find(dtype_name, &dtype));
    TRY(read_shape(t, json_object_get(value, "shape"), dtype->size, &n_bytes));
    TRY(read_offsets(json_object_get(value, "data_offsets"), n_bytes, data, &t->data));
    memcpy(t->name, name, strlen(name) + 1);
    memcpy(t->dtype, dtype->name, strlen(dtype->name) + 1);
    return err_ok();
}

static struct err check_metadata(const json_t *value)
{
    if (!json_is_object(value))
        return err_set(ERR_MALFORMED, "__metadata__ is not an object");
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item) if (
        !json_is_string(item)) return err_set(ERR_MALFORMED,
                                              "__metadata__ holds a value that is not a string");
    return err_ok();
}

static int compare_begins(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    if ((*x)->data.data != (*y)->data.data)
        return (*x)->data.data < (*y)->data.data ? -1 : 1;
    return ((*x)->data.len > (*y)->data.len) - ((*x)->data.len < (*y)->data.len);
}

static int compare_names(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The tensors cover the data: each begins where the one before ends. */
static struct err check_cover(const struct safetensors *s, struct bytes data)
{
    const struct tensor **order = calloc(s->n + 1, sizeof *order);
    if (order == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu tensors", s->n);
    for (size_t i = 0; i < s->n; i++)
        order[i] = &s->tensors[i];
    qsort(order, s->n, sizeof *order, compare_begins);
    size_t at = 0;
    struct err e = err_ok();
    for (size_t i = 0; i < s->n && !is_err(e); i++) {
        size_t begin = (size_t)(order[i]->data.data - data.data);
        if (begin != at) {
            char text[84];
            e = err_set(ERR_MALFORMED, "tensor \"%s\" begins at byte %zu of the data, %s %zu",
                        printable(text, bytes_of_str(order[i]->name)), begin,
                        begin < at ? "overlapping the one that ends at"
                                   : "leaving a hole after the one that ends at",
                        at);
        }
        at = begin + order[i]->data.len;
    }
    free(order);
    if (!is_err(e) && at != data.len)
        e = err_set(ERR_MALFORMED, "%zu bytes of data belong to no tensor", data.len - at);
    return e;
}

static struct err read_header(struct safetensors *s, const json_t *header, struct bytes data)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            TRY(check_metadata(value));
            continue;
        }
        char text[84];
        struct err e = read_tensor(&s->tensors[s->n], name, value, data);
        if (is_err(e))
            return err_context(e, "tensor \"%s\"", printable(text, bytes_of_str(name)));
        s->n++;
    }
    qsort(s->tensors, s->n, sizeof *s->tensors, compare_names);
    return check_cover(s, data);
}

struct err safetensors_header_len(size_t *out, struct bytes prefix)
{
    struct reader r = reader_of(prefix);
    uint64_t len = read_u64le(&r);
    if (r.failed)
        return err_set(ERR_MALFORMED, "it ends inside the header's length; copy it again");
    if (len > SAFETENSORS_HEADER_MAX)
        return err_set(ERR_LIMIT, "a header of %" PRIu64 " bytes; at most %d are allowed", len,
                       SAFETENSORS_HEADER_MAX);
    *out = (size_t)len;
    return err_ok();
}

static struct err split(struct bytes file, struct bytes *header, struct bytes *data)
{
    size_t header_len = 0;
    struct reader r = reader_of(file);
    TRY(safetensors_header_len(&header_len, file));
    (void)read_bytes(&r, SAFETENSORS_PREFIX_LEN);
    *header = read_bytes(&r, header_len);
    if (r.failed)
        return err_set(ERR_MALFORMED, "it ends inside its header of %zu bytes; copy it again",
                       header_len);
    *data = read_bytes(&r, reader_left(&r));
    return err_ok();
}

struct err safetensors_parse_header(struct safetensors *out, struct bytes text, struct bytes data)
{
    if (text.len == 0 || text.data[0] != '{')
        return err_set(ERR_MALFORMED, "the header does not begin with '{'");
    json_error_t why;
    json_t *header = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    if (header == NULL)
        return err_set(ERR_MALFORMED, "the header is not JSON at byte %d: %.120s", why.position,
                       why.text);
    struct safetensors s = {0};
    struct err e = err_ok();
    if (json_object_size(header) > SAFETENSORS_TENSORS_MAX)
        e = err_set(ERR_LIMIT, "more than %d tensors", SAFETENSORS_TENSORS_MAX);
    else if ((s.tensors = calloc(json_object_size(header) + 1, sizeof *s.tensors)) == NULL)
        e = err_set(ERR_MEMORY, "no memory for %zu tensors", json_object_size(header));
    else
        e = read_header(&s, header, data);
    json_decref(header);
    if (is_err(e)) {
        safetensors_cleanup(&s);
        return e;
    }
    *out = s;
    return err_ok();
}

struct err safetensors_parse(struct safetensors *out, struct bytes file)
{
    struct bytes text, data;
    TRY(split(file, &text, &data));
    return safetensors_parse_header(out, text, data);
}

void safetensors_cleanup(struct safetensors *s)
{
    free(s->tensors);
    *s = (struct safetensors){0};
}

static int compare_name(const void *key, const void *item)
{
    return strcmp(key, ((const struct tensor *)item)->name);
}

const struct tensor *safetensors_find(const struct safetensors *s, const char *name)
{
    if (s->n == 0)
        return NULL;
    return bsearch(name, s->tensors, s->n, sizeof *s->tensors, compare_name);
}
