/*
 * Chat templates: an interpreter for the Jinja that `chat_template`s use, sandboxed (no file, no
 * attribute outside the values given) and bounded in steps, depth and output. Whitespace as
 * transformers sets it: trim_blocks and lstrip_blocks. A construct that is not supported is an
 * error when the template is loaded, with its line.
 *
 * A rendered prompt is a list of segments: those from the template itself may hold special tokens,
 * those that came from a message's text may not (so no user can forge a turn).
 */
#ifndef ENGINE_CHAT_TEMPLATE_H
#define ENGINE_CHAT_TEMPLATE_H

#include <jansson.h>

#include "common/buf.h"

struct chat_template;

/* ERR_MALFORMED (syntax) or ERR_UNSUPPORTED, with the line. At most 256 KiB. */
struct err chat_template_new(struct chat_template **out, struct bytes source) MUST_USE;
void chat_template_free(struct chat_template *t);

struct template_segment {
    size_t offset, len; /* in the rendered text */
    bool trusted;       /* written by the template: special tokens are recognised in it */
};

struct rendered {
    struct buf text;
    struct template_segment *segments; /* in order, covering the text */
    size_t n_segments;
};
void rendered_cleanup(struct rendered *r); /* zeroes the text first */

/* `variables` is an object: messages, add_generation_prompt, bos_token, eos_token, tools, ...
 * Strings below `variables["messages"]`, `variables["tools"]` and `variables["documents"]` are
 * untrusted, and so is every string made from one; the role names system, user, assistant and tool
 * and everything else are trusted. `now` is what strftime_now sees. ERR_USAGE when the template
 * calls raise_exception (its text is the message) or uses an undefined value in a way Jinja
 * refuses; ERR_LIMIT when it exceeds its bounds. */
struct err chat_template_render(const struct chat_template *t, struct rendered *out,
                                const json_t *variables, int64_t now) MUST_USE;

#endif
