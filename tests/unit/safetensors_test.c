/* A well-formed file is read; each flaw alone is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/safetensors.h"

static void append_file(struct buf *out, const char *header, size_t data_len)
{
    size_t len = strlen(header);
    for (int i = 0; i < 8; i++)
        buf_append_u8(out, (uint8_t)(i < 4 ? len >> (8 * i) : 0));
    buf_append_str(out, header);
    for (size_t i = 0; i < data_len; i++)
        buf_append_u8(out, (uint8_t)i);
}

static void assert_refused(const char *header, size_t data_len, enum err_code code,
                           const char *reason)
{
    BUF_AUTO file = BUF_INIT;
    struct safetensors s = {0};
    append_file(&file, header, data_len);
    struct err e = safetensors_parse(&s, buf_bytes(&file));
    if (e.code != code || strstr(err_message(), reason) == NULL)
        fail_msg("%s: got %s, \"%s\"", header, err_code_name(e.code), err_message());
    assert_null(s.tensors);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}"
#define B "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]}"

static void reads_tensors_by_name(void **state)
{
    (void)state;
    BUF_AUTO file = BUF_INIT;
    struct safetensors s = {0};
    append_file(&file, "{\"__metadata__\":{\"format\":\"pt\"}," B "," A "}   ", 14);
    assert_false(is_err(safetensors_parse(&s, buf_bytes(&file))));
    assert_int_equal(s.n, 2);
    const struct tensor *b = safetensors_find(&s, "b");
    assert_non_null(b);
    assert_string_equal(b->dtype, "BF16");
    assert_int_equal(b->n_dims, 1);
    assert_int_equal(b->shape[0], 3);
    assert_int_equal(b->data.len, 6);
    assert_int_equal(b->data.data[0], 8);
    assert_null(safetensors_find(&s, "c"));
    safetensors_cleanup(&s);
}

static void reads_scalars_and_empty_tensors(void **state)
{
    (void)state;
    BUF_AUTO file = BUF_INIT;
    struct safetensors s = {0};
    append_file(&file,
                "{\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[8,8]}}",
                8);
    assert_false(is_err(safetensors_parse(&s, buf_bytes(&file))));
    assert_int_equal(safetensors_find(&s, "b")->data.len, 0);
    safetensors_cleanup(&s);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    BUF_AUTO file = BUF_INIT;
    append_file(&file, "{" A "," B "}", 14);
    for (size_t len = 0; len < file.len; len++) {
        struct safetensors s = {0};
        /* A copy of exactly that length, so that a read past the end is seen. */
        uint8_t *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy, file.data, len);
        uint8_t *exact = realloc(copy, len > 0 ? len : 1);
        assert_int_equal(safetensors_parse(&s, bytes_of(exact, len)).code, ERR_MALFORMED);
        free(exact);
    }
}

static void refuses_a_header_longer_than_allowed(void **state)
{
    (void)state;
    const uint8_t huge[] = {1, 0, 0, 1, 0, 0, 0, 0, '{', '}'};
    const uint8_t overflowing[] = {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'};
    struct safetensors s = {0};
    assert_int_equal(safetensors_parse(&s, bytes_of(huge, sizeof huge)).code, ERR_LIMIT);
    assert_int_equal(safetensors_parse(&s, bytes_of(overflowing, sizeof overflowing)).code,
                     ERR_LIMIT);
}

static void refuses_one_flaw_at_a_time(void **state)
{
    (void)state;
    assert_refused("[]", 0, ERR_MALFORMED, "does not begin");
    assert_refused(" {" A "}", 8, ERR_MALFORMED, "does not begin");
    assert_refused("{" A "", 8, ERR_MALFORMED, "not JSON");
    assert_refused("{" A "} x", 8, ERR_MALFORMED, "not JSON");
    assert_refused("{" A "," A "}", 8, ERR_MALFORMED, "duplicate");
    assert_refused("{\"a\":1}", 0, ERR_MALFORMED, "not an object");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],"
                   "\"data_offsets\":[0,8]}}",
                   8, ERR_MALFORMED, "duplicate");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
                   ERR_MALFORMED, "exactly");
    assert_refused("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, ERR_MALFORMED,
                   "dtype");
    assert_refused("{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
                   ERR_UNSUPPORTED, "F33");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8,
                   ERR_MALFORMED, "shape");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8,
                   ERR_MALFORMED, "integer");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8,
                   ERR_MALFORMED, "integer");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],"
                   "\"data_offsets\":[0,8]}}",
                   8, ERR_LIMIT, "dimensions");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],"
                   "\"data_offsets\":[0,0]}}",
                   0, ERR_MALFORMED, "overflow");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8,
                   ERR_MALFORMED, "two numbers");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
                   ERR_MALFORMED, "leave");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 8,
                   ERR_MALFORMED, "leave");
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8,
                   ERR_MALFORMED, "need 12");
    assert_refused("{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, ERR_LIMIT,
                   "name");
    assert_refused("{\"__metadata__\":{\"a\":1}," A "}", 8, ERR_MALFORMED, "__metadata__");
    assert_refused("{\"__metadata__\":[]," A "}", 8, ERR_MALFORMED, "__metadata__");
}

static void refuses_holes_overlaps_and_left_over_data(void **state)
{
    (void)state;
    assert_refused("{" A "}", 9, ERR_MALFORMED, "belong to no tensor");
    assert_refused("{" B "}", 14, ERR_MALFORMED, "hole");
    assert_refused("{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8,
                   ERR_MALFORMED, "overlapping");
    assert_refused("{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[4,12]}}", 12,
                   ERR_MALFORMED, "overlapping");
    assert_refused("{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[9,12]}}", 12,
                   ERR_MALFORMED, "hole");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_by_name),
        cmocka_unit_test(reads_scalars_and_empty_tensors),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_a_header_longer_than_allowed),
        cmocka_unit_test(refuses_one_flaw_at_a_time),
        cmocka_unit_test(refuses_holes_overlaps_and_left_over_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
