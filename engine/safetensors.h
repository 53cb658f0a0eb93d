/*
 * The safetensors format (huggingface/safetensors, README "Format"): u64 little-endian length of
 * the header, the header (a JSON object of tensors), then the data. Everything is checked before
 * anything is used: bounds, overflow, element counts, holes, overlaps, duplicate names and keys.
 *
 * Maximum: header 16 MiB, 65,536 tensors, 8 dimensions, names of 1 to 255 bytes.
 */
#ifndef ENGINE_SAFETENSORS_H
#define ENGINE_SAFETENSORS_H

#include "common/buf.h"

enum {
    SAFETENSORS_HEADER_MAX = 16 << 20,
    SAFETENSORS_TENSORS_MAX = 65536,
    SAFETENSORS_DIMS_MAX = 8,
    SAFETENSORS_NAME_MAX = 255,
    SAFETENSORS_PREFIX_LEN = 8,
};

struct tensor {
    char name[SAFETENSORS_NAME_MAX + 1];
    char dtype[8]; /* "F32", "BF16", ... */
    uint64_t shape[SAFETENSORS_DIMS_MAX];
    size_t n_dims;
    struct bytes data; /* borrowed from the file */
};

struct safetensors {
    struct tensor *tensors; /* sorted bytewise by name */
    size_t n;
};

/* ERR_MALFORMED, ERR_LIMIT, ERR_UNSUPPORTED (a dtype that is not known), ERR_MEMORY. `file` must
 * outlive `out`. */
struct err safetensors_parse(struct safetensors *out, struct bytes file) MUST_USE;
/* The same of a file that is read in parts: `text` is its header, `data` where the rest is or would
 * be, which is not looked at. */
struct err safetensors_parse_header(struct safetensors *out, struct bytes text,
                                    struct bytes data) MUST_USE;
/* The header's length, from the file's first SAFETENSORS_PREFIX_LEN bytes. */
struct err safetensors_header_len(size_t *out, struct bytes prefix) MUST_USE;
void safetensors_cleanup(struct safetensors *s);

/* NULL if there is none of that name. */
const struct tensor *safetensors_find(const struct safetensors *s, const char *name);

#endif
