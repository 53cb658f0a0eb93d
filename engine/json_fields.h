/*
 * Reading a JSON settings file strictly: every key is known or the file is refused, and each error
 * names the key, the value and what would be accepted.
 */
#ifndef ENGINE_JSON_FIELDS_H
#define ENGINE_JSON_FIELDS_H

#include <jansson.h>

#include "common/buf.h"

/* What may happen to one key. */
enum field_rule_kind {
    FIELD_READ,    /* the caller reads it */
    FIELD_IGNORED, /* changes nothing that is computed here */
    FIELD_MUST_BE, /* one of the JSON values in `allowed`, separated by '|' */
};

struct field_rule {
    const char *key;
    enum field_rule_kind kind;
    const char *allowed;
};

/* The text as an object without duplicate keys; ERR_MALFORMED with the line. The caller owns it. */
struct err fields_parse(json_t **out, struct bytes text) MUST_USE;
/* The same, but integers become reals: for files of which no integer is read and that may hold ones
 * beyond 64 bits, such as the 10^30 that transformers writes for "no limit". */
struct err fields_parse_reals(json_t **out, struct bytes text) MUST_USE;
/* ERR_UNSUPPORTED for a key without a rule or a value that its rule does not allow. */
struct err fields_check(const json_t *object, const struct field_rule *rules,
                        size_t n_rules) MUST_USE;

/* An absent or null key leaves *out as it is and sets no error; a wrong type or a value outside
 * min to max is ERR_UNSUPPORTED. */
struct err field_unsigned(const json_t *object, const char *key, unsigned min, unsigned max,
                          unsigned *out) MUST_USE;
struct err field_double(const json_t *object, const char *key, double min, double max,
                        double *out) MUST_USE;
struct err field_bool(const json_t *object, const char *key, bool *out) MUST_USE;
/* ERR_MALFORMED when the key is absent or null. */
struct err field_required(const json_t *object, const char *key) MUST_USE;
/* One token id or a list of up to `max` of them; 0 when absent or null. */
struct err field_token_ids(const json_t *object, const char *key, uint32_t *out, size_t max,
                           size_t *n) MUST_USE;

/* ERR_UNSUPPORTED: "<key>" is <value>; <expected>. */
struct err field_refused(const char *key, const json_t *value, const char *expected) MUST_USE;

#endif
