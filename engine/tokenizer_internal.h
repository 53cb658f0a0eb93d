/*
 * What the tokenizer's files share: the loaded tokenizer and the steps of encoding. Everything here
 * is read-only after tokenizer_new, so encoding needs no lock.
 */
#ifndef ENGINE_TOKENIZER_INTERNAL_H
#define ENGINE_TOKENIZER_INTERNAL_H

#include <jansson.h>

#include "engine/tokenizer.h"
#include "engine/tokenizer_map.h"

#define NO_TOKEN UINT32_MAX

struct pcre2_real_code_8;
struct regex_matcher;

/* One token: what it decodes to, as a place in tokenizer.decoded. */
struct token {
    uint32_t offset, len;
    bool present, added, special;
    bool whole; /* a piece of just its bytes is encoded as this token alone */
};

/* One entry of added_tokens. */
struct added_token {
    uint32_t id;
    uint32_t len; /* bytes of the content as it is searched for */
    bool special, lstrip, rstrip, single_word;
};

/* A byte trie over added tokens. Edges: (node << 8 | byte) to node; node 0 is the root. */
struct added_trie {
    struct u64_map edges;
    struct u64_map ends; /* node to index in tokenizer.added */
    uint32_t n_nodes;
    bool first[256]; /* bytes that begin a token */
};

enum stage_kind {
    STAGE_PREFIX_SPACE,
    STAGE_ISOLATE,
    STAGE_KEEP_MATCHES,
    STAGE_DROP_MATCHES,
    STAGE_METASPACE, /* always the only one */
};

/* One step of the pre-tokenizer: a piece of text goes in, smaller pieces come out. */
struct stage {
    enum stage_kind kind;
    struct pcre2_real_code_8 *regex; /* owned; only of those that match */
};

/* Where Metaspace puts its mark: before every piece between added tokens, only at the start of the
 * text, or nowhere. */
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

enum normalizer_kind { NORMALIZER_NFC, NORMALIZER_PREPEND, NORMALIZER_REPLACE };

/* One step of the normalizer: `pattern` becomes `content`, or `content` goes before the text. */
struct normalizer {
    enum normalizer_kind kind;
    struct buf pattern, content;
};

/* What the decoder does besides joining the tokens. */
struct decoder {
    bool spaces;     /* U+2581 becomes a space */
    bool bytes;      /* <0x41> becomes the byte */
    bool strip_one;  /* one space goes from the start of the text */
    bool strip_mark; /* every U+2581 goes from the first token */
};

enum { N_STAGES_MAX = 16, N_POST_MAX = 16, N_NORMALIZERS_MAX = 8 };

/* U+2581, which stands for a space in vocabularies made by SentencePiece. */
#define METASPACE "\xe2\x96\x81"

struct tokenizer {
    struct token *tokens; /* (n_tokens), by id */
    uint32_t n_tokens;
    struct buf decoded;
    bool byte_level;             /* the vocabulary is in the byte-level alphabet; else characters */
    struct bytes_map by_bytes;   /* the model's vocabulary, as the bytes it stands for */
    struct bytes_map by_content; /* added tokens, and vocabulary outside the byte alphabet */
    uint32_t byte_ids[256];  /* of bytes, or of <0x00> to <0xFF>; NO_TOKEN where there is none */
    struct u64_map char_ids; /* without byte_level: code points that are tokens */
    struct u64_map joints;   /* without byte_level: last << 32 | first code point at any merge */
    struct u64_map merges;   /* left << 32 | right to rank */
    uint32_t *merged;        /* by rank: the token that a merge makes */
    size_t longest;          /* bytes of the longest token in by_bytes */
    bool ignore_merges, fuse_unk, byte_fallback;
    uint32_t unk_id; /* or NO_TOKEN */
    struct normalizer normalizers[N_NORMALIZERS_MAX];
    size_t n_normalizers;
    struct decoder decoder;
    enum prepend_scheme prepend; /* of STAGE_METASPACE */
    bool split;                  /* of STAGE_METASPACE */
    struct added_token *added;
    size_t n_added;
    struct added_trie raw, normalized; /* searched before and after the normalizer */
    struct stage stages[N_STAGES_MAX];
    size_t n_stages;
    uint32_t prefix[N_POST_MAX], suffix[N_POST_MAX]; /* of the post-processor */
    size_t n_prefix, n_suffix;
};

/* --- loading (tokenizer_load.c, tokenizer_added_load.c, tokenizer_stages.c) --- */

struct err tokenizer_load(struct tokenizer *t, const json_t *root) MUST_USE;
/* After the vocabulary is loaded. */
struct err tokenizer_load_added(struct tokenizer *t, const json_t *added) MUST_USE;
struct err read_token_id(uint32_t *out, const json_t *value, const char *content) MUST_USE;
/* Makes `id` present; it decodes to `bytes`. */
void set_decoded(struct tokenizer *t, uint32_t id, struct bytes bytes);
/* pre_tokenizer and post_processor. After the vocabulary is loaded. */
struct err tokenizer_load_stages(struct tokenizer *t, const json_t *root) MUST_USE;
/* Whether the pre-tokenizer has a ByteLevel: decides how the vocabulary is read. */
bool tokenizer_names_byte_level(const json_t *pre);
/* A Metaspace, as pre-tokenizer or decoder (`where`): its scheme. */
struct err tokenizer_metaspace(enum prepend_scheme *out, const json_t *metaspace,
                               const char *where) MUST_USE;
