/*
 * The state folder: the log's key, the log, and the newest checkpoint that anybody was told of.
 */
#include "server/attester_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/file.h"

struct err attester_check_options(const struct attester_options *o)
{
    if (o->quote_interval_s == 0 || o->quote_interval_s > QUOTE_INTERVAL_MAX_S)
        return err_set(ERR_USAGE, "a quote interval of %llu seconds: give 1 to %d",
                       (unsigned long long)o->quote_interval_s, QUOTE_INTERVAL_MAX_S);
    if (o->n_ek_chain == 0 || o->n_ek_chain > EK_CHAIN_MAX)
        return err_set(ERR_USAGE,
                       "%zu issuer certificates: give the files of the EK certificate's issuers, "
                       "nearest first, root last (1 to %d)",
                       o->n_ek_chain, EK_CHAIN_MAX);
    if (o->n_activators > STATEMENT_ACTIVATIONS_MAX)
        return err_set(ERR_LIMIT, "%zu activators: a host statement has room for %d",
                       o->n_activators, STATEMENT_ACTIVATIONS_MAX);
    return err_ok();
}

static bool exists(const struct attester *a, const char *name)
{
    struct stat st;
    BUF_AUTO path = BUF_INIT;
    return stat(path_join(&path, a->options->state_dir, name), &st) == 0;
}

static struct err load_remote_key(struct attester *a)
{
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &a->options->witnesses->logs[0].key);
    if (vkey.len >= sizeof a->vkey)
        return err_set(ERR_LIMIT, "the origin %s is too long", a->options->origin);
    memcpy(a->vkey, buf_str(&vkey), vkey.len + 1);
    return err_ok();
}

struct err attester_load_key(struct attester *a)
{
    const struct attester_options *o = a->options;
    if (a->remote.on)
        return load_remote_key(a);
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO vkey = BUF_INIT;
    TRY(dir_make(o->state_dir));
    bool has_log = exists(a, "log.db");
    struct err e = note_signer_load(&a->signer, path_join(&path, o->state_dir, "log.key"),
                                    o->origin, !has_log);
    if (e.code == ERR_NOT_FOUND && has_log)
        return err_context(e,
                           "the log of %s has lost its key: put log.key back, or begin a new log "
                           "with an empty state folder",
                           o->state_dir);
    TRY(e);
    note_vkey_format(&vkey, &a->signer.key);
    int n = snprintf(a->vkey, sizeof a->vkey, "%s", buf_str(&vkey));
    if (n < 0 || (size_t)n >= sizeof a->vkey)
        return err_set(ERR_LIMIT, "the origin %s is too long", o->origin);
    if (o->witnesses == NULL)
        return err_ok();
    return err_context(tlog_policy_check_log(o->witnesses, &a->signer.key), "--witnesses");
}

/* A log that was told of must not be begun again: clients hold heads of it. */
static struct err make_log(struct attester *a, const char *path)
{
    const char *witness = exists(a, "log.head") ? "log.head" : "runtime.log";
    if (exists(a, witness))
        return err_set(
            ERR_UNTRUE,
            "%s is gone, but %s says that there was a log: put the file back, or begin a "
            "new log with an empty state folder and another origin, after a reboot",
            path, witness);
    return store_create(path, &a->signer);
}

static struct err check_known_head(struct attester *a)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    struct checkpoint known;
    struct err e = file_read(&note, path_join(&path, a->options->state_dir, "log.head"), NOTE_MAX);
    if (e.code == ERR_NOT_FOUND)
        return err_ok(); /* killed between making the log and this file */
    TRY(e);
    e = checkpoint_verify(&known, buf_bytes(&note), a->options->origin, &a->signer.key);
    if (is_err(e))
        return err_context(e,
                           "%s is damaged, and so it is not known what this host has told others: "
                           "put log.head back; or, if log.db is surely the newest that there was, "
                           "remove log.head and start again",
                           buf_str(&path));
    e = store_check_extends(a->log, &known);
    if (is_err(e))
        return err_context(e,
                           "log.db lacks entries that this host has told others of (%s): put the "
                           "newest log.db back",
                           buf_str(&path));
    return err_ok();
}

struct err attester_open_log(struct attester *a)
{
    BUF_AUTO path = BUF_INIT;
    path_join(&path, a->options->state_dir, "log.db");
    if (exists(a, "log.queue"))
        return err_set(ERR_USAGE,
                       "%s holds the queue of a log service (log.queue): name it with --log, or "
                       "begin a log of this host's own with an empty state folder",
                       a->options->state_dir);
    if (!exists(a, "log.db"))
        TRY(make_log(a, buf_str(&path)));
    TRY(store_open(&a->log, buf_str(&path), &a->signer));
    TRY(check_known_head(a));
    TRY(attester_find_witnessed(a));
    return attester_take_head(a);
}

struct err attester_take_head(struct attester *a)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    struct checkpoint head;
    TRY(store_checkpoint(a->log, &note, &head));
    TRY(file_write_durable(path_join(&path, a->options->state_dir, "log.head"), buf_bytes(&note),
                           0600));
    a->head = head;
    buf_clear(&a->head_note);
    buf_append_bytes(&a->head_note, buf_bytes(&note));
    return attester_tell_grown(a);
}

/* One attester of a state: what the lock of log.db is otherwise for. */
static struct err state_lock(struct attester *a)
{
    BUF_AUTO path = BUF_INIT;
    a->lock_fd = open(path_join(&path, a->options->state_dir, "log.queue.lock"),
                      O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (a->lock_fd < 0)
        return err_errno("cannot open %s", buf_str(&path));
    if (flock(a->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(ERR_BUSY, "%s is in use by another process: stop that one first",
                       a->options->state_dir);
    return err_ok();
}

/* The newest checkpoint of the service that this host has believed. */
static struct err load_remote_head(struct attester *a)
{
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO note = BUF_INIT;
    struct err e = file_read(&note, path_join(&path, a->options->state_dir, "log.head"), NOTE_MAX);
    if (e.code == ERR_NOT_FOUND)
        return err_ok();
    TRY(e);
    TRY(err_context(tlog_policy_check(&a->head, NULL, a->options->witnesses, buf_bytes(&note)),
                    "%s does not hold by the policy of --witnesses", buf_str(&path)));
    buf_append_bytes(&a->head_note, buf_bytes(&note));
    a->remote.has_head = true;
    return err_ok();
}

struct err attester_open_remote(struct attester *a)
{
    bool there;
    TRY(dir_make(a->options->state_dir));
    TRY(state_lock(a));
    if (exists(a, "log.db"))
        return err_set(ERR_USAGE,
                       "%s holds a log of this host's own (log.db): serve without --log, or begin "
                       "in the service's with an empty state folder, after a reboot",
                       a->options->state_dir);
    bool lost = exists(a, "log.head") || exists(a, "runtime.log");
    TRY(attester_load_queue(a, &there));
    if (!there && lost)
        return err_set(ERR_UNTRUE,
                       "%s/log.queue is gone, and this host has logged before: put the file back, "
                       "or begin anew with an empty state folder, after a reboot",
                       a->options->state_dir);
    if (!there) /* before runtime.log, so that its absence later means that it was lost */
        TRY(attester_save_queue(a));
    a->remote.uncertain = a->queue.n_waiting > 0;
    TRY(load_remote_head(a));
    return attester_tell_queue(a);
}
