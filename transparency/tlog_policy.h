/*
 * Witness policies (C2SP tlog-policy; docs/FORMATS.md section 8.3): which logs, which witnesses,
 * and which sets of witnesses are enough for a checkpoint. Pure: a policy is parsed from bytes and
 * judges bytes; it knows no network, and its URLs are only kept.
 */
#ifndef TRANSPARENCY_TLOG_POLICY_H
#define TRANSPARENCY_TLOG_POLICY_H

#include "transparency/checkpoint.h"

enum {
    TLOG_POLICY_MAX = 1024 * 1024, /* bytes */
    TLOG_POLICY_LINES_MAX = 4096,
    TLOG_POLICY_LOGS_MAX = 64,
    TLOG_POLICY_WITNESSES_MAX = 64,
    TLOG_POLICY_GROUPS_MAX = 64,
    TLOG_POLICY_NODES_MAX = TLOG_POLICY_WITNESSES_MAX + TLOG_POLICY_GROUPS_MAX,
    TLOG_POLICY_NAME_MAX = 255, /* bytes; of any value but blanks and controls */
    TLOG_POLICY_URL_MAX = 1024,
};

struct tlog_policy_log {
    struct note_key key;
    char *url; /* NULL: none was given */
};

struct tlog_policy_witness {
    struct note_key key;
    char *url;
    char name[TLOG_POLICY_NAME_MAX + 1]; /* in the policy; the key has one of its own */
};

/* A name of the policy: a witness or a group. Members stand before their group. */
struct tlog_policy_node {
    char name[TLOG_POLICY_NAME_MAX + 1];
    size_t witness;     /* index, or TLOG_POLICY_NONE: a group */
    unsigned threshold; /* of a group: so many of its members */
    size_t parent;      /* the group that it is a member of, or TLOG_POLICY_NONE */
};
#define TLOG_POLICY_NONE SIZE_MAX

struct tlog_policy {
    struct tlog_policy_log *logs;
    size_t n_logs;
    struct tlog_policy_witness *witnesses;
    size_t n_witnesses, n_groups;
    struct tlog_policy_node *nodes; /* in the order of their lines */
    size_t n_nodes;
    bool quorum_stated;
    size_t quorum; /* a node, or TLOG_POLICY_NONE: `quorum none` */
};
#define TLOG_POLICY_INIT ((struct tlog_policy){.quorum = TLOG_POLICY_NONE})

void tlog_policy_cleanup(struct tlog_policy *p);
#define TLOG_POLICY_AUTO __attribute__((cleanup(tlog_policy_cleanup))) struct tlog_policy

/* ERR_MALFORMED "line 7: ...", ERR_UNSUPPORTED for other types of keys, ERR_LIMIT. */
struct err tlog_policy_parse(struct tlog_policy *out, struct bytes text) MUST_USE;
struct err tlog_policy_load(struct tlog_policy *out, const char *path) MUST_USE;

/* Appends the `witness`, `group` and `quorum` lines, for a policy that means the same. */
void tlog_policy_format_quorum(struct buf *out, const struct tlog_policy *p);
/* ERR_USAGE where the policy has log lines and none of them is of this key and name. */
struct err tlog_policy_check_log(const struct tlog_policy *p, const struct note_key *log) MUST_USE;

/* One line without its newline, for files that hold such lines among others; messages name no line.
 * After an error the policy is as before. */
struct err tlog_policy_line(struct tlog_policy *p, struct bytes line) MUST_USE;

/* Who has cosigned a checkpoint. */
struct tlog_witnessed {
    bool quorum;
    size_t n;
    bool by[TLOG_POLICY_WITNESSES_MAX];
    uint64_t time_s[TLOG_POLICY_WITNESSES_MAX]; /* of those */
};

/* Fills `out` for the note's cosignatures alone, whoever signed the note. ERR_UNTRUE when a
 * cosignature by a witness of the policy does not verify. */
struct err tlog_policy_witnessed(struct tlog_witnessed *out, const struct tlog_policy *p,
                                 const struct note *note) MUST_USE;
/* All that a policy asks of a signed checkpoint: a log of it, its origin, the quorum. ERR_UNTRUE,
 * ERR_MALFORMED, ERR_LIMIT. `witnessed` may be NULL. */
struct err tlog_policy_check(struct checkpoint *out, struct tlog_witnessed *witnessed,
                             const struct tlog_policy *p, struct bytes signed_note) MUST_USE;
/* The cosignatures' part of that alone, for whoever checks the log otherwise. */
struct err tlog_policy_check_quorum(struct tlog_witnessed *out, const struct tlog_policy *p,
                                    struct bytes signed_note) MUST_USE;
/* "2 of 3 witnesses (a, b)" or "no witness", printable, for messages. */
void tlog_policy_describe(struct buf *out, const struct tlog_policy *p,
                          const struct tlog_witnessed *w);

#endif
