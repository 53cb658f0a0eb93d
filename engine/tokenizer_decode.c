/*
 * Decoding: the bytes of tokens, and the streaming decoder that gives whole characters only.
 */
#include "engine/tokenizer_internal.h"

struct err tokenizer_token_bytes(const struct tokenizer *t, uint32_t id, struct buf *out)
{
    if (!tokenizer_has(t, id))
        return err_set(ERR_USAGE, "token %u is not in the vocabulary of %u", id, t->n_tokens);
    const struct token *token = &t->tokens[id];
    buf_append(out, t->decoded.data + token->offset, token->len);
    return err_ok();
}

enum sequence { SEQUENCE_WHOLE, SEQUENCE_PARTIAL, SEQUENCE_BAD };

/* Whether `n` bytes that begin a sequence can be, or are, one character (Unicode table 3-7). */
static enum sequence judge(const uint8_t *p, size_t n)
{
    size_t need = p[0] < 0x80                    ? 1
                  : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
                  : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                  : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                 : 0;
    if (need == 0)
        return SEQUENCE_BAD;
    if (n >= 2) {
        uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
        uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
        if (p[1] < low || p[1] > high)
            return SEQUENCE_BAD;
    }
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return SEQUENCE_BAD;
    return n == need ? SEQUENCE_WHOLE : SEQUENCE_PARTIAL;
}

static void take_byte(struct detokenizer *d, uint8_t byte, struct buf *out)
{
    d->pending[d->n_pending++] = byte;
    enum sequence s = judge(d->pending, d->n_pending);
    if (s == SEQUENCE_PARTIAL)
        return;
    if (s == SEQUENCE_WHOLE)
        buf_append(out, d->pending, d->n_pending);
    else
        buf_append_str(out, "\xef\xbf\xbd");
    bool again = s == SEQUENCE_BAD && d->n_pending > 1;
    d->n_pending = 0;
    if (again) /* the byte that broke a sequence may begin the next one */
        take_byte(d, byte, out);
}

/* Whether the decoder takes byte i of the text's first token away. */
static bool strips(const struct tokenizer *t, const struct token *token, size_t i, uint8_t byte)
{
    if (byte != ' ')
        return false;
    return (t->decoder.strip_one && i == 0) || (t->decoder.strip_mark && !token->added);
}

struct err detokenizer_next(struct detokenizer *d, const struct tokenizer *t, uint32_t id,
                            struct buf *out)
{
    BUF_AUTO bytes = BUF_INIT;
    TRY(tokenizer_token_bytes(t, id, &bytes));
    const struct token *token = &t->tokens[id];
    for (size_t i = 0; i < bytes.len && !token->special; i++)
        if (d->started || !strips(t, token, i, bytes.data[i]))
            take_byte(d, bytes.data[i], out);
    if (!token->special)
        d->started = true;
    buf_cleanup_secret(&bytes);
    return err_ok();
}

void detokenizer_finish(struct detokenizer *d, struct buf *out)
{
    if (d->n_pending > 0)
        buf_append_str(out, "\xef\xbf\xbd");
    d->n_pending = 0;
}
