/*
 * What a witness policy says of a checkpoint: who has cosigned it, and whether that is enough.
 */
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "transparency/tlog_policy.h"

static void note_free(struct note **note)
{
    free(*note);
}

/* Members stand before their groups, so one pass in the order of the lines settles every name. */
static bool quorum_met(const struct tlog_policy *p, const bool *by)
{
    unsigned met[TLOG_POLICY_NODES_MAX] = {0}; /* of a group: its members that have witnessed */
    if (p->quorum == TLOG_POLICY_NONE)
        return p->quorum_stated;
    for (size_t i = 0; i <= p->quorum; i++) {
        const struct tlog_policy_node *node = &p->nodes[i];
        bool witnessed =
            node->witness != TLOG_POLICY_NONE ? by[node->witness] : met[i] >= node->threshold;
        if (i == p->quorum)
            return witnessed;
        if (witnessed && node->parent != TLOG_POLICY_NONE)
            met[node->parent]++;
    }
    return false;
}

struct err tlog_policy_witnessed(struct tlog_witnessed *out, const struct tlog_policy *p,
                                 const struct note *note)
{
    struct tlog_witnessed w = {0};
    for (size_t i = 0; i < p->n_witnesses; i++) {
        struct err e = note_verify_cosignature(note, &p->witnesses[i].key, &w.time_s[i]);
        if (is_err(e) && e.code != ERR_NOT_FOUND)
            return e;
        w.by[i] = !is_err(e);
        w.n += w.by[i];
    }
    w.quorum = quorum_met(p, w.by);
    *out = w;
    return err_ok();
}

static bool has_line(const struct note *note, const struct note_key *key)
{
    for (size_t i = 0; i < note->n_signatures; i++)
        if (note->signatures[i].id == key->id &&
            bytes_equal(note->signatures[i].name, bytes_of_str(key->name)))
            return true;
    return false;
}

/* A log of the policy signed the note, and no log of it signed wrongly. (Two keys of one name are
 * two logs that follow each other: one of them is enough.) */
static struct err check_log(struct checkpoint *out, const struct tlog_policy *p,
                            const struct note *note)
{
    struct checkpoint c;
    TRY(checkpoint_parse(&c, note->text));
    bool found = false;
    for (size_t i = 0; i < p->n_logs; i++) {
        const struct note_key *key = &p->logs[i].key;
        if (strcmp(key->name, c.origin) != 0 || !has_line(note, key))
            continue;
        TRY(note_verify(note, key));
        found = true;
    }
    char shown[84];
    if (!found)
        return err_set(ERR_UNTRUE, "the checkpoint of '%s' is signed by no log of the policy",
                       printable(shown, bytes_of_str(c.origin)));
    *out = c;
    return err_ok();
}

static struct err check_quorum(const struct tlog_policy *p, const struct tlog_witnessed *w)
{
    if (w->quorum)
        return err_ok();
    BUF_AUTO who = BUF_INIT;
    tlog_policy_describe(&who, p, w);
    char shown[84];
    return err_set(ERR_UNTRUE, "the checkpoint lacks the quorum '%s': it was cosigned by %s",
                   printable(shown, bytes_of_str(p->nodes[p->quorum].name)), buf_str(&who));
}

struct err tlog_policy_check(struct checkpoint *out, struct tlog_witnessed *witnessed,
                             const struct tlog_policy *p, struct bytes signed_note)
{
    __attribute__((cleanup(note_free))) struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    TRY(note_parse(note, signed_note));
    struct checkpoint c;
    struct tlog_witnessed w;
    TRY(check_log(&c, p, note));
    TRY(tlog_policy_witnessed(&w, p, note));
    TRY(check_quorum(p, &w));
    *out = c;
    if (witnessed != NULL)
        *witnessed = w;
    return err_ok();
}

struct err tlog_policy_check_quorum(struct tlog_witnessed *out, const struct tlog_policy *p,
                                    struct bytes signed_note)
{
    __attribute__((cleanup(note_free))) struct note *note = malloc(sizeof *note);
    if (note == NULL)
        return err_set(ERR_MEMORY, "out of memory for a note");
    struct tlog_witnessed w;
    TRY(note_parse(note, signed_note));
    TRY(tlog_policy_witnessed(&w, p, note));
    TRY(check_quorum(p, &w));
    *out = w;
    return err_ok();
}

void tlog_policy_describe(struct buf *out, const struct tlog_policy *p,
                          const struct tlog_witnessed *w)
{
    char shown[84];
    if (w->n == 0) {
        buf_append_str(out, "no witness");
        return;
    }
    buf_printf(out, "%zu of %zu witnesses (", w->n, p->n_witnesses);
    const char *before = "";
    for (size_t i = 0; i < p->n_witnesses; i++) {
        if (!w->by[i])
            continue;
        buf_printf(out, "%s%s", before, printable(shown, bytes_of_str(p->witnesses[i].name)));
        before = ", ";
    }
    buf_append_str(out, ")");
}

static void format_node(struct buf *out, const struct tlog_policy *p, size_t n)
{
    const struct tlog_policy_node *node = &p->nodes[n];
    if (node->witness != TLOG_POLICY_NONE) {
        const struct tlog_policy_witness *w = &p->witnesses[node->witness];
        buf_printf(out, "witness %s ", node->name);
        note_vkey_format(out, &w->key);
        if (w->url != NULL)
            buf_printf(out, " %s", w->url);
    } else {
        buf_printf(out, "group %s %u", node->name, node->threshold);
        for (size_t i = 0; i < n; i++)
            if (p->nodes[i].parent == n)
                buf_printf(out, " %s", p->nodes[i].name);
    }
    buf_append_str(out, "\n");
}

void tlog_policy_format_quorum(struct buf *out, const struct tlog_policy *p)
{
    for (size_t i = 0; i < p->n_nodes; i++)
        format_node(out, p, i);
    buf_printf(out, "quorum %s\n",
               p->quorum == TLOG_POLICY_NONE ? "none" : p->nodes[p->quorum].name);
}

struct err tlog_policy_check_log(const struct tlog_policy *p, const struct note_key *log)
{
    for (size_t i = 0; i < p->n_logs; i++)
        if (memcmp(p->logs[i].key.public_key, log->public_key, ED25519_PUBLIC_LEN) == 0 &&
            strcmp(p->logs[i].key.name, log->name) == 0)
            return err_ok();
    if (p->n_logs == 0)
        return err_ok();
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, log);
    return err_set(ERR_USAGE, "it names other logs than this one, whose key is %s", buf_str(&vkey));
}
