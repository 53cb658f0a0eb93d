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

enum stage_kind { STAGE_PREFIX_SPACE, STAGE_ISOLATE, STAGE_KEEP_MATCHES, STAGE_DROP_MATCHES };

/* One step of the pre-tokenizer: a piece of text goes in, smaller pieces come out. */
struct stage {
    enum stage_kind kind;
    struct pcre2_real_code_8 *regex; /* owned; NULL for STAGE_PREFIX_SPACE */
};

enum { N_STAGES_MAX = 16, N_POST_MAX = 16 };

struct tokenizer {
    struct token *tokens; /* (n_tokens), by id */
    uint32_t n_tokens;
    struct buf decoded;
    struct bytes_map by_bytes;   /* the model's vocabulary, as the bytes it stands for */
    struct bytes_map by_content; /* added tokens, and vocabulary outside the byte alphabet */
    uint32_t byte_ids[256];      /* NO_TOKEN where the vocabulary lacks the byte */
    struct u64_map merges;       /* left << 32 | right to rank << 32 | merged */
    bool ignore_merges, fuse_unk, nfc;
    uint32_t unk_id; /* or NO_TOKEN */
    struct added_token *added;
    size_t n_added;
    struct added_trie raw, normalized; /* searched before and after the normalizer */
    struct stage stages[N_STAGES_MAX];
    size_t n_stages;
    uint32_t prefix[N_POST_MAX], suffix[N_POST_MAX]; /* of the post-processor */
    size_t n_prefix, n_suffix;
};

/* --- loading (tokenizer_load.c, tokenizer_stages.c) --- */

struct err tokenizer_load(struct tokenizer *t, const json_t *root) MUST_USE;
/* normalizer, pre_tokenizer, post_processor, decoder. After the vocabulary is loaded. */
struct err tokenizer_load_stages(struct tokenizer *t, const json_t *root) MUST_USE;
/* ERR_UNSUPPORTED or ERR_MALFORMED for `key`, naming it and the value. */
struct err refuse(const char *key, const json_t *value) MUST_USE;
/* A flag that may be absent or null; anything but true and false is malformed. */
struct err json_flag(bool *out, const json_t *object, const char *key, bool absent) MUST_USE;
/* Compares a string value; false for other types. */
bool json_is(const json_t *value, const char *text);
struct bytes json_bytes(const json_t *string);
/* The byte that a character of the byte-level alphabet stands for, or -1. */
int byte_of_char(int32_t c);
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

/* Appends the NFC of `text` to `out`. Where `spans` is not NULL it gets the trusted spans of the
 * new text; a stretch that changed is trusted only if it lay wholly inside a trusted span. */
struct err normalize_nfc(struct buf *out, struct span_list *spans, struct bytes text,
                         const struct text_span *trusted, size_t n_trusted) MUST_USE;

/* --- byte-pair encoding (tokenizer_bpe.c) --- */

struct bpe_scratch {
    struct bpe_symbol *symbols;
    uint64_t *heap;
    size_t capacity; /* symbols */
};
void bpe_scratch_cleanup(struct bpe_scratch *s);
/* Appends the ids of one pre-tokenized piece. */
struct err bpe_encode(const struct tokenizer *t, struct bpe_scratch *s, struct bytes piece,
                      struct buf *out) MUST_USE;

#endif
