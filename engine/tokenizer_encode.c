/*
 * Encoding: added tokens are cut out, the rest is normalized, searched for normalized added tokens,
 * cut by the pre-tokenizer's stages and encoded piece by piece.
 */
#include "engine/tokenizer_internal.h"

#include <string.h>

#include "common/text.h"

struct encoder {
    const struct tokenizer *t;
    struct regex_matcher *matcher;
    struct bpe_scratch scratch;
    struct buf *out;
    bool at_start; /* the piece begins where the text begins */
};

static void encoder_cleanup(struct encoder *e)
{
    regex_matcher_free(e->matcher);
    bpe_scratch_cleanup(&e->scratch);
}

static struct err encode_stage(struct encoder *e, size_t stage, struct bytes piece);

/* One piece of a stage's split goes on to the next stage unless it is dropped. */
static struct err encode_part(struct encoder *e, size_t stage, struct bytes piece,
                              struct text_span part, bool is_match)
{
    enum stage_kind kind = e->t->stages[stage].kind;
    bool dropped =
        (kind == STAGE_KEEP_MATCHES && !is_match) || (kind == STAGE_DROP_MATCHES && is_match);
    if (part.len == 0 || dropped)
        return err_ok();
    return encode_stage(e, stage + 1, (struct bytes){piece.data + part.offset, part.len});
}

