/*
 * A log that somebody else keeps, as far as this host knows it: log.queue, and log.blobs with
 * statements and blobs by their hashes. A blob is on the disk before log.queue names it, and
 * log.queue is replaced whole: a kill at any moment leaves the old one or the new one.
 */
#include "server/attester_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/text.h"

static const char *blob_path(struct buf *out, const struct attester *a,
                             const uint8_t name[SHA256_LEN])
{
    buf_printf(out, "%s/log.blobs/", a->options->state_dir);
    buf_append_hex(out, bytes_of(name, SHA256_LEN));
    return buf_str(out);
}

struct err attester_blob(const struct attester *a, const uint8_t name[SHA256_LEN], struct buf *out)
{
    if (a->log != NULL)
        return store_blob_read(a->log, name, out);
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO blob = BUF_INIT;
    uint8_t hash[SHA256_LEN];
    TRY(file_read(&blob, blob_path(&path, a, name), BLOB_MAX));
    sha256(hash, buf_bytes(&blob));
    if (memcmp(hash, name, SHA256_LEN) != 0)
        return err_set(ERR_UNTRUE, "%s is damaged: its bytes are not those of its name",
                       buf_str(&path));
    buf_append_bytes(out, buf_bytes(&blob));
    return err_ok();
}

static struct err put_blob(const struct attester *a, struct bytes blob)
{
    BUF_AUTO path = BUF_INIT;
    uint8_t hash[SHA256_LEN];
    sha256(hash, blob);
    if (access(blob_path(&path, a, hash), F_OK) == 0)
        return err_ok();
    return file_write_durable(buf_str(&path), blob, 0600);
}

size_t attester_statement_blobs(struct blob_ref out[STATEMENT_BLOBS_MAX], const struct statement *s)
{
    const struct statement_host *h = &s->host;
    size_t n = 0;
    switch (s->kind) {
    case STATEMENT_HOST:
        out[n++] = h->ak_public;
        out[n++] = h->ak_certified ? h->ak_certificate : h->ek_certificate;
        for (size_t i = 0; i < h->n_chain; i++)
            out[n++] = h->chain[i];
        for (size_t i = 0; i < h->n_activations; i++)
            out[n++] = h->activations[i];
        break;
    case STATEMENT_BOOT:
        if (s->boot.has_event_log)
            out[n++] = s->boot.event_log;
        for (size_t i = 0; i < s->boot.n_gpus; i++)
            if (s->boot.gpus[i].memory == GPU_MEMORY_PROTECTED)
                out[n++] = s->boot.gpus[i].chain;
        break;
    case STATEMENT_IDENTITY:
        out[n++] = s->identity.runtime_log;
        break;
    case STATEMENT_QUOTE:
    case STATEMENT_STOP:
        out[n].size = BLOB_SIZE_UNKNOWN;
        memcpy(out[n++].sha256, s->quote.context.head_note, SHA256_LEN);
        for (size_t i = 0; i < s->quote.n_gpu_reports; i++)
            out[n++] = s->quote.gpu_reports[i];
        break;
    }
    return n;
}

/* The hashes that must stay. */
struct kept {
    uint8_t (*hashes)[SHA256_LEN];
    size_t n;
};

static void keep(struct kept *k, const struct queued *q)
{
    struct blob_ref refs[STATEMENT_BLOBS_MAX];
    sha256(k->hashes[k->n++], buf_bytes(&q->text));
    size_t n = attester_statement_blobs(refs, q->statement);
    for (size_t i = 0; i < n; i++)
        memcpy(k->hashes[k->n++], refs[i].sha256, SHA256_LEN);
}

static bool is_kept(const struct kept *k, const char *name)
{
    uint8_t hash[SHA256_LEN];
    if (is_err(hex_decode(hash, sizeof hash, bytes_of_str(name))))
        return false;
    for (size_t i = 0; i < k->n; i++)
        if (memcmp(k->hashes[i], hash, SHA256_LEN) == 0)
            return true;
    return false;
}

static void remove_others(const struct attester *a, const struct kept *k)
{
    BUF_AUTO folder = BUF_INIT;
    DIR *dir = opendir(path_join(&folder, a->options->state_dir, "log.blobs"));
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && !is_kept(k, entry->d_name))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

