/*
 * The file is checked as a whole before any entry is judged (store_fsck, which also gives the
 * survey of activations); then every entry is read again and replayed, and must hash to the newest
 * checkpoint.
 */
#include "auditor/audit.h"

#include <string.h>

#include "attest/report.h"
#include "auditor/command.h"
#include "transparency/store.h"

static void store_release(struct store **s)
{
    store_close(*s);
}
#define STORE_AUTO __attribute__((cleanup(store_release))) struct store

void audit_cleanup(struct audit *a)
{
    replay_free(a->replay); /* before the policy, which it borrows */
    policy_cleanup(&a->policy);
    *a = AUDIT_INIT;
}

static struct err read_blob(void *store, const uint8_t sha256[SHA256_LEN], struct buf *out)
{
    return store_blob_read(store, sha256, out);
}

static struct err survey(void *replay, uint64_t index, struct bytes entry,
                         const struct merkle_hash *leaf, const uint8_t *head)
{
    (void)leaf;
    if (head != NULL)
        TRY(replay_verified_head(replay, index + 1, head));
    return replay_survey(replay, entry);
}

static struct err replay_all(struct audit *a, struct store *s, audit_entry *entry, void *context)
{
    BUF_AUTO note = BUF_INIT;
    struct checkpoint newest;
    TRY(store_checkpoint(s, NULL, &newest));
    TRY(store_cosigned(s, newest.size, &note));
    a->size = newest.size;
    for (uint64_t i = 0; i < newest.size; i++) {
        BUF_AUTO bytes = BUF_INIT;
        struct replay_line line;
        TRY(store_entry_read(s, i, &bytes));
        TRY(replay_entry(a->replay, &line, i, buf_bytes(&bytes)));
        entry(context, &line);
    }
    return replay_finish(a->replay, &a->summary, buf_bytes(&note));
}

struct err audit_run(struct audit *a, const char *log_path, const char *policy_path,
                     audit_entry *entry, void *context)
{
    TRY(policy_load(&a->policy, policy_path));
    STORE_AUTO *s = NULL;
    TRY(err_context(store_open_readonly(&s, log_path), "%s", log_path));
    TRY(replay_new(&a->replay, &a->policy, read_blob, s));
    struct err e = store_fsck(s, &a->policy.log, survey, a->replay);
    if (!is_err(e))
        e = replay_all(a, s, entry, context);
    if (!command_is_fault(e))
        return err_context(e, "%s", log_path);
    report_clean(a->fault, sizeof a->fault, err_message());
    return err_ok();
}

bool audit_is_partly_true(const struct audit *a)
{
    return a->fault[0] == '\0' && replay_is_partly_true(&a->summary);
}

/* `name` from the type of its hash on, as it is logged, or from the hash on, as it is shown. */
static bool is_named(const struct replay_verdict *v, const char *name)
{
    BUF_AUTO hex = BUF_INIT;
    if (v->ak_name.len == 0)
        return false;
    buf_append_hex(&hex, bytes_of(v->ak_name.bytes, v->ak_name.len));
    size_t len = strlen(name);
    return strncmp(buf_str(&hex), name, len) == 0 || strncmp(buf_str(&hex) + 4, name, len) == 0;
}

struct err audit_host(const struct replay_verdict **out, const struct audit *a, const char *name)
{
    const struct replay_verdict *found = NULL;
    size_t n = 0;
    if (strlen(name) < AUDIT_HOST_MIN)
        return err_set(ERR_USAGE, "--host %s: give at least %d hex digits of the key's name", name,
                       AUDIT_HOST_MIN);
    for (size_t i = 0; a->fault[0] == '\0' && i < a->summary.n_verdicts; i++)
        if (is_named(&a->summary.hosts[i], name)) {
            found = &a->summary.hosts[i];
            n++;
        }
    if (n != 1)
        return err_set(ERR_USAGE, "--host %s: %zu attestation keys in this log have that name",
                       name, n);
    *out = found;
    return err_ok();
}

enum outcome audit_outcome(const struct audit *a)
{
    return a->fault[0] != '\0' ? OUTCOME_FALSE : a->summary.outcome;
}
