#include "engine/jinja_lex.h"

#include <string.h>

#include "engine/jinja_value.h"

enum { BRACKETS_MAX = 256 };

struct lexer {
    struct bytes source;
    size_t at;
    unsigned line;
    bool line_starts; /* what was read last ended a line, or nothing was read */
    struct buf *tokens;
    char brackets[BRACKETS_MAX];
    size_t n_brackets;
};

void jinja_normalize_newlines(struct buf *out, struct bytes source)
{
    for (size_t i = 0; i < source.len; i++) {
        if (source.data[i] != '\r') {
            buf_append_u8(out, source.data[i]);
            continue;
        }
        buf_append_u8(out, '\n');
        if (i + 1 < source.len && source.data[i + 1] == '\n')
            i++;
    }
    if (out->len > 0 && out->data[out->len - 1] == '\n')
        out->len--;
}

static struct bytes rest_of(const struct lexer *l)
{
    return bytes_of(l->source.data + l->at, l->source.len - l->at);
}

static bool starts_with(struct bytes text, const char *prefix)
{
    return text.len >= strlen(prefix) && memcmp(text.data, prefix, strlen(prefix)) == 0;
}

static void advance(struct lexer *l, size_t n)
{
    for (size_t i = 0; i < n; i++)
        l->line += l->source.data[l->at + i] == '\n';
    l->at += n;
    if (n > 0)
        l->line_starts = l->source.data[l->at - 1] == '\n';
}

static void emit(struct lexer *l, enum jinja_token_kind kind, struct bytes text)
{
    struct jinja_token t = {kind, l->line, text};
    buf_append(l->tokens, &t, sizeof t);
}

static size_t leading_space(struct bytes text)
{
    size_t i = 0, len = 0;
    while (i < text.len && jinja_is_space(jinja_char(text, i, &len)))
        i += len;
    return i;
}

static size_t without_trailing_space(struct bytes text)
{
    size_t end = text.len;
    while (end > 0) {
        size_t start = end - 1, len = 0;
        while (start > 0 && (text.data[start] & 0xc0) == 0x80)
            start--;
        if (!jinja_is_space(jinja_char(text, start, &len)))
            break;
        end = start;
    }
    return end;
}

/* The text before a tag, less what the tag's sign or lstrip_blocks takes. */
static struct bytes strip_before(const struct lexer *l, struct bytes text, int sign, bool print)
{
    if (sign == '-')
        return bytes_of(text.data, without_trailing_space(text));
    if (sign == '+' || print)
        return text;
    size_t line = text.len;
    while (line > 0 && text.data[line - 1] != '\n')
        line--;
    struct bytes last = bytes_of(text.data + line, text.len - line);
    bool blank = last.len > 0 && leading_space(last) == last.len;
    if (blank && (line > 0 || l->line_starts))
        return bytes_of(text.data, line);
    return text;
}

static int sign_at(const struct lexer *l, size_t at)
{
    int c = at < l->source.len ? l->source.data[at] : 0;
    return c == '-' || c == '+' ? c : 0;
}

/* The length of a tag's end at l->at with the white space that it takes, or 0. */
static size_t tag_end(const struct lexer *l, const char *end, bool trim)
{
    struct bytes rest = rest_of(l);
    size_t sign = rest.len > 0 && (rest.data[0] == '-' || (trim && rest.data[0] == '+')) ? 1 : 0;
    if (!starts_with(bytes_of(rest.data + sign, rest.len - sign), end))
        return 0;
    size_t n = sign + 2;
    struct bytes behind = bytes_of(rest.data + n, rest.len - n);
    if (sign == 1 && rest.data[0] == '-')
        n += leading_space(behind);
    else if (sign == 0 && trim && behind.len > 0 && behind.data[0] == '\n')
        n++;
    return n;
}

static struct err at_line(const struct lexer *l, const char *what)
{
    return err_set(ERR_MALFORMED, "chat template, line %u: %s", l->line, what);
}

/* A comment, from its "{#" on. */
static struct err skip_comment(struct lexer *l)
{
    advance(l, sign_at(l, l->at + 2) != 0 ? 3 : 2);
    while (l->at < l->source.len) {
        size_t n = tag_end(l, "#}", true);
        if (n > 0) {
            advance(l, n);
            return err_ok();
        }
        advance(l, 1);
    }
    return at_line(l, "a comment without its end");
}

