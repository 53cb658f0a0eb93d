#include "bench/texts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

enum { FILE_MAX = 1 << 20, PARTS_MAX = 1 << 16, RARE_WORDS = 60000, HAN_WORDS = 20000, HAN = 3500 };

/* Words or lines of files, as views into `text`. */
struct parts {
    struct buf text;
    struct bytes at[PARTS_MAX];
    size_t n;
};

static void parts_free(struct parts **p)
{
    if (*p != NULL)
        buf_cleanup(&(*p)->text);
    free(*p);
}

/* splitmix64 (Steele and others, OOPSLA 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static size_t below(uint64_t *state, size_t n)
{
    return (size_t)(next(state) % n);
}

/* A rank below n; rank r is about 1 / r as frequent as the first (Zipf's law). */
static size_t rank_below(uint64_t *state, size_t n)
{
    double u = (double)(next(state) >> 11) * 0x1p-53;
    size_t rank = (size_t)pow((double)n, u) - 1;
    return rank < n ? rank : n - 1;
}

static struct err read_parts(struct parts **out, const char *const *paths, const char *ends)
{
    struct parts *p __attribute__((cleanup(parts_free))) = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(ERR_MEMORY, "no memory for texts");
    for (size_t i = 0; paths[i] != NULL; i++)
        TRY(file_read(&p->text, paths[i], FILE_MAX));
    const char *text = buf_str(&p->text);
    for (size_t at = 0; at < p->text.len && p->n < PARTS_MAX;) {
        size_t len = strcspn(text + at, ends);
        if (len > 0)
            p->at[p->n++] = bytes_of(text + at, len);
        at += len + 1;
    }
    *out = p;
    p = NULL;
    return err_ok();
}

/* The rare word of that rank, always the same. */
static void append_rare(struct buf *out, size_t rank)
{
    static const char *const starts[] = {"b", "br", "c",  "ch", "d",  "f", "g", "gr",
                                         "h", "j",  "k",  "l",  "m",  "n", "p", "pr",
                                         "r", "s",  "st", "t",  "th", "v", "w", "z"};
    static const char *const middles[] = {"a", "e", "i", "o", "u", "ai", "ea", "ou"};
    static const char *const ends[] = {"", "n", "r", "s", "t", "l", "m", "nd", "ck", "ng"};
    uint64_t state = rank;
    for (size_t i = 0, n = 1 + below(&state, 4); i <= n; i++) {
        buf_append_str(out, starts[below(&state, sizeof starts / sizeof *starts)]);
        buf_append_str(out, middles[below(&state, sizeof middles / sizeof *middles)]);
        buf_append_str(out, ends[below(&state, sizeof ends / sizeof *ends)]);
    }
}

static void append_prose(struct buf *out, const struct parts *words, uint64_t *state)
{
    size_t at = below(state, words->n);
    for (size_t n = 6 + below(state, 14); n > 0; n--, at = (at + 1) % words->n) {
        if (below(state, 12) == 0)
            append_rare(out, rank_below(state, RARE_WORDS));
        else if (below(state, 60) == 0)
            buf_printf(out, "%zu", below(state, 3000));
        else
            buf_append_bytes(out, words->at[at]);
        buf_append_str(out, n > 1 ? " " : below(state, 8) == 0 ? ".\n\n" : ". ");
    }
}

static void append_code(struct buf *out, const struct parts *lines, uint64_t *state)
{
    struct bytes line = lines->at[below(state, lines->n)];
    buf_append_bytes(out, line);
    if (below(state, 2) == 0) {
        buf_append_str(out, "  # ");
        append_rare(out, rank_below(state, RARE_WORDS));
        buf_append_str(out, "_");
        append_rare(out, rank_below(state, RARE_WORDS));
        buf_printf(out, "(x[%zu])", below(state, 200));
    }
    buf_append_str(out, "\n");
}

static void append_char(struct buf *out, unsigned c)
{
    buf_append_u8(out, (uint8_t)(0xe0 | c >> 12));
    buf_append_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    buf_append_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
}

static void append_cjk(struct buf *out, uint64_t *state)
{
    for (size_t n = 4 + below(state, 16); n > 0; n--) {
        uint64_t word = rank_below(state, HAN_WORDS);
        for (size_t k = 1 + below(&word, 3); k > 0; k--)
            append_char(out, 0x4e00 + (unsigned)(rank_below(&word, HAN) * 7919 % 0x51a5));
        if (below(state, 3) == 0)
            append_char(out, 0x3042 + (unsigned)below(state, 80)); /* hiragana */
    }
    append_char(out, below(state, 3) == 0 ? 0x3002 : 0xff0c); /* full stop, comma */
}

static void append_mixed(struct buf *out, const struct parts *words, const struct parts *lines,
                         uint64_t *state)
{
    static const char *const bits[] = {"\xf0\x9f\x99\x82 ",
                                       "caf\xc3\xa9 ",
                                       "https://example.org/",
                                       "\n\n",
                                       "3.14 ",
                                       "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5"
                                       "\xd1\x80 "};
    size_t kind = below(state, 4);
    if (kind == 0)
        append_prose(out, words, state);
    else if (kind == 1)
        append_code(out, lines, state);
    else if (kind == 2)
        append_cjk(out, state);
    else
        buf_append_str(out, bits[below(state, sizeof bits / sizeof *bits)]);
}

const char *text_kind_name(enum text_kind kind)
{
    static const char *const names[N_TEXT_KINDS] = {"prose", "code", "CJK", "mixed"};
    return names[kind];
}

struct err text_make(struct buf *out, enum text_kind kind, size_t len, uint64_t seed)
{
    static const char *const prose[] = {"models/training/data/everyday.txt",
                                        "models/training/data/inference.txt",
                                        "models/training/data/log.txt",
                                        "models/training/data/attestation.txt",
                                        "models/training/data/unknown.txt",
                                        "LICENSE",
                                        NULL};
    static const char *const code[] = {"models/training/model.py",
                                       "models/training/train.py",
                                       "models/training/evaluate.py",
                                       "tests/golden/make_tokenizer_golden.py",
                                       "tests/golden/make_template_golden.py",
                                       NULL};
    struct parts *words __attribute__((cleanup(parts_free))) = NULL;
    struct parts *lines __attribute__((cleanup(parts_free))) = NULL;
    TRY(read_parts(&words, prose, " \n"));
    TRY(read_parts(&lines, code, "\n"));
    uint64_t state = seed;
    for (size_t end = out->len + len; out->len < end;)
        if (kind == TEXT_PROSE)
            append_prose(out, words, &state);
        else if (kind == TEXT_CODE)
            append_code(out, lines, &state);
        else if (kind == TEXT_CJK)
            append_cjk(out, &state);
        else
            append_mixed(out, words, lines, &state);
    return err_ok();
}
