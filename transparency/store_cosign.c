/*
 * Cosignatures in the log: a witness's line beside the checkpoint that it is over. A line is
 * verified before it is kept, and again by the auditor: a log never holds one that does not verify.
 */
#include "transparency/store_db.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1024 };

static void note_free(struct note **note)
{
    free(*note);
}
#define NOTE_AUTO __attribute__((cleanup(note_free))) struct note

/* The key that the line is by, once it verifies over the checkpoint's stored note. */
static struct err check_line(struct store *s, struct note_key *out, uint64_t size,
                             const uint8_t public_key[ED25519_PUBLIC_LEN], struct bytes line)
{
    BUF_AUTO text = BUF_INIT;
    NOTE_AUTO *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    if (line.len > LINE_MAX_BYTES)
        return err_set(ERR_LIMIT, "a cosignature's line of %zu bytes", line.len);
    TRY(store_checkpoint_at(s, size, &text));
    buf_append_bytes(&text, line);
    TRY(note_parse(note, buf_bytes(&text)));
    struct bytes name = note->signatures[note->n_signatures - 1].name;
    if (note->n_signatures != 2 || name.len > NOTE_NAME_MAX)
        return err_set(ERR_MALFORMED, "a cosignature is one line");
    char key_name[NOTE_NAME_MAX + 1] = {0};
    memcpy(key_name, name.data, name.len);
    struct note_key key;
    uint64_t time_s;
    TRY(note_key_init(&key, key_name, NOTE_COSIGNATURE, public_key));
    struct err e = note_verify_cosignature(note, &key, &time_s);
    if (e.code == ERR_NOT_FOUND)
        e.code = ERR_UNTRUE;
    TRY(e);
    *out = key;
    return err_ok();
}

static struct err insert(struct store *s, uint64_t size, const struct note_key *witness,
                         struct bytes line)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_COSIGNATURE_INSERT));
    TRY(store_bind_int(s, st, 1, size));
    TRY(store_bind_blob(s, st, 2, bytes_of(witness->public_key, ED25519_PUBLIC_LEN)));
    TRY(store_bind_blob(s, st, 3, line));
    return store_run(s, st);
}

static struct err is_kept(struct store *s, uint64_t size, const struct note_key *witness,
                          bool *kept)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_COSIGNATURE_OF));
    TRY(store_bind_int(s, st, 1, size));
    TRY(store_bind_blob(s, st, 2, bytes_of(witness->public_key, ED25519_PUBLIC_LEN)));
    return store_step(s, st, kept);
}

struct err store_add_cosignature(struct store *s, uint64_t size, const struct note_key *witness,
                                 struct bytes line)
{
    TRY(store_usable(s));
    if (!s->writer)
        return err_set(ERR_USAGE, "%s is open for reading only", s->path);
    struct note_key found;
    TRY(check_line(s, &found, size, witness->public_key, line));
    if (found.id != witness->id || strcmp(found.name, witness->name) != 0)
        return err_set(ERR_UNTRUE, "the cosignature is by '%s', not by '%s'", found.name,
                       witness->name);
    bool kept = false;
    TRY(is_kept(s, size, witness, &kept));
    if (kept)
        return err_ok();
    struct err e = insert(s, size, witness, line); /* a transaction of its own */
    if (is_err(e))
        store_fail(s);
    return e;
}

struct err store_cosigned(struct store *s, uint64_t size, struct buf *note)
{
    BUF_AUTO text = BUF_INIT;
    TRY(store_checkpoint_at(s, size, &text));
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_COSIGNATURE));
    TRY(store_bind_int(s, st, 1, size));
    for (bool row = true; row;) {
        struct bytes line;
        TRY(store_step(s, st, &row));
        if (!row)
            break;
        TRY(store_column_blob(&line, st, 0, LINE_MAX_BYTES, "a cosignature"));
        if (text.len + line.len > NOTE_MAX)
            return err_set(ERR_LIMIT, "%s: checkpoint %llu has more cosignatures than a note holds",
                           s->path, (unsigned long long)size);
        buf_append_bytes(&text, line);
    }
    buf_append_bytes(note, buf_bytes(&text));
    return err_ok();
}

struct err store_witnessed_at(struct store *s, const struct tlog_policy *p, uint64_t size,
                              struct buf *note, struct checkpoint *out, bool *met)
{
    BUF_AUTO text = BUF_INIT;
    NOTE_AUTO *parsed = malloc(sizeof *parsed);
    if (parsed == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    TRY(store_cosigned(s, size, &text));
    TRY(note_parse(parsed, buf_bytes(&text)));
    struct tlog_witnessed w;
    TRY(tlog_policy_witnessed(&w, p, parsed));
    *met = w.quorum;
    if (!w.quorum)
        return err_ok();
    struct checkpoint c;
    TRY(checkpoint_parse(&c, parsed->text));
    if (note != NULL)
        buf_append_bytes(note, buf_bytes(&text));
    if (out != NULL)
        *out = c;
    return err_ok();
}

struct err store_witnessed(struct store *s, const struct tlog_policy *p, struct buf *note,
                           struct checkpoint *out)
{
    struct checkpoint newest;
    bool met = false;
    TRY(store_checkpoint(s, NULL, &newest));
    TRY(store_witnessed_at(s, p, newest.size, note, out, &met));
    if (met)
        return err_ok();
    STORE_STATEMENT *st = NULL;
    bool row = true;
    TRY(store_statement(&st, s, SQL_COSIGNATURE_SIZES));
    while (row && !met) {
        uint64_t size;
        TRY(store_step(s, st, &row));
        if (!row)
            break;
        TRY(store_column_u64(&size, st, 0, "a cosignature's size"));
        TRY(store_witnessed_at(s, p, size, note, out, &met));
    }
    if (!met)
        return err_set(ERR_NOT_FOUND, "%s: no checkpoint has the quorum of witnesses yet", s->path);
    return err_ok();
}

static struct err check_row(struct store *s, sqlite3_stmt *st)
{
    uint64_t size;
    struct merkle_hash public_key;
    struct bytes line;
    struct note_key key;
    TRY(store_column_u64(&size, st, 0, "a cosignature's size"));
    TRY(store_column_hash(&public_key, st, 1, "a cosignature's key"));
    TRY(store_column_blob(&line, st, 2, LINE_MAX_BYTES, "a cosignature"));
    struct err e = check_line(s, &key, size, public_key.bytes, line);
    if (e.code == ERR_NOT_FOUND || e.code == ERR_USAGE)
        e.code = ERR_UNTRUE;
    return err_context(e, "%s: cosignature of checkpoint %llu", s->path, (unsigned long long)size);
}

struct err store_fsck_cosignatures(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_COSIGNATURE_ALL));
    for (;;) {
        bool row = false;
        TRY(store_step(s, st, &row));
        if (!row)
            return err_ok();
        TRY(check_row(s, st));
    }
}
