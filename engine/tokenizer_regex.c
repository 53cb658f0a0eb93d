/*
 * Regular expressions of pre-tokenizers, on PCRE2. They are written for Oniguruma's Ruby syntax, so
 * a pattern is first rewritten where the two engines differ (\s, \w, scripts, \u) and refused where
 * that can't be done. A failing match is an error, never the absence of a match.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"

/* Work allowed for one match: a constant and some for each byte. */
enum { MATCH_LIMIT_BASE = 1000000, MATCH_LIMIT_PER_BYTE = 16, HEAP_LIMIT_KIB = 256 << 10 };
enum { PATTERN_MAX = 64 << 10 };

struct rewriter {
    struct bytes in;
    size_t at;
    struct buf *out;
    bool in_class;
};

static struct err not_alike(const struct rewriter *r, const char *what)
{
    char shown[84];
    return err_set(ERR_UNSUPPORTED, "regular expression \"%s\": %s at byte %zu",
                   printable(shown, r->in), what, r->at);
}

static int peek(const struct rewriter *r, size_t ahead)
{
    return r->at + ahead < r->in.len ? r->in.data[r->at + ahead] : -1;
}

/* \p{Name}: general categories as they are, everything else is a script (and not, as PCRE2 would
 * have it, a script extension). */
static struct err rewrite_property(struct rewriter *r)
{
    size_t end = r->at + 2;
    if (peek(r, 2) != '{')
        return not_alike(r, "\\p without braces");
    while (end < r->in.len && r->in.data[end] != '}')
        end++;
    if (end == r->in.len)
        return not_alike(r, "\\p{ without its end");
    const char *name = (const char *)r->in.data + r->at + 3;
    size_t len = end - r->at - 3;
    if (len == 0 || name[0] == '^')
        return not_alike(r, "\\p{} with an unknown name");
    buf_printf(r->out, "\\%c{%s%.*s}", peek(r, 1), len <= 2 ? "" : "sc:", (int)len, name);
    r->at = end + 1;
    return err_ok();
}

static struct err rewrite_u(struct rewriter *r)
{
    for (size_t i = 2; i < 6; i++) {
        int c = peek(r, i);
        if (c < 0 || strchr("0123456789abcdefABCDEF", c) == NULL)
            return not_alike(r, "\\u without four hex digits");
    }
    buf_printf(r->out, "\\x{%.4s}", (const char *)r->in.data + r->at + 2);
    r->at += 6;
    return err_ok();
}

/* Oniguruma counts six superscripts and fractions of Latin-1 as words, though not inside a class.
 */
static const char *escape_rewritten(int c, bool in_class)
{
    switch (c) {
    case 's':
        return "\\p{White_Space}";
    case 'S':
        return "\\P{White_Space}";
    case 'w':
        return in_class ? "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
                        : "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe]";
    case 'W':
        return in_class ? NULL : "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe]";
    case 'd':
        return "\\p{Nd}";
    case 'D':
        return "\\P{Nd}";
    case 'r':
        return "\\r";
    case 'n':
        return "\\n";
    case 't':
        return "\\t";
    case 'f':
        return "\\f";
    default:
        return NULL;
    }
}

static struct err rewrite_escape(struct rewriter *r)
{
    int c = peek(r, 1);
    if (c == 'p' || c == 'P')
        return rewrite_property(r);
    if (c == 'u')
        return rewrite_u(r);
    const char *rewritten = escape_rewritten(c, r->in_class);
    if (rewritten != NULL) {
        buf_append_str(r->out, rewritten);
    } else {
        bool punctuation = c > 0x20 && c < 0x7f && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c);
        if (!punctuation && c != ' ')
            return not_alike(r, "an escape that is not supported");
        buf_append(r->out, r->in.data + r->at, 2);
    }
    r->at += 2;
    return err_ok();
}

/* After "(?": groups that mean the same to both engines. */
static struct err check_group(const struct rewriter *r)
{
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:"};
    struct bytes rest = {r->in.data + r->at, r->in.len - r->at};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (rest.len >= strlen(same[i]) && memcmp(rest.data, same[i], strlen(same[i])) == 0)
            return err_ok();
    if (r->at == 0 && rest.len >= 4 && memcmp(rest.data, "(?i)", 4) == 0)
        return err_ok();
    return not_alike(r, "a group that is not supported");
}

