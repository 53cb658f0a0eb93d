/*
 * Tokens of a template. Whitespace is handled here, as Jinja's lexer does with trim_blocks and
 * lstrip_blocks on and keep_trailing_newline off; so the parser sees only text that will be
 * written.
 */
#ifndef ENGINE_JINJA_LEX_H
#define ENGINE_JINJA_LEX_H

#include "common/buf.h"

enum jinja_token_kind {
    TOKEN_TEXT,
    TOKEN_PRINT_BEGIN, /* {{ */
    TOKEN_PRINT_END,
    TOKEN_BLOCK_BEGIN, /* {% */
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING, /* with its quotes and escapes */
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR,
    TOKEN_END,
};

struct jinja_token {
    enum jinja_token_kind kind;
    unsigned line;
    struct bytes text; /* in the source given to jinja_lex */
};

/* Newlines as Jinja sees them: every kind becomes \n, and one at the end is dropped. */
void jinja_normalize_newlines(struct buf *out, struct bytes source);

/* Appends the tokens (struct jinja_token, last TOKEN_END) of a source with normalized newlines.
 * ERR_MALFORMED with the line. */
struct err jinja_lex(struct buf *tokens, struct bytes source) MUST_USE;

#endif
