/* Vectors that others made, for the tests of the log: JSON below BL_SHARED_DIR. */
#ifndef TESTS_TLOG_VECTORS_H
#define TESTS_TLOG_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/text.h"
#include "transparency/merkle.h"

/* NULL when the vectors are not on this machine; a vector that is there must be readable. */
static inline json_t *vectors_load(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/vectors/%s", BL_SHARED_DIR, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    json_error_t error;
    /* Sizes go up to 2^64 - 1, which jansson's integers cannot hold. */
    json_t *j = json_loadf(f, JSON_DECODE_INT_AS_REAL, &error);
    fclose(f);
    if (j == NULL)
        fail_msg("%s: %s", path, error.text);
    return j;
}

/* A program of which every test was skipped says so to ctest. */
static inline int vectors_exit_code(int n_failed, size_t n_tests, size_t n_skipped)
{
    return n_failed == 0 && n_skipped == n_tests ? 77 : n_failed;
}

static inline const char *vector_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static inline uint64_t vector_number(const json_t *object, const char *name)
{
    double v = json_number_value(json_object_get(object, name));
    return v >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)v;
}

/* False if the text is not one hash: such vectors are about malformed hashes. */
static inline bool vector_hash(struct merkle_hash *out, const json_t *text)
{
    const char *base64 = json_string_value(text);
    return base64 != NULL &&
           !is_err(base64_decode_exact(out->bytes, SHA256_LEN, bytes_of_str(base64)));
}

static inline bool vector_proof(struct merkle_proof *out, const json_t *array)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < json_array_size(array); i++)
        if (i == MERKLE_PROOF_MAX || !vector_hash(&out->hashes[i], json_array_get(array, i)))
            return false;
    out->n_hashes = json_array_size(array);
    return true;
}

#endif
