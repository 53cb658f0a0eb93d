#include "transparency/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"

struct err checkpoint_parse(struct checkpoint *out, struct bytes text)
{
    struct reader r = reader_of(text);
    struct bytes origin = read_line(&r);
    struct bytes size = read_line(&r);
    struct bytes root = read_line(&r);
    if (r.failed)
        return err_set(ERR_MALFORMED, "a checkpoint has three lines: origin, size, root");
    struct checkpoint c = {0};
    if (origin.len == 0 || origin.len > NOTE_NAME_MAX || memchr(origin.data, 0, origin.len) != NULL)
        return err_set(ERR_MALFORMED, "a checkpoint's origin of %zu bytes, not 1 to %d", origin.len,
                       NOTE_NAME_MAX);
    memcpy(c.origin, origin.data, origin.len);
    TRY(err_context(decimal_decode(&c.size, size, MERKLE_SIZE_MAX), "a checkpoint's size"));
    TRY(err_context(base64_decode_exact(c.root.bytes, SHA256_LEN, root), "a checkpoint's root"));
    while (reader_left(&r) > 0)
        if (read_line(&r).len == 0)
            return err_set(ERR_MALFORMED, "a checkpoint's extension line is empty or unfinished");
    *out = c;
    return err_ok();
}

void checkpoint_format(struct buf *out, const struct checkpoint *c)
{
    buf_printf(out, "%s\n%llu\n", c->origin, (unsigned long long)c->size);
    buf_append_base64(out, bytes_of(c->root.bytes, SHA256_LEN));
    buf_append_str(out, "\n");
}

static void note_free(struct note **note)
{
    free(*note);
}

struct err checkpoint_verify(struct checkpoint *out, struct bytes signed_note, const char *origin,
                             const struct note_key *key)
{
    __attribute__((cleanup(note_free))) struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    TRY(note_parse(note, signed_note));
    TRY(note_verify(note, key));
    struct checkpoint c;
    TRY(checkpoint_parse(&c, note->text));
    char told[84], wanted[84];
    if (strcmp(c.origin, origin) != 0)
        return err_set(ERR_UNTRUE, "the checkpoint is of the log '%s', not of '%s'",
                       printable(told, bytes_of_str(c.origin)),
                       printable(wanted, bytes_of_str(origin)));
    *out = c;
    return err_ok();
}

struct err checkpoint_read(struct checkpoint *out, struct bytes signed_note)
{
    __attribute__((cleanup(note_free))) struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    TRY(note_parse(note, signed_note));
    return checkpoint_parse(out, note->text);
}

struct err checkpoint_sign_with(struct buf *out, const struct checkpoint *c,
                                const struct note_key *key, struct ed25519_key *secret)
{
    BUF_AUTO text = BUF_INIT;
    checkpoint_format(&text, c);
    struct checkpoint again;
    TRY(checkpoint_parse(&again, buf_bytes(&text)));
    return note_sign_with(out, buf_bytes(&text), key, secret);
}

struct err checkpoint_sign(struct buf *out, const struct checkpoint *c,
                           const struct note_signer *signer)
{
    struct ed25519_key *secret = ed25519_key_new(signer->seed);
    struct err e = checkpoint_sign_with(out, c, &signer->key, secret);
    ed25519_key_free(secret);
    return e;
}