/* ERR_UNSUPPORTED or ERR_MALFORMED for `key`, naming it and the value. */
struct err refuse(const char *key, const json_t *value) MUST_USE;
/* A flag that may be absent or null; anything but true and false is malformed. */
struct err json_flag(bool *out, const json_t *object, const char *key, bool absent) MUST_USE;
/* Compares a string value; false for other types. */
bool json_is(const json_t *value, const char *text);
struct bytes json_bytes(const json_t *string);
/* The byte that a character of the byte-level alphabet stands for, or -1. */
int byte_of_char(int32_t c);
/* The first or the last character of valid UTF-8 that is not empty. */
int32_t first_char(struct bytes text, size_t *len);
int32_t last_char(struct bytes text);
/* The id of a token by content, or NO_TOKEN. */
uint32_t tokenizer_find(const struct tokenizer *t, struct bytes content);

/* --- regular expressions (tokenizer_regex.c) --- */

/* Compiles a pattern written for the library's engine (Oniguruma, Ruby syntax), or, with `literal`,
 * a fixed text. ERR_UNSUPPORTED names what the two engines would not understand alike. */
struct err regex_compile(struct pcre2_real_code_8 **out, struct bytes pattern,
                         bool literal) MUST_USE;
void regex_free(struct pcre2_real_code_8 *regex);
struct err regex_matcher_new(struct regex_matcher **out) MUST_USE;
void regex_matcher_free(struct regex_matcher *m);
/* The first match at or after `from` in valid UTF-8. *found says whether there is one. */
struct err regex_find(struct regex_matcher *m, const struct pcre2_real_code_8 *regex,
                      struct bytes text, size_t from, bool *found,
                      struct text_span *match) MUST_USE;

/* --- added tokens (tokenizer_added.c) --- */

void added_trie_cleanup(struct added_trie *trie);
struct err added_trie_put(struct added_trie *trie, struct bytes content, size_t index) MUST_USE;

/* Where the search stands in one text. */
struct added_search {
    const struct tokenizer *t;
    const struct added_trie *trie;
    struct bytes text;
    const struct text_span *trusted;
    size_t n_trusted;
    size_t at;   /* next byte to look at */
    size_t done; /* everything before was handed out */
};
/* The next added token at or after the search's place, leftmost and then longest. On true, *gap is
 * the plain text before it and *id the token; on false, *gap is the rest of the text. */
bool added_next(struct added_search *s, struct text_span *gap, uint32_t *id);

/* --- normalizing (tokenizer_normalize.c) --- */

struct span_list {
    struct text_span *at;
    size_t n, capacity;
};
void span_list_cleanup(struct span_list *l);
struct err span_list_add(struct span_list *l, size_t offset, size_t len) MUST_USE;

/* Adds the trusted parts of [part.offset, + part.len) of the old text, which now begins at `to`. */
struct err span_list_carry(struct span_list *spans, const struct text_span *trusted,
                           size_t n_trusted, struct text_span part, size_t to) MUST_USE;

/* Appends the NFC of `text` to `out`. Where `spans` is not NULL it gets the trusted spans of the
 * new text; a stretch that changed is trusted only if it lay wholly inside a trusted span. */
struct err normalize_nfc(struct buf *out, struct span_list *spans, struct bytes text,
                         const struct text_span *trusted, size_t n_trusted) MUST_USE;

/* --- the normalizer's steps (tokenizer_rewrite.c) --- */

struct err tokenizer_load_normalizer(struct tokenizer *t, const json_t *normalizer) MUST_USE;
void tokenizer_free_normalizer(struct tokenizer *t);
/* Where `pattern`, not empty, next begins at or after `from`; text.len if nowhere. */
size_t tokenizer_find_bytes(struct bytes text, size_t from, struct bytes pattern);
/* All steps; `out` and `spans` are empty at first. ERR_LIMIT over NORMALIZED_MAX bytes. */
struct err tokenizer_normalize(const struct tokenizer *t, struct buf *out, struct span_list *spans,
                               struct bytes text, const struct text_span *trusted,
                               size_t n_trusted) MUST_USE;

/* --- the decoder's settings (tokenizer_decoder.c) --- */

struct err tokenizer_load_decoder(struct tokenizer *t, const json_t *decoder) MUST_USE;
/* The byte that <0x41> and its like name, or -1. */
int byte_of_token(struct bytes content);
/* Without byte_level: appends what a token of the vocabulary decodes to inside a text. */
void tokenizer_decode_content(const struct tokenizer *t, struct buf *out, struct bytes content);

/* --- byte-pair encoding (tokenizer_bpe.c) --- */

enum { BPE_SHORT = 48 }; /* symbols that are merged without a heap */

struct bpe_scratch {
    struct bpe_symbol *symbols;
    uint64_t *heap;
    size_t capacity, heap_capacity;
    uint32_t ids[BPE_SHORT], ranks[BPE_SHORT];
};
void bpe_scratch_cleanup(struct bpe_scratch *s);
/* Finds the tokens that are `whole` (those over characters only with ignore_merges); after the
 * merges are loaded. */
struct err bpe_find_whole(struct tokenizer *t) MUST_USE;
/* Appends the ids of one pre-tokenized piece. */
struct err bpe_encode(const struct tokenizer *t, struct bpe_scratch *s, struct bytes piece,
                      struct buf *out) MUST_USE;

#endif