static size_t char_len(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static struct err encode_split(struct encoder *e, size_t stage, struct bytes piece)
{
    size_t done = 0, from = 0;
    while (from < piece.len) {
        bool found = false;
        struct text_span m = {0, 0};
        TRY(regex_find(e->matcher, e->t->stages[stage].regex, piece, from, &found, &m));
        if (!found)
            break;
        size_t end = m.offset + m.len;
        TRY(encode_part(e, stage, piece, (struct text_span){done, m.offset - done}, false));
        TRY(encode_part(e, stage, piece, m, true));
        done = end;
        /* An empty match splits and gives nothing; the search goes on behind the next character. */
        from = m.len > 0 || end == piece.len ? end : end + char_len(piece.data[end]);
        if (m.len == 0 && end == piece.len)
            break;
    }
    return encode_part(e, stage, piece, (struct text_span){done, piece.len - done}, false);
}

static struct err encode_with_space(struct encoder *e, size_t stage, struct bytes piece)
{
    BUF_AUTO longer = BUF_INIT;
    buf_append_u8(&longer, ' ');
    buf_append_bytes(&longer, piece);
    struct err result = encode_stage(e, stage + 1, buf_bytes(&longer));
    buf_cleanup_secret(&longer);
    return result;
}

/* Spaces become marks, each of which begins a new piece if the file says so. */
static struct err encode_metaspace(struct encoder *e, struct bytes piece)
{
    static const struct bytes mark = {(const uint8_t *)METASPACE, sizeof METASPACE - 1};
    bool has_mark = piece.data[0] == ' ' ||
                    (piece.len >= mark.len && memcmp(piece.data, mark.data, mark.len) == 0);
    bool wanted =
        e->t->prepend == PREPEND_ALWAYS || (e->t->prepend == PREPEND_FIRST && e->at_start);
    struct buf marked __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    if (wanted && !has_mark)
        buf_append_bytes(&marked, mark);
    for (size_t i = 0; i < piece.len; i++)
        if (piece.data[i] == ' ')
            buf_append_bytes(&marked, mark);
        else
            buf_append_u8(&marked, piece.data[i]);
    for (size_t at = 0, end = 0; at < marked.len; at = end) {
        end = e->t->split ? tokenizer_find_bytes(buf_bytes(&marked), at + 1, mark) : marked.len;
        TRY(bpe_encode(e->t, &e->scratch, bytes_of(marked.data + at, end - at), e->out));
    }
    return err_ok();
}

/* Recursion is as deep as there are stages, at most N_STAGES_MAX. */
static struct err encode_stage(struct encoder *e, size_t stage, struct bytes piece)
{
    if (stage == e->t->n_stages)
        return bpe_encode(e->t, &e->scratch, piece, e->out);
    if (e->t->stages[stage].kind == STAGE_METASPACE)
        return encode_metaspace(e, piece);
    if (e->t->stages[stage].kind != STAGE_PREFIX_SPACE)
        return encode_split(e, stage, piece);
    if (piece.data[0] == ' ')
        return encode_stage(e, stage + 1, piece);
    return encode_with_space(e, stage, piece);
}

/* Normalized text: its added tokens, and what lies between them. */
static struct err encode_normalized(struct encoder *e, struct bytes text, bool at_start,
                                    const struct text_span *trusted, size_t n_trusted)
{
    struct added_search s = {.t = e->t,
                             .trie = &e->t->normalized,
                             .text = text,
                             .trusted = trusted,
                             .n_trusted = n_trusted};
    for (bool more = true; more;) {
        struct text_span gap;
        uint32_t id = 0;
        more = added_next(&s, &gap, &id);
        e->at_start = at_start && gap.offset == 0;
        if (gap.len > 0)
            TRY(encode_stage(e, 0, (struct bytes){text.data + gap.offset, gap.len}));
        if (more)
            buf_append(e->out, &id, sizeof id);
    }
    return err_ok();
}

/* The trusted spans inside a gap, counted from its start. */
static struct err spans_within(struct span_list *out, const struct text_span *trusted,
                               size_t n_trusted, struct text_span gap)
{
    for (size_t i = 0; i < n_trusted; i++) {
        size_t start = trusted[i].offset, end = trusted[i].offset + trusted[i].len;
        if (start >= gap.offset + gap.len)
            break;
        start = start > gap.offset ? start : gap.offset;
        end = end < gap.offset + gap.len ? end : gap.offset + gap.len;
        if (start < end)
            TRY(span_list_add(out, start - gap.offset, end - start));
    }
    return err_ok();
}

static struct err encode_gap(struct encoder *e, struct bytes text, const struct text_span *trusted,
                             size_t n_trusted, struct text_span gap)
{
    struct span_list within __attribute__((cleanup(span_list_cleanup))) = {0};
    struct span_list carried __attribute__((cleanup(span_list_cleanup))) = {0};
    struct bytes part = {text.data + gap.offset, gap.len};
    if (e->t->normalized.n_nodes > 0)
        TRY(spans_within(&within, trusted, n_trusted, gap));
    bool at_start = gap.offset == 0;
    if (e->t->n_normalizers == 0)
        return encode_normalized(e, part, at_start, within.at, within.n);
    struct buf normal __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    TRY(tokenizer_normalize(e->t, &normal, &carried, part, within.at, within.n));
    return encode_normalized(e, buf_bytes(&normal), at_start, carried.at, carried.n);
}

static struct err encode_all(struct encoder *e, struct bytes text, const struct text_span *trusted,
                             size_t n_trusted)
{
    struct added_search s = {
        .t = e->t, .trie = &e->t->raw, .text = text, .trusted = trusted, .n_trusted = n_trusted};
    for (bool more = true; more;) {
        struct text_span gap;
        uint32_t id = 0;
        while (n_trusted > 0 && trusted->offset + trusted->len <= s.done) {
            trusted++; /* behind us: keeps the search for a gap's spans short */
            n_trusted--;
        }
        more = added_next(&s, &gap, &id);
        if (gap.len > 0)
            TRY(encode_gap(e, text, trusted, n_trusted, gap));
        if (more)
            buf_append(e->out, &id, sizeof id);
    }
    return err_ok();
}

static struct err check_text(struct bytes text, const struct text_span *trusted, size_t n_trusted)
{
    if (text.len > TOKENIZER_TEXT_MAX)
        return err_set(ERR_LIMIT, "a text of %zu bytes where at most %d can be tokenized", text.len,
                       TOKENIZER_TEXT_MAX);
    if (!utf8_valid(text))
        return err_set(ERR_MALFORMED, "the text to tokenize is not UTF-8");
    size_t end = 0;
    for (size_t i = 0; i < n_trusted; i++) {
        if (trusted[i].offset < end || trusted[i].offset > text.len ||
            trusted[i].len > text.len - trusted[i].offset)
            return err_set(ERR_USAGE, "trusted span %zu is out of order or outside the text", i);
        end = trusted[i].offset + trusted[i].len;
    }
    return err_ok();
}

struct err tokenizer_encode_spans(const struct tokenizer *t, struct buf *out, struct bytes text,
                                  const struct text_span *trusted, size_t n_trusted)
{
    TRY(check_text(text, trusted, n_trusted));
    struct buf ids __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    struct encoder e __attribute__((cleanup(encoder_cleanup))) = {.t = t, .out = &ids};
    TRY(regex_matcher_new(&e.matcher));
    TRY(encode_all(&e, text, trusted, n_trusted));
    buf_append_bytes(out, buf_bytes(&ids));
    return err_ok();
}

struct err tokenizer_encode(const struct tokenizer *t, struct buf *out, struct bytes text,
                            bool specials, bool post_process)
{
    struct buf ids __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    struct text_span all = {0, text.len};
    if (post_process)
        buf_append(&ids, t->prefix, t->n_prefix * sizeof t->prefix[0]);
    TRY(tokenizer_encode_spans(t, &ids, text, &all, specials ? 1 : 0));
    if (post_process)
        buf_append(&ids, t->suffix, t->n_suffix * sizeof t->suffix[0]);
    buf_append_bytes(out, buf_bytes(&ids));
    return err_ok();
}