/* The length of "{%- word" at `at` up to behind the word, or 0; *sign gets the sign. */
static size_t block_word(const struct lexer *l, size_t at, const char *word, int *sign)
{
    size_t start = at;
    struct bytes rest = bytes_of(l->source.data + at, l->source.len - at);
    if (!starts_with(rest, "{%"))
        return 0;
    *sign = sign_at(l, at + 2);
    at += *sign != 0 ? 3 : 2;
    at += leading_space(bytes_of(l->source.data + at, l->source.len - at));
    if (!starts_with(bytes_of(l->source.data + at, l->source.len - at), word))
        return 0;
    at += strlen(word);
    at += leading_space(bytes_of(l->source.data + at, l->source.len - at));
    return at - start;
}

/* {% raw %} ... {% endraw %}: `n` bytes lead up to the first tag's end. */
static struct err lex_raw(struct lexer *l, size_t n)
{
    advance(l, n);
    size_t end = tag_end(l, "%}", false);
    if (end == 0)
        return at_line(l, "a raw block's tag without its end");
    advance(l, end);
    size_t start = l->at;
    bool line_starts = l->line_starts;
    while (l->at < l->source.len) {
        int sign = 0;
        size_t word = block_word(l, l->at, "endraw", &sign);
        if (word == 0) {
            advance(l, 1);
            continue;
        }
        l->line_starts = line_starts;
        struct bytes text = bytes_of(l->source.data + start, l->at - start);
        text = strip_before(l, text, sign, false);
        if (text.len > 0)
            emit(l, TOKEN_TEXT, text);
        advance(l, word);
        size_t tag = tag_end(l, "%}", true);
        if (tag == 0)
            return at_line(l, "an endraw tag without its end");
        advance(l, tag);
        return err_ok();
    }
    return at_line(l, "a raw block without its end");
}

static bool is_name_byte(uint8_t c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80 ||
           (!first && c >= '0' && c <= '9');
}

static bool is_digit(struct bytes s, size_t at)
{
    return at < s.len && s.data[at] >= '0' && s.data[at] <= '9';
}

/* A string literal's length with its quotes, or 0 if it does not end. */
static size_t string_length(struct bytes rest)
{
    for (size_t i = 1; i < rest.len; i++) {
        if (rest.data[i] == '\\')
            i++;
        else if (rest.data[i] == rest.data[0])
            return i + 1;
    }
    return 0;
}

static size_t number_length(struct bytes rest, bool after_dot, bool *is_float)
{
    size_t n = 0;
    while (is_digit(rest, n))
        n++;
    *is_float = false;
    if (after_dot)
        return n;
    if (n < rest.len && rest.data[n] == '.' && is_digit(rest, n + 1)) {
        *is_float = true;
        for (n++; is_digit(rest, n);)
            n++;
    }
    if (n < rest.len && (rest.data[n] == 'e' || rest.data[n] == 'E')) {
        size_t e = n + 1;
        if (e < rest.len && (rest.data[e] == '+' || rest.data[e] == '-'))
            e++;
        if (is_digit(rest, e)) {
            *is_float = true;
            for (n = e; is_digit(rest, n);)
                n++;
        }
    }
    return n;
}

/* Brackets are matched here, so that }} inside a dict does not end the tag. */
static struct err match_bracket(struct lexer *l, char c)
{
    if (strchr("([{", c) != NULL) {
        if (l->n_brackets == BRACKETS_MAX)
            return at_line(l, "too many open brackets");
        l->brackets[l->n_brackets++] = c;
        return err_ok();
    }
    char open = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (l->n_brackets == 0 || l->brackets[l->n_brackets - 1] != open)
        return at_line(l, "a closing bracket that matches none");
    l->n_brackets--;
    return err_ok();
}

