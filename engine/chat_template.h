/*
 * Chat templates: an interpreter for the Jinja that `chat_template`s use, sandboxed (no file, no
 * attribute outside the values given) and bounded in steps, depth and output. Whitespace as
 * transformers sets it: trim_blocks and lstrip_blocks. A construct that is not supported is an
 * error when the template is loaded, with its line.
 *
 * A rendered prompt is a list of segments: those from the template itself may hold special tokens,
 * those that came from a message's text may not (so no user can forge a turn).
 *
 * Supported: text, {{ }}, comments, raw, if, for (with if and else), set (also of namespaces and of
 * blocks), filter, macro, break, continue, generation; all operators but % on strings; the filters,
 * tests, methods and functions in the tables of jinja_filters.c, jinja_sequences.c, jinja_order.c,
 * jinja_tests.c, jinja_methods.c and jinja_functions.c. Undefined behaves as Jinja's default
 * Undefined.
 *
 * Bounds (jinja_value.h): source 256 KiB; output and any one string 16 MiB; 1,000,000 steps, each
 * 64 bytes handled being one; 128 MiB of values; nodes nested 600 deep and macros 64 deep, which
 * takes less than 1 MiB of stack. Integers have 63 bits and a sign.
 */
#ifndef ENGINE_CHAT_TEMPLATE_H
#define ENGINE_CHAT_TEMPLATE_H

#include <jansson.h>

#include "common/buf.h"

struct chat_template;

/* ERR_MALFORMED (syntax) or ERR_UNSUPPORTED, with the line; ERR_LIMIT. At most 256 KiB of UTF-8. */
struct err chat_template_new(struct chat_template **out, struct bytes source) MUST_USE;
void chat_template_free(struct chat_template *t);

struct template_segment {
    size_t offset, len; /* in the rendered text */
    bool trusted;       /* written by the template: special tokens are recognised in it */
};

struct rendered {
    struct buf text;
    struct template_segment *segments; /* in order, covering the text; neighbours differ in trust */
    size_t n_segments;
};
void rendered_cleanup(struct rendered *r); /* zeroes the text first */

/* `variables` is an object: messages, add_generation_prompt, bos_token, eos_token, tools, ...
 * Strings below `variables["messages"]`, `variables["tools"]` and `variables["documents"]` are
 * untrusted, and so is every string made from one; joining, slicing, trimming, splitting and
 * replacing keep what the template wrote trusted. The role names system, user, assistant, tool and
 * developer and everything else are trusted. `now` is what strftime_now sees (UTC). ERR_USAGE when
 * the template calls raise_exception (its text is the message) or does what Jinja refuses, such as
 * an attribute of an undefined value (with the line); ERR_LIMIT when it exceeds its bounds. Such a
 * message may quote the conversation: it is for the one who asked, never for a log. A
 * template may be rendered by several threads at once; `variables` is only read. */
struct err chat_template_render(const struct chat_template *t, struct rendered *out,
                                const json_t *variables, int64_t now) MUST_USE;

#endif
