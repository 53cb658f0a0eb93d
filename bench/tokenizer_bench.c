/*
 * Encoding, on one core and in CPU time: bytes a second against a bare scan of the same text with
 * the same regular expressions (PCRE2's JIT), which encoding cannot do without. Byte-level
 * vocabularies of real size are trained on texts of the same kind with another seed; the
 * vocabularies over characters are the small ones of the tests, which leave more to the merges than
 * real ones. Then texts that are made to be slow: one word of a megabyte must cost about as much a
 * byte as one of a sixteenth.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/bpe_train.h"
#include "bench/texts.h"
#include "common/file.h"
#include "common/text.h"
#include "engine/tokenizer_internal.h"

enum {
    TEXT_LEN = 1 << 20,
    PROMPT_LEN = 4 << 10,
    TRAIN_LEN = 3 << 20, /* of each kind */
    VOCAB = 128000,
    TINY = 32, /* what lengths are divided by with --tiny */
};

struct text {
    struct buf bytes;
    struct series scan, encode;
    char hash[17];
};

struct texts {
    struct text of[N_TEXT_KINDS];
};

static void texts_cleanup(struct texts *t)
{
    for (size_t i = 0; i < N_TEXT_KINDS; i++)
        buf_cleanup(&t->of[i].bytes);
}

/* Seconds of finding every match of every stage's expression. */
static double scan_s(const struct tokenizer *t, struct bytes text)
{
    struct regex_matcher *matcher = NULL;
    must(regex_matcher_new(&matcher));
    double start = seconds_cpu();
    for (size_t i = 0; i < t->n_stages; i++)
        for (size_t at = 0; t->stages[i].regex != NULL && at < text.len;) {
            bool found = false;
            struct text_span m = {0, 0};
            must(regex_find(matcher, t->stages[i].regex, text, at, &found, &m));
            at = found && m.len > 0 ? m.offset + m.len : text.len;
        }
    double seconds = seconds_cpu() - start;
    regex_matcher_free(matcher);
    return seconds;
}

/* Seconds of encoding `text` in parts of at most `part` bytes; the ids' hash. */
static double encode_s(const struct tokenizer *t, struct bytes text, size_t part, char hash[17])
{
    BUF_AUTO ids = BUF_INIT;
    double start = seconds_cpu();
    for (size_t at = 0, end = 0; at < text.len; at = end) {
        end = text.len - at < part ? text.len : at + part;
        while (end < text.len && (text.data[end] & 0xc0) == 0x80)
            end++;
        must(tokenizer_encode(t, &ids, bytes_of(text.data + at, end - at), false, false));
    }
    double seconds = seconds_cpu() - start;
    struct sha256_stream *stream = sha256_new();
    sha256_update(stream, buf_bytes(&ids));
    hash_text(hash, stream);
    return seconds;
}

static double megabytes(const struct text *t)
{
    return (double)t->bytes.len / 1e6;
}

static void measure_texts(struct results *r, const struct bench_options *o,
                          const struct tokenizer *t, struct texts *texts)
{
    struct text *prose = &texts->of[TEXT_PROSE];
    struct series prompts = {0};
    char hash[17];
    bool scans = t->n_stages > 0 && t->stages[t->n_stages - 1].regex != NULL;
    for (unsigned round = 0; round < o->n_rounds; round++) {
        for (struct text *x = texts->of; x < texts->of + N_TEXT_KINDS; x++) {
            x->scan.n = x->encode.n = round;
            if (scans)
                series_add(&x->scan, megabytes(x) / scan_s(t, buf_bytes(&x->bytes)));
            series_add(&x->encode,
                       megabytes(x) / encode_s(t, buf_bytes(&x->bytes), SIZE_MAX, x->hash));
        }
        series_add(&prompts,
                   megabytes(prose) / encode_s(t, buf_bytes(&prose->bytes), PROMPT_LEN, hash));
    }
    for (size_t kind = 0; kind < N_TEXT_KINDS; kind++) {
        struct text *x = &texts->of[kind];
        results_add_series(r, text_kind_name((enum text_kind)kind), &x->encode, 1, "MB/s",
                           scans ? "scan with its regular expressions" : NULL, &x->scan, x->hash);
    }
    results_add_series(r, "prose, prompts of 4 KiB", &prompts, 1, "MB/s", "prose at once",
                       &prose->encode, hash);
}

