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

/* An optional first pass over the same entries, before the first replay_entry. An activation is
 * made while a host runs, so the `host` statement that holds it follows the first quotes; it is
 * true of the keys at any time. Without this pass, quotes before it are false ("no activation by
 * ..."). What is malformed or untrue is passed over here; the second pass names it. */
struct err replay_survey(struct replay *r, struct bytes entry) MUST_USE;

/* Optional, before the first replay_entry, by rising size: the caller has verified that the log's
 * key signed the note of this hash, over a head of that size (store_fsck does). A quote that names
 * it as its head's note is then judged without verifying that signature once more. */
struct err replay_verified_head(struct replay *r, uint64_t size,
                                const uint8_t note_sha256[SHA256_LEN]) MUST_USE;

struct replay_line {
    uint64_t index;
    char host[24]; /* short name of the attestation key; "" if it did not parse */
    enum statement_kind kind;
    bool parsed;             /* else `kind` means nothing */
    enum rule_status status; /* RULE_TRUE, or RULE_FALSE with the reason in `text` */
    const char *code;        /* the rule that failed, or "" */
    char text[512];          /* one line of facts, or the reason; printable ASCII */
};

/* Takes the next entry (from 0 on; ERR_USAGE for another). Checks that heads named in contexts
 * equal the tree over the entries seen so far. The replay goes on after an untrue entry: a quote
 * that the key has signed stays the predecessor of the next, whatever else is wrong with it. Fails
 * only where an entry could not be judged (memory, blobs that cannot be read); the replay is then
 * over. */
struct err replay_entry(struct replay *r, struct replay_line *line, uint64_t index,
                        struct bytes entry) MUST_USE;

/*
 * Each is of one host, but for those that say "log".
 *
 * FORK          error    log: its key has signed a head of another history than these entries
 * COUNTER-GAP   error    boots of this TPM that the log does not hold
 * TPM-CLEARED   error    the boot counter is another one; boots in between cannot be excluded
 *               warning  the counts began anew, the boot counter went on
 * AK-TWO-EKS    error    one attestation key with two endorsement certificates
 * EK-TWO-AKS    warning  one endorsement (or certified) key with two attestation keys
 * GAP           warning  no quote for more than twice the interval, by the TPM's clock, since the
 *                        quote before or, for the first of a boot, since the boot statement
 *               note     announced by a stop statement, and no longer than it said
 * UNCOVERED     warning  a boot or identity was replaced before a quote showed it, or a host has
 *                        no true quote at all
 *               note     the log's tail: the next quote will cover it
 * SKIPPED       warning  quotes that the host made, or identities that it measured, are not in the
 *                        log: it refused them
 * UNSAFE-CLOCK  warning  the TPM lost power without a shutdown; its clock may have gone back
 * PCR-CHANGED   warning  boot PCRs changed, within what the policy allows, without a reset
 * GPU-CHANGED   note     another GPU, driver or VBIOS than in the host's boot before
 * RESUMED       warning  a boot went on after a suspend, which PCRs outlive
 * REBOOT        note     a boot without a stop before it: how long the gap was is not known
 * RESETS        note     the TPM was reset in between without a boot statement
 * MORE          warning  further findings are not listed (of this host, or log: of all);
 *                        what they make false is
 */
enum finding_severity { FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };
struct finding {
    enum finding_severity severity;
    const char *code; /* see the table above */
    char host[24];    /* as replay_line's; "": of the log */
    uint64_t index;   /* entry it is about */
    char text[512];
};

/* Of one attestation key. What it says of one host says nothing against another, nor the log. */
struct replay_verdict {
    char host[24];           /* as replay_line's; "others" for keys too many to tell apart */
    struct tpm_name ak_name; /* len 0 for "others" */
    /* TRUE: all entries of its name are true, no finding of severity error, a valid quote. */
    enum outcome outcome;
    bool counted; /* else nothing of it is false, and nothing counts: it has no valid quote */
    bool test;
    uint64_t n_entries, n_boots, n_quotes; /* boots and quotes: true ones */
    char reason[512];                      /* when not true: the first, naming the entry */
};

struct replay_summary {
    /* TRUE: the log is, and every host that counts is, and one does. */
    enum outcome outcome;
    /* TRUE: every entry is a statement, the newest checkpoint is the log's, has the policy's quorum
     * and is of exactly these entries, and no head that the log signed says otherwise. Nothing that
     * a host can make a log service take makes it false. */
    enum outcome log;
    char log_reason[512];               /* when it is not */
    const struct replay_verdict *hosts; /* the replay's, in the order of their first entries */
    size_t n_verdicts;
    bool test;
    uint64_t n_entries, n_true, n_quotes, n_boots;
    uint64_t n_hosts;               /* with a true quote */
    uint64_t n_hosts_true;          /* ... that are true, or no proof by what the policy ignores */
    const struct finding *findings; /* the replay's */
    size_t n_findings;
    char reason[512];                     /* when not true: the first reason, naming the entry */
    char proven[VERDICT_PROVEN_MAX][256]; /* sentences; none when false */
    size_t n_proven;
    char not_proven[VERDICT_NOT_PROVEN_MAX][256];
    size_t n_not_proven;
};
/* The log is true and hosts are, and other hosts are not. */
bool replay_is_partly_true(const struct replay_summary *s);
/* `checkpoint` is the log's newest signed note with its cosignatures: signer, size and root must be
 * what was replayed, and the policy's quorum met.
 * The outcome is "not a proof" where the policy ignores a PCR. After the last entry. */
struct err replay_finish(struct replay *r, struct replay_summary *out,
                         struct bytes checkpoint) MUST_USE;

#endif
