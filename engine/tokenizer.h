/*
 * Tokenizers from Hugging Face's tokenizer.json: BPE over bytes with regex pre-tokenizers (PCRE2),
 * and BPE over characters with marks for spaces and tokens for bytes, as conversions from
 * SentencePiece have it. encode and decode agree with the `tokenizers` library on what is
 * supported; anything else in the file is refused at load, by name.
 *
 * Always: normalizer null, NFC, Prepend, Replace of a String, or a Sequence of these; model BPE
 * without dropout, prefixes or suffixes; post-processor null, ByteLevel, TemplateProcessing (its
 * `single`) or a Sequence of these.
 * Over bytes: pre-tokenizer ByteLevel, or a Sequence of Split (Isolated, or Removed with or without
 * invert) and Digits that ends in ByteLevel; no byte fallback; decoder ByteLevel.
 * Over characters, when the pre-tokenizer has no ByteLevel: pre-tokenizer null or Metaspace (mark
 * U+2581, every prepend_scheme, split or not; older files' add_prefix_space); byte fallback and an
 * unknown token, neither of which may be in a merge; decoder Metaspace, or a Sequence of Replace
 * (U+2581 by a space), ByteFallback, Fuse and Strip (one space from the start), of which only Fuse
 * must be there.
 *
 * Deliberate differences from the library. The model's own merges never yield a special token: only
 * added-token matching does, so text that is not trusted can never become one (characters outside
 * the vocabulary may still become the unknown token). A special token that may not be recognised
 * does not hide another added token that overlaps it; white space that a token's rstrip takes is
 * not searched for more tokens. Over bytes, an added token always decodes to its content. Special
 * tokens are skipped in decoding even where a normalizer put a mark into what they are searched
 * for, and no mark is taken from an added token at the start of a text. Bytes from byte fallback
 * come out as soon as they are a character, and a broken character as one U+FFFD, where the library
 * gives one for each byte of the whole run of bytes. Characters younger than the tables at hand are
 * classed differently: patterns know Unicode 14 (Debian's PCRE2; the library: 16), and NFC
 * composes and orders as Unicode 15 says (utf8proc; the library: as Unicode 9 does).
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "common/buf.h"

enum {
    TOKENIZER_JSON_MAX = 64 << 20, /* bytes of tokenizer.json */
    TOKENIZER_TEXT_MAX = 16 << 20, /* bytes of one text to encode */
    TOKENIZER_ID_MAX = (1 << 22) - 1,
};

struct tokenizer;

/* `json` is the file's contents. ERR_MALFORMED, ERR_UNSUPPORTED (names the key and value),
 * ERR_LIMIT. Ids need not be dense; an id without a token is never produced. */
struct err tokenizer_new(struct tokenizer **out, struct bytes json) MUST_USE;
void tokenizer_free(struct tokenizer *t);

/* One over the highest id. */
unsigned tokenizer_n_tokens(const struct tokenizer *t);
bool tokenizer_has(const struct tokenizer *t, uint32_t id);

/* Appends u32 ids (native order) to `out`. With `specials`, added special tokens in the text are
 * recognised (for rendered templates); without, they are plain text (for users' words). Added
 * tokens that are not special are ordinary vocabulary and recognised in both cases. The
 * post-processor's BOS and EOS are added only with `post_process`. `text` must be UTF-8
 * (ERR_MALFORMED), at most TOKENIZER_TEXT_MAX bytes (ERR_LIMIT). `out` is untouched on failure.
 * Safe to call from several threads. As in the library, a byte for which the vocabulary has neither
 * a token nor an unknown token yields nothing. */
struct err tokenizer_encode(const struct tokenizer *t, struct buf *out, struct bytes text,
                            bool specials, bool post_process) MUST_USE;

struct text_span {
    size_t offset, len;
};

/* As tokenizer_encode without post-processing: the text is tokenised as one, and added special
 * tokens are recognised only where they lie wholly inside one of the trusted spans. Spans ascend
 * and don't overlap (ERR_USAGE). So a rendered chat gets the ids that the `tokenizers` library
 * gives, whenever no untrusted part holds a special token's content. */
struct err tokenizer_encode_spans(const struct tokenizer *t, struct buf *out, struct bytes text,
                                  const struct text_span *trusted, size_t n_trusted) MUST_USE;

/* The id of a token by its exact content in tokenizer.json; ERR_NOT_FOUND. */
struct err tokenizer_id(const struct tokenizer *t, const char *content, uint32_t *id) MUST_USE;
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);

/* The bytes of one token as they are inside a text (so with the space before a word); special
 * tokens give their content. ERR_USAGE for an id out of range or without a token. */
struct err tokenizer_token_bytes(const struct tokenizer *t, uint32_t id, struct buf *out) MUST_USE;

/* Streaming decode: bytes go in token by token, whole UTF-8 characters come out. Special tokens
 * are skipped. Bytes that can never become a character come out as U+FFFD, one for each maximal
 * part of a sequence (Unicode 3.9). Zero-initialised it stands at the start of a text, where some
 * decoders take a space away; set `started` to go on with a text that has begun. */
struct detokenizer {
    uint8_t pending[4];
    size_t n_pending;
    bool started; /* a token that is not special has come */
};
struct err detokenizer_next(struct detokenizer *d, const struct tokenizer *t, uint32_t id,
                            struct buf *out) MUST_USE;
/* What is left at the end, as U+FFFD. */
void detokenizer_finish(struct detokenizer *d, struct buf *out);

#endif