/* What log.queue no longer names. A file that stays by accident is removed the next time. */
static void clean_blobs(const struct attester *a)
{
    const struct queue *q = &a->queue;
    struct kept k = {calloc((QUEUE_LOGGED_MAX + QUEUE_REFUSED_MAX + QUEUE_WAITING_MAX) *
                                (STATEMENT_BLOBS_MAX + 1),
                            SHA256_LEN),
                     0};
    if (k.hashes == NULL)
        return;
    for (size_t i = 0; i < q->n_logged; i++)
        keep(&k, &q->logged[i]);
    for (size_t i = 0; i < q->n_refused; i++)
        keep(&k, &q->refused[i]);
    for (size_t i = 0; i < q->n_waiting; i++)
        keep(&k, &q->waiting[i]);
    remove_others(a, &k);
    free(k.hashes);
}

static void fill_file(struct queue_file *f, const struct queue *q)
{
    f->n_logged = q->n_logged;
    f->n_refused = q->n_refused;
    f->n_waiting = q->n_waiting;
    for (size_t i = 0; i < q->n_logged; i++) {
        f->logged[i].index = q->logged[i].index;
        sha256(f->logged[i].sha256, buf_bytes(&q->logged[i].text));
    }
    for (size_t i = 0; i < q->n_refused; i++) {
        f->refused[i].since_s = q->refused[i].since_s;
        sha256(f->refused[i].sha256, buf_bytes(&q->refused[i].text));
        memcpy(f->refused[i].reason, q->refused[i].reason, sizeof f->refused[i].reason);
    }
    for (size_t i = 0; i < q->n_waiting; i++) {
        f->waiting[i].since_s = q->waiting[i].since_s;
        sha256(f->waiting[i].sha256, buf_bytes(&q->waiting[i].text));
    }
}

struct err attester_save_queue(const struct attester *a)
{
    struct queue_file f = {0};
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO path = BUF_INIT;
    memcpy(f.vkey, a->vkey, sizeof f.vkey);
    fill_file(&f, &a->queue);
    queue_file_format(&text, &f);
    TRY(file_write_durable(path_join(&path, a->options->state_dir, "log.queue"), buf_bytes(&text),
                           0600));
    clean_blobs(a);
    return err_ok();
}

static void queued_cleanup(struct queued *q)
{
    buf_cleanup(&q->text);
    free(q->statement);
    *q = (struct queued){0};
}

void queue_cleanup(struct queue *q)
{
    for (size_t i = 0; i < q->n_logged; i++)
        queued_cleanup(&q->logged[i]);
    for (size_t i = 0; i < q->n_refused; i++)
        queued_cleanup(&q->refused[i]);
    for (size_t i = 0; i < q->n_waiting; i++)
        queued_cleanup(&q->waiting[i]);
    *q = (struct queue){0};
}

static struct err queued_make(struct queued *out, struct bytes text)
{
    struct queued q = {.statement = malloc(sizeof *q.statement)};
    if (q.statement == NULL)
        return err_set(ERR_MEMORY, "out of memory for a statement");
    struct err e = statement_parse(q.statement, text);
    if (is_err(e)) {
        free(q.statement);
        return e;
    }
    buf_append_bytes(&q.text, text);
    *out = q;
    return err_ok();
}

/* The newest of each kind, logged or waiting, is what this host has said. What the log refused is
 * not: it is under no head. */
void attester_take_history(struct attester *a)
{
    const struct queue *q = &a->queue;
    a->history = (struct history){0};
    for (size_t i = 0; i < q->n_logged; i++)
        history_take(&a->history, q->logged[i].statement, q->logged[i].index,
                     buf_bytes(&q->logged[i].text));
    for (size_t i = 0; i < q->n_waiting; i++)
        history_take(&a->history, q->waiting[i].statement, INDEX_UNKNOWN,
                     buf_bytes(&q->waiting[i].text));
}

struct err attester_enqueue(struct attester *a, struct bytes text, const struct bytes *blobs,
                            size_t n_blobs)
{
    struct queue *q = &a->queue;
    if (q->n_waiting == QUEUE_WAITING_MAX)
        return err_set(ERR_LIMIT,
                       "%d statements of this host wait for the log %s, and the queue holds no "
                       "more: it must take them first. See that its service is reachable",
                       QUEUE_WAITING_MAX, a->options->origin);
    for (size_t i = 0; i < n_blobs; i++)
        TRY(put_blob(a, blobs[i]));
    TRY(put_blob(a, text));
    struct queued *w = &q->waiting[q->n_waiting];
    TRY(queued_make(w, text));
    w->since_s = (uint64_t)time(NULL);
    q->n_waiting++;
    TRY(attester_save_queue(a));
    attester_take_history(a);
    return err_ok();
}