/* An unescaped character inside [...]. */
static struct err rewrite_in_class(struct rewriter *r, uint8_t c)
{
    if (c == '[')
        return not_alike(r, "a class within a class");
    if (c == '&' && peek(r, 1) == '&')
        return not_alike(r, "an intersection of classes");
    r->in_class = c != ']';
    return err_ok();
}

static struct err rewrite_outside(struct rewriter *r, uint8_t c)
{
    if (c == '(' && peek(r, 1) == '?')
        return check_group(r);
    if (c == '(' && peek(r, 1) == '*')
        return not_alike(r, "a verb");
    if (c == '}' && peek(r, 1) == '+')
        return not_alike(r, "a quantifier {} followed by +");
    if (c == '[') {
        r->in_class = true;
        if (peek(r, 1) == '^') {
            buf_append_u8(r->out, '[');
            r->at++;
        }
        if (peek(r, 1) == ']')
            return not_alike(r, "a class that begins with ]");
    }
    return err_ok();
}

static struct err rewrite(struct buf *out, struct bytes pattern)
{
    struct rewriter r = {.in = pattern, .out = out};
    while (r.at < pattern.len) {
        if (pattern.data[r.at] == '\\') {
            TRY(rewrite_escape(&r));
            continue;
        }
        TRY(r.in_class ? rewrite_in_class(&r, pattern.data[r.at])
                       : rewrite_outside(&r, pattern.data[r.at]));
        buf_append_u8(out, pattern.data[r.at++]);
    }
    return err_ok();
}

struct err regex_compile(pcre2_code **out, struct bytes pattern, bool literal)
{
    BUF_AUTO rewritten = BUF_INIT;
    char shown[84];
    if (pattern.len == 0 || pattern.len > PATTERN_MAX)
        return err_set(ERR_LIMIT, "a pattern of %zu bytes where 1 to %d are allowed", pattern.len,
                       PATTERN_MAX);
    if (literal)
        buf_append_bytes(&rewritten, pattern);
    else
        TRY(rewrite(&rewritten, pattern));
    int code = 0;
    size_t where = 0;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    pcre2_code *regex = pcre2_compile(rewritten.data, rewritten.len, options, &code, &where, NULL);
    if (regex == NULL) {
        PCRE2_UCHAR message[160] = "";
        pcre2_get_error_message(code, message, sizeof message);
        return err_set(ERR_UNSUPPORTED, "regular expression \"%s\": %s (byte %zu, rewritten)",
                       printable(shown, pattern), (const char *)message, where);
    }
    (void)pcre2_jit_compile(regex,
                            PCRE2_JIT_COMPLETE); /* without JIT it is slower, not different */
    *out = regex;
    return err_ok();
}

void regex_free(pcre2_code *regex)
{
    pcre2_code_free(regex);
}

struct regex_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

struct err regex_matcher_new(struct regex_matcher **out)
{
    struct regex_matcher *m = calloc(1, sizeof *m);
    if (m == NULL)
        return err_set(ERR_MEMORY, "no memory for a matcher");
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    if (m->data == NULL || m->context == NULL) {
        regex_matcher_free(m);
        return err_set(ERR_MEMORY, "no memory for a matcher");
    }
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    *out = m;
    return err_ok();
}

void regex_matcher_free(struct regex_matcher *m)
{
    if (m == NULL)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    free(m);
}

struct err regex_find(struct regex_matcher *m, const pcre2_code *regex, struct bytes text,
                      size_t from, bool *found, struct text_span *match)
{
    uint64_t limit = MATCH_LIMIT_BASE + (uint64_t)MATCH_LIMIT_PER_BYTE * (text.len - from);
    pcre2_set_match_limit(m->context, (uint32_t)(limit < UINT32_MAX ? limit : UINT32_MAX));
    int rc = pcre2_match(regex, text.data, text.len, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its state on the heap */
        rc = pcre2_match(regex, text.data, text.len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         m->data, m->context);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH)
        return err_ok();
    if (rc < 0) {
        PCRE2_UCHAR message[160] = "";
        pcre2_get_error_message(rc, message, sizeof message);
        return err_set(ERR_LIMIT, "pre-tokenizing %zu bytes: %s", text.len, (const char *)message);
    }
    const size_t *ends = pcre2_get_ovector_pointer(m->data);
    *match = (struct text_span){ends[0], ends[1] - ends[0]};
    return err_ok();
}
