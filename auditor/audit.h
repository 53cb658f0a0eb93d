/*
 * One audit: a log file, replayed under a policy from its first entry to its newest checkpoint,
 * with everything that was found on the way.
 */
#ifndef AUDITOR_AUDIT_H
#define AUDITOR_AUDIT_H

#include "attest/replay.h"

struct audit {
    struct policy policy;
    struct replay *replay;
    char fault[1024]; /* why the file itself is not a log of the policy's key; else "" */
    uint64_t size;    /* entries */
    struct replay_summary summary; /* where there is no fault */
};

enum { AUDIT_HOST_MIN = 8 }; /* hex digits that name a host */

#define AUDIT_INIT ((struct audit){0})
void audit_cleanup(struct audit *a);

/* Called for each entry in order, before the next is read. */
typedef void audit_entry(void *context, const struct replay_line *line);

/* Reads the policy, checks the file (store_fsck), replays every entry. An error means that it could
 * not be checked; what is untrue is in `fault` or `summary`. */
struct err audit_run(struct audit *a, const char *log_path, const char *policy_path,
                     audit_entry *entry, void *context) MUST_USE;

/* OUTCOME_FALSE with a fault. */
enum outcome audit_outcome(const struct audit *a);
/* The log is true and some of its hosts are, and others are not. */
bool audit_is_partly_true(const struct audit *a);

/* The verdict on the one host whose attestation key's name (all hex digits, or from the hash on)
 * begins with `name`. ERR_USAGE if it is shorter than 8 digits, or of no host here or several. */
struct err audit_host(const struct replay_verdict **out, const struct audit *a,
                      const char *name) MUST_USE;

/* For people, at most 110 columns: the head, one entry, the rest. With `quiet` only the verdict. */
void audit_text_head(struct buf *out, const char *log_path, const char *policy_path);
void audit_text_entry(struct buf *out, const struct replay_line *line);
void audit_text_end(struct buf *out, const struct audit *a, bool quiet);
/* The last line again, on one host of the log. */
void audit_text_host(struct buf *out, const struct audit *a, const struct replay_verdict *host);

/* One JSON object on one line. `audit_json_new` and `_entry` collect; `_end` appends the whole
 * and frees. */
struct audit_json;
struct audit_json *audit_json_new(void);
void audit_json_free(struct audit_json *j);
void audit_json_entry(struct audit_json *j, const struct replay_line *line);
void audit_json_end(struct buf *out, struct audit_json *j, const struct audit *a);

#endif
