/*
 * Operations on strings. Upper and lower case follow Unicode's simple mappings, one character to
 * one (Python also has a few that change the length, such as that of the German sharp s).
 */
#include "engine/jinja_builtins.h"

#include <string.h>

#include <utf8proc.h>

struct err need_string(const struct jinja_value *v, const char *what)
{
    if (v->kind == JINJA_STRING)
        return err_ok();
    return err_set(ERR_USAGE, "%s is a %s and must be a str", what, jinja_type_name(v));
}

/* Whether one character is among `chars`; white space where chars is NULL. */
static bool is_stripped(struct bytes s, size_t at, size_t len, const struct jinja_value *chars)
{
    size_t unused = 0;
    if (chars == NULL || chars->kind == JINJA_NONE)
        return jinja_is_space(jinja_char(s, at, &unused));
    return memmem(chars->as.string->data, chars->as.string->len, s.data + at, len) != NULL;
}

struct err string_strip(struct jinja *j, const struct jinja_value *string,
                        const struct jinja_value *chars, bool left, bool right,
                        struct jinja_value *out)
{
    struct bytes s = jinja_bytes(string);
    size_t from = 0, to = s.len, len = 0;
    if (chars != NULL && chars->kind != JINJA_NONE)
        TRY(need_string(chars, "the set of characters to strip"));
    while (left && from < to) {
        (void)jinja_char(s, from, &len);
        if (!is_stripped(s, from, len, chars))
            break;
        from += len;
    }
    while (right && from < to) {
        size_t start = to - 1;
        while (start > from && (s.data[start] & 0xc0) == 0x80)
            start--;
        if (!is_stripped(s, start, to - start, chars))
            break;
        to = start;
    }
    TRY(jinja_charge(j, s.len - (to - from)));
    return jinja_substring(&j->arena, out, string, from, to - from);
}

/* Where `from` stands next at or after `at`; an empty one stands before every character. */
static size_t find_next(struct bytes s, size_t at, struct bytes from)
{
    if (from.len == 0)
        return at;
    const uint8_t *found = memmem(s.data + at, s.len - at, from.data, from.len);
    return found != NULL ? (size_t)(found - s.data) : s.len;
}

struct err string_replace(struct jinja *j, const struct jinja_value *string,
                          const struct jinja_value *from, const struct jinja_value *to, int64_t max,
                          struct jinja_value *out)
{
    JINJA_TEXT text = {0};
    struct bytes s = jinja_bytes(string), old = jinja_bytes(from);
    struct jinja_value part;
    size_t done = 0;
    for (size_t at = 0; max != 0 && at + old.len <= s.len; max -= max > 0) {
        size_t found = find_next(s, at, old), len = 0;
        if (found + old.len > s.len)
            break;
        TRY(jinja_substring(&j->arena, &part, string, done, found - done));
        TRY(jinja_text_add_string(&text, &part));
        TRY(jinja_text_add_string(&text, to));
        TRY(jinja_charge(j, found - done + to->as.string->len));
        done = found + old.len;
        if (old.len == 0 && found < s.len)
            (void)jinja_char(s, found, &len);
        at = done + (old.len == 0 ? (len > 0 ? len : 1) : 0);
    }
    TRY(jinja_substring(&j->arena, &part, string, done, s.len - done));
    TRY(jinja_text_add_string(&text, &part));
    TRY(jinja_charge(j, s.len));
    return jinja_text_take(&text, &j->arena, out);
}

static bool is_cased(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* Jinja's title filter begins words behind white space and these. */
static bool ends_word(int32_t c)
{
    return jinja_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

static int32_t recase_char(int32_t c, enum string_case to, bool first)
{
    if (to == CASE_UPPER)
        return utf8proc_toupper(c);
    if (to == CASE_LOWER || !first)
        return utf8proc_tolower(c);
    return to == CASE_TITLE_WORDS ? utf8proc_toupper(c) : utf8proc_totitle(c);
}

struct err string_recase(struct jinja *j, const struct jinja_value *string, enum string_case to,
                         struct jinja_value *out)
{
    struct bytes s = jinja_bytes(string);
    JINJA_TEXT text = {0};
    bool first = true, trusted = jinja_trusted(string);
    for (size_t i = 0, len = 0; i < s.len; i += len) {
        int32_t c = jinja_char(s, i, &len);
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t n = utf8proc_encode_char(recase_char(c, to, first), bytes);
        TRY(jinja_text_add(&text, bytes_of(bytes, (size_t)n), trusted));
        first =
            (to == CASE_TITLE_WORDS && ends_word(c)) || (to == CASE_TITLE_LETTERS && !is_cased(c));
    }
    TRY(jinja_charge(j, s.len));
    return jinja_text_take(&text, &j->arena, out);
}