static bool same_kind(enum statement_kind x, enum statement_kind y)
{
    return x == y || (x >= STATEMENT_QUOTE && y >= STATEMENT_QUOTE);
}

static void drop_first(struct queue *q)
{
    q->n_waiting--;
    memmove(&q->waiting[0], &q->waiting[1], q->n_waiting * sizeof q->waiting[0]);
    q->waiting[q->n_waiting] = (struct queued){0};
}

struct err attester_dequeue(struct attester *a, uint64_t index)
{
    struct queue *q = &a->queue;
    struct queued done = q->waiting[0];
    size_t at = 0;
    while (at < q->n_logged && !same_kind(q->logged[at].statement->kind, done.statement->kind))
        at++;
    if (at == q->n_logged)
        q->n_logged++;
    else
        queued_cleanup(&q->logged[at]);
    q->logged[at] = done;
    q->logged[at].index = index;
    drop_first(q);
    TRY(attester_save_queue(a));
    attester_take_history(a);
    return err_ok();
}

const struct queued *attester_logged_of(const struct queue *q, enum statement_kind kind)
{
    for (size_t i = 0; i < q->n_logged; i++)
        if (q->logged[i].statement->kind == kind)
            return &q->logged[i];
    return NULL;
}

/* A log knows a host by its host statement before anything else of it: the next one takes the place
 * of one that was refused. It says nothing of when. */
static void move_host_first(struct queue *q)
{
    size_t at = 0;
    while (at < q->n_waiting && q->waiting[at].statement->kind != STATEMENT_HOST)
        at++;
    if (at == q->n_waiting || attester_logged_of(q, STATEMENT_HOST) != NULL)
        return;
    struct queued host = q->waiting[at];
    memmove(&q->waiting[1], &q->waiting[0], at * sizeof q->waiting[0]);
    q->waiting[0] = host;
}

struct err attester_set_aside(struct attester *a, const char *reason)
{
    struct queue *q = &a->queue;
    struct queued *r = &q->refused[q->n_refused++];
    *r = q->waiting[0];
    r->since_s = (uint64_t)time(NULL);
    snprintf(r->reason, sizeof r->reason, "%s", reason);
    drop_first(q);
    if (r->statement->kind == STATEMENT_HOST)
        move_host_first(q);
    TRY(attester_save_queue(a));
    attester_take_history(a);
    return err_ok();
}

static struct err load_statement(struct attester *a, struct queued *out,
                                 const uint8_t name[SHA256_LEN])
{
    BUF_AUTO text = BUF_INIT;
    TRY(attester_blob(a, name, &text));
    return queued_make(out, buf_bytes(&text));
}

static struct err load(struct attester *a, const struct queue_file *f)
{
    struct queue *q = &a->queue;
    if (strcmp(f->vkey, a->vkey) != 0)
        return err_set(ERR_USAGE, "it is of the log %s, and --log names another, %s", f->vkey,
                       a->vkey);
    for (; q->n_logged < f->n_logged; q->n_logged++) {
        TRY(load_statement(a, &q->logged[q->n_logged], f->logged[q->n_logged].sha256));
        q->logged[q->n_logged].index = f->logged[q->n_logged].index;
    }
    for (; q->n_refused < f->n_refused; q->n_refused++) {
        struct queued *r = &q->refused[q->n_refused];
        TRY(load_statement(a, r, f->refused[q->n_refused].sha256));
        r->since_s = f->refused[q->n_refused].since_s;
        memcpy(r->reason, f->refused[q->n_refused].reason, sizeof r->reason);
    }
    for (; q->n_waiting < f->n_waiting; q->n_waiting++) {
        TRY(load_statement(a, &q->waiting[q->n_waiting], f->waiting[q->n_waiting].sha256));
        q->waiting[q->n_waiting].since_s = f->waiting[q->n_waiting].since_s;
    }
    attester_take_history(a);
    return err_ok();
}

struct err attester_load_queue(struct attester *a, bool *there)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO folder = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct queue_file f;
    TRY(dir_make(path_join(&folder, a->options->state_dir, "log.blobs")));
    struct err e =
        file_read(&text, path_join(&path, a->options->state_dir, "log.queue"), QUEUE_FILE_MAX);
    *there = e.code != ERR_NOT_FOUND;
    if (!*there)
        return err_ok();
    if (!is_err(e))
        e = queue_file_parse(&f, buf_bytes(&text));
    if (!is_err(e))
        e = load(a, &f);
    return err_context(e, "%s", buf_str(&path));
}