/* What a text costs a byte when it is 16 times as long: 1 is linear. */
static void measure_hostile(struct results *r, const struct bench_options *o,
                            const struct tokenizer *t, const char *unit_text, const char *name)
{
    BUF_AUTO text = BUF_INIT;
    struct series whole = {0}, part = {0};
    char hash[17], unused[17];
    while (text.len < (o->tiny ? TEXT_LEN / TINY : TEXT_LEN))
        buf_append_str(&text, unit_text);
    for (unsigned round = 0; round < o->n_rounds; round++) {
        double mb = (double)text.len / 1e6;
        series_add(&whole, mb / encode_s(t, buf_bytes(&text), SIZE_MAX, hash));
        series_add(&part, mb / encode_s(t, buf_bytes(&text), text.len / 16, unused));
    }
    results_add_series(r, name, &whole, 1, "MB/s", "16 words as long together", &part, hash);
}

static void measure_tokenizer(struct results *r, const struct bench_options *o,
                              const struct tokenizer *t, struct texts *texts)
{
    measure_texts(r, o, t, texts);
    measure_hostile(r, o, t, "a", "one word of 'a'");
    measure_hostile(r, o, t, "ab\xc3\xa9xyzzy", "one word of letters");
    measure_hostile(r, o, t, " ", "spaces");
}

static struct tokenizer *load(struct bytes json)
{
    struct tokenizer *t = NULL;
    must(tokenizer_new(&t, json));
    return t;
}

/* Validating and copying: nothing that reads a text can be faster. */
static void measure_bounds(struct results *r, const struct bench_options *o, struct texts *texts)
{
    results_group(r, "text, one core");
    for (size_t kind = 0; kind < N_TEXT_KINDS; kind++) {
        struct text *x = &texts->of[kind];
        struct series valid = {0};
        char name[64];
        for (unsigned round = 0; round < o->n_rounds; round++) {
            double start = seconds_cpu();
            bool ok = utf8_valid(buf_bytes(&x->bytes));
            series_add(&valid, megabytes(x) / (seconds_cpu() - start));
            if (!ok)
                must(err_set(ERR_MALFORMED, "the text to tokenize is not UTF-8"));
        }
        snprintf(name, sizeof name, "UTF-8 check, %s", text_kind_name((enum text_kind)kind));
        results_add_series(r, name, &valid, 1, "MB/s", NULL, NULL, NULL);
    }
}

static void measure_trained(struct results *r, const struct bench_options *o, const char *style,
                            struct bytes corpus, struct texts *texts)
{
    char path[80];
    BUF_AUTO like = BUF_INIT, json = BUF_INIT;
    unsigned n = 0;
    snprintf(path, sizeof path, "tests/golden/tokenizer_%s.json", style);
    must(file_read(&like, path, TOKENIZER_JSON_MAX));
    must(bpe_train(&json, &n, buf_bytes(&like), corpus, VOCAB));
    double start = seconds_cpu();
    struct tokenizer *t = load(buf_bytes(&json));
    double seconds = seconds_cpu() - start;
    results_group(r, "tokenizer like %s, %u tokens, one core", style, n);
    results_add(r, &(struct result){.name = "load", .unit = "ms", .value = 1e3 * seconds});
    measure_tokenizer(r, o, t, texts);
    tokenizer_free(t);
}

static void measure_small(struct results *r, const struct bench_options *o, const char *path,
                          struct texts *texts)
{
    BUF_AUTO json = BUF_INIT;
    must(file_read(&json, path, TOKENIZER_JSON_MAX));
    struct tokenizer *t = load(buf_bytes(&json));
    results_group(r, "tokenizer %s, %u tokens, one core", path, tokenizer_n_tokens(t));
    measure_tokenizer(r, o, t, texts);
    tokenizer_free(t);
}

void bench_tokenizer(struct results *r, const struct bench_options *o)
{
    static const char *const styles[] = {"llama3", "gpt2", "qwen2", "smol"};
    static const char *const small[] = {
        "models/demo/tokenizer.json",
        "tests/golden/tokenizer_spm_llama2.json",
        "tests/golden/tokenizer_spm_metaspace.json",
    };
    struct texts texts __attribute__((cleanup(texts_cleanup))) = {0};
    BUF_AUTO corpus = BUF_INIT;
    size_t divisor = o->tiny ? TINY : 1;
    for (size_t kind = 0; kind < N_TEXT_KINDS; kind++) {
        must(text_make(&texts.of[kind].bytes, (enum text_kind)kind, TEXT_LEN / divisor, 1));
        must(text_make(&corpus, (enum text_kind)kind, TRAIN_LEN / divisor, 2));
    }
    measure_bounds(r, o, &texts);
    for (size_t i = 0; i < (o->tiny ? 1 : sizeof styles / sizeof *styles); i++)
        measure_trained(r, o, styles[i], buf_bytes(&corpus), &texts);
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        measure_small(r, o, small[i], &texts);
}
