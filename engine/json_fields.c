#include "engine/json_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

static struct err parse(json_t **out, struct bytes text, size_t flags)
{
    json_error_t why;
    if (text.len == 0)
        return err_set(ERR_MALFORMED, "the file is empty, so not JSON");
    json_t *root =
        json_loadb((const char *)text.data, text.len, flags | JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return err_set(ERR_MALFORMED, "not JSON, line %d: %.160s", why.line, why.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(ERR_MALFORMED, "not a JSON object");
    }
    *out = root;
    return err_ok();
}

struct err fields_parse(json_t **out, struct bytes text)
{
    return parse(out, text, 0);
}

struct err fields_parse_reals(json_t **out, struct bytes text)
{
    return parse(out, text, JSON_DECODE_INT_AS_REAL);
}

struct err field_refused(const char *key, const json_t *value, const char *expected)
{
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    char key_text[84], value_text[84];
    printable(key_text, bytes_of_str(key));
    printable(value_text, bytes_of_str(dumped != NULL ? dumped : "?"));
    free(dumped);
    return err_set(ERR_UNSUPPORTED, "\"%s\" is %s; %s", key_text, value_text, expected);
}

/* Whether the value is one of the JSON texts in `allowed`. */
static bool value_allowed(const json_t *value, const char *allowed)
{
    for (const char *at = allowed;;) {
        size_t len = strcspn(at, "|");
        json_t *one = json_loadb(at, len, JSON_DECODE_ANY, NULL);
        bool equal = json_equal(value, one);
        if (json_is_number(value) && json_is_number(one))
            equal = json_number_value(value) == json_number_value(one);
        json_decref(one);
        if (equal)
            return true;
        if (at[len] == 0)
            return false;
        at += len + 1;
    }
}

static struct err check_field(const char *key, const json_t *value, const struct field_rule *rules,
                              size_t n_rules)
{
    for (size_t i = 0; i < n_rules; i++) {
        if (strcmp(rules[i].key, key) != 0)
            continue;
        if (rules[i].kind != FIELD_MUST_BE || value_allowed(value, rules[i].allowed))
            return err_ok();
        char expected[160];
        snprintf(expected, sizeof expected, "only %s is supported", rules[i].allowed);
        return field_refused(key, value, expected);
    }
    return field_refused(key, value,
                         "this key is not known, so what it changes is not supported; remove it "
                         "only if it changes nothing");
}

struct err fields_check(const json_t *object, const struct field_rule *rules, size_t n_rules)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
        TRY(check_field(key, value, rules, n_rules));
    return err_ok();
}

static const json_t *present(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

struct err field_required(const json_t *object, const char *key)
{
    if (present(object, key) == NULL)
        return err_set(ERR_MALFORMED, "\"%s\" is missing", key);
    return err_ok();
}

struct err field_unsigned(const json_t *object, const char *key, unsigned min, unsigned max,
                          unsigned *out)
{
    const json_t *value = present(object, key);
    if (value == NULL)
        return err_ok();
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < (json_int_t)min || number > (json_int_t)max) {
        char expected[80];
        snprintf(expected, sizeof expected, "it must be an integer from %u to %u", min, max);
        return field_refused(key, value, expected);
    }
    *out = (unsigned)number;
    return err_ok();
}

struct err field_double(const json_t *object, const char *key, double min, double max, double *out)
{
    const json_t *value = present(object, key);
    if (value == NULL)
        return err_ok();
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= min && number <= max)) {
        char expected[80];
        snprintf(expected, sizeof expected, "it must be a number from %g to %g", min, max);
        return field_refused(key, value, expected);
    }
    *out = number;
    return err_ok();
}

struct err field_bool(const json_t *object, const char *key, bool *out)
{
    const json_t *value = present(object, key);
    if (value == NULL)
        return err_ok();
    if (!json_is_boolean(value))
        return field_refused(key, value, "it must be true or false");
    *out = json_is_true(value);
    return err_ok();
}

static struct err read_token_id(const char *key, const json_t *value, uint32_t *out)
{
    json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < 0 || id >= (json_int_t)1 << 31)
        return field_refused(key, value, "a token id is an integer from 0 to 2147483647");
    *out = (uint32_t)id;
    return err_ok();
}

struct err field_token_ids(const json_t *object, const char *key, uint32_t *out, size_t max,
                           size_t *n)
{
    const json_t *value = present(object, key);
    *n = 0;
    if (value == NULL)
        return err_ok();
    if (!json_is_array(value)) {
        TRY(read_token_id(key, value, out));
        *n = 1;
        return err_ok();
    }
    if (json_array_size(value) > max)
        return err_set(ERR_LIMIT, "\"%s\" lists %zu ids; at most %zu are allowed", key,
                       json_array_size(value), max);
    for (size_t i = 0; i < json_array_size(value); i++)
        TRY(read_token_id(key, json_array_get(value, i), &out[i]));
    *n = json_array_size(value);
    return err_ok();
}