static struct err lex_operator(struct lexer *l, struct bytes rest)
{
    static const char *const twos[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 1;
    for (size_t i = 0; i < sizeof twos / sizeof twos[0]; i++)
        if (starts_with(rest, twos[i]))
            n = 2;
    if (rest.data[0] == 0 || strchr("+-/*%~[](){}=!<>.:|,;", rest.data[0]) == NULL ||
        (rest.data[0] == '!' && n == 1))
        return at_line(l, "an unexpected character in a tag");
    if (strchr("([{}])", rest.data[0]) != NULL)
        TRY(match_bracket(l, (char)rest.data[0]));
    emit(l, TOKEN_OPERATOR, bytes_of(rest.data, n));
    advance(l, n);
    return err_ok();
}

/* One token inside a tag; not at white space. */
static struct err lex_token(struct lexer *l)
{
    struct bytes rest = rest_of(l);
    bool is_float = false;
    enum jinja_token_kind kind = TOKEN_NAME;
    size_t n = 0;
    if (rest.data[0] == '\'' || rest.data[0] == '"') {
        kind = TOKEN_STRING;
        n = string_length(rest);
        if (n == 0)
            return at_line(l, "a string without its end");
    } else if (is_digit(rest, 0)) {
        bool after_dot = l->at > 0 && l->source.data[l->at - 1] == '.';
        n = number_length(rest, after_dot, &is_float);
        kind = is_float ? TOKEN_FLOAT : TOKEN_INTEGER;
        if (n < rest.len && is_name_byte(rest.data[n], true))
            return at_line(l, "a number in a form that is not supported");
    } else if (is_name_byte(rest.data[0], true)) {
        while (n < rest.len && is_name_byte(rest.data[n], false))
            n++;
    } else {
        return lex_operator(l, rest);
    }
    emit(l, kind, bytes_of(rest.data, n));
    advance(l, n);
    return err_ok();
}

static struct err lex_tag(struct lexer *l, bool print)
{
    emit(l, print ? TOKEN_PRINT_BEGIN : TOKEN_BLOCK_BEGIN, bytes_of(l->source.data + l->at, 2));
    advance(l, sign_at(l, l->at + 2) != 0 ? 3 : 2);
    l->n_brackets = 0;
    for (;;) {
        advance(l, leading_space(rest_of(l)));
        if (l->at == l->source.len)
            return at_line(l, "a tag without its end");
        size_t n = l->n_brackets == 0 ? tag_end(l, print ? "}}" : "%}", !print) : 0;
        if (n > 0) {
            emit(l, print ? TOKEN_PRINT_END : TOKEN_BLOCK_END, rest_of(l));
            advance(l, n);
            return err_ok();
        }
        TRY(lex_token(l));
    }
}

/* The place of the next "{{", "{%" or "{#", or the end. */
static size_t next_tag(const struct lexer *l)
{
    for (size_t i = l->at; i + 1 < l->source.len; i++)
        if (l->source.data[i] == '{' && strchr("{%#", l->source.data[i + 1]) != NULL &&
            l->source.data[i + 1] != 0)
            return i;
    return l->source.len;
}

struct err jinja_lex(struct buf *tokens, struct bytes source)
{
    if (source.len == 0)
        source = bytes_of_str(""); /* a pointer to count from */
    struct lexer l = {.source = source, .line = 1, .line_starts = true, .tokens = tokens};
    while (l.at < source.len) {
        size_t tag = next_tag(&l);
        bool at_end = tag == source.len;
        bool print = !at_end && source.data[tag + 1] == '{';
        struct bytes text = bytes_of(source.data + l.at, tag - l.at);
        if (!at_end)
            text = strip_before(&l, text, sign_at(&l, tag + 2), print);
        if (text.len > 0)
            emit(&l, TOKEN_TEXT, text);
        advance(&l, tag - l.at);
        int sign = 0;
        size_t raw = at_end ? 0 : block_word(&l, l.at, "raw", &sign);
        if (raw > 0 &&
            tag_end(&(struct lexer){.source = source, .at = l.at + raw}, "%}", false) > 0)
            TRY(lex_raw(&l, raw));
        else if (!at_end && source.data[tag + 1] == '#')
            TRY(skip_comment(&l));
        else if (!at_end)
            TRY(lex_tag(&l, print));
    }
    emit(&l, TOKEN_END, bytes_of(source.data + source.len, 0));
    return err_ok();
}
