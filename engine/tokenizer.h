/*
 * Tokenizers from Hugging Face's tokenizer.json: byte-level BPE with regex pre-tokenizers (PCRE2).
 * encode and decode agree with the `tokenizers` library on what is supported; anything else in the
 * file is refused at load, by name.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "common/buf.h"

struct tokenizer;

/* `json` is the file's contents. ERR_MALFORMED, ERR_UNSUPPORTED (names the key and value),
 * ERR_LIMIT. */
struct err tokenizer_new(struct tokenizer **out, struct bytes json) MUST_USE;
void tokenizer_free(struct tokenizer *t);

/* One over the highest id. */
unsigned tokenizer_n_tokens(const struct tokenizer *t);

/* Appends u32 ids (native order) to `out`. With `specials`, added special tokens in the text are
 * recognised (for rendered templates); without, they are plain text (for users' words). The
 * post-processor's BOS and EOS are added only with `post_process`. `text` must be UTF-8. Safe to
 * call from several threads. */
struct err tokenizer_encode(const struct tokenizer *t, struct buf *out, struct bytes text,
                            bool specials, bool post_process) MUST_USE;

/* The id of a token by its exact content; ERR_NOT_FOUND. */
struct err tokenizer_id(const struct tokenizer *t, const char *content, uint32_t *id) MUST_USE;
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);

/* The bytes of one token (the decoder applied to it alone); special tokens give their content.
 * ERR_USAGE for an id out of range. */
struct err tokenizer_token_bytes(const struct tokenizer *t, uint32_t id, struct buf *out) MUST_USE;

/* Streaming decode: bytes go in token by token, whole UTF-8 characters come out. Special tokens
 * are skipped. Bytes that can never become a character come out as U+FFFD. */
struct detokenizer {
    uint8_t pending[4];
    size_t n_pending;
};
struct err detokenizer_next(struct detokenizer *d, const struct tokenizer *t, uint32_t id,
                            struct buf *out) MUST_USE;
/* What is left at the end, as U+FFFD. */
void detokenizer_finish(struct detokenizer *d, struct buf *out);

#endif
