/*
 * The replay of a whole log, offline: every statement in order, by the same rules as a live
 * verification (docs/FORMATS.md section 9), each entry with a verdict of its own. Pure: entries and
 * blobs come through callbacks; the Merkle tree, checkpoints and blobs' hashes are the caller's to
 * have checked (store_fsck) or are checked here where stated.
 */
#ifndef ATTEST_REPLAY_H
#define ATTEST_REPLAY_H

#include "attest/policy.h"
#include "attest/statement.h"
#include "attest/verify.h"

struct replay;

/* A blob by its hash, appended to `out`; ERR_NOT_FOUND. */
typedef struct err replay_blob(void *context, const uint8_t sha256[SHA256_LEN], struct buf *out);

struct err replay_new(struct replay **out, const struct policy *p, replay_blob *blob,
                      void *blob_context) MUST_USE;
void replay_free(struct replay *r);

struct replay_line {
    uint64_t index;
    enum statement_kind kind;
    bool parsed;             /* else `kind` means nothing */
    enum rule_status status; /* RULE_TRUE, or RULE_FALSE with the reason in `text` */
    const char *code;        /* the rule that failed, or "" */
    char text[512];          /* one line of facts, or the reason */
};

/* Takes the next entry (from 0 on). Checks that heads named in contexts equal the tree over the
 * entries seen so far. The replay goes on after an untrue entry. */
struct err replay_entry(struct replay *r, struct replay_line *line, uint64_t index,
                        struct bytes entry) MUST_USE;

enum finding_severity { FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };
struct finding {
    enum finding_severity severity;
    const char *code; /* "GAP", "TPM-CLEARED", "COUNTER-GAP", "UNCOVERED", "UNSAFE-CLOCK", ... */
    uint64_t index;   /* entry it is about */
    char text[512];
};

struct replay_summary {
    enum outcome outcome; /* OUTCOME_TRUE: every entry true, the log's size and root are the
                             checkpoint's, no finding of severity error, at least one valid quote */
    bool test;
    uint64_t n_entries, n_true, n_quotes, n_hosts, n_boots;
    const struct finding *findings; /* the replay's */
    size_t n_findings;
    char reason[512];               /* when not true: the first reason, naming the entry */
};
/* `checkpoint` is the log's newest signed note: signer, size and root must be what was replayed. */
struct err replay_finish(struct replay *r, struct replay_summary *out,
                         struct bytes checkpoint) MUST_USE;

#endif
