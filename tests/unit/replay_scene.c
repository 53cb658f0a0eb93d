#include "replay_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct trick *trick; /* the one that is being made */

static void hook(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing)
{
    if (trick == NULL || trick->nth == 0 || trick->stage != stage || trick->what != what ||
        ++w->hook_data != trick->nth)
        return;
    if (trick->spoil != NULL)
        trick->spoil(w, thing);
    else
        ((struct buf *)thing)->data[trick->at] ^= trick->flip;
}

/* 20 entries: two hosts, a stop, a reboot, a new TLS key. */
void usual_history(struct fake_world *w)
{
    fake_start(w, 0);     /* 0 host, 1 boot, 2 identity, 3 quote */
    fake_log_quote(w, 0); /* 4 */
    fake_start(w, 1);     /* 5 to 8 */
    fake_log_quote(w, 0); /* 9 */
    fake_log_quote(w, 1); /* 10 */
    fake_new_key(w, 0);
    fake_log_identity(w, 0);  /* 11 */
    fake_log_quote(w, 0);     /* 12 */
    fake_log_stop(w, 0, 600); /* 13 */
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_boot(w, 0);     /* 14 */
    fake_log_identity(w, 0); /* 15 */
    fake_log_quote(w, 0);    /* 16 */
    fake_log_quote(w, 0);    /* 17 */
    fake_log_quote(w, 1);    /* 18 */
    fake_log_quote(w, 0);    /* 19 */
}

void survey(struct result *r)
{
    for (size_t i = 0; i < r->w.n_entries; i++)
        assert_false(is_err(replay_survey(r->replay, buf_bytes(&r->w.entries[i]))));
}

void build(struct result *r, const struct trick *t)
{
    trick = t;
    fake_world_init(&r->w, hook);
    (t != NULL && t->setup != NULL ? t->setup : usual_history)(&r->w);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&r->w, &text);
    if (is_err(policy_parse(&r->policy, buf_bytes(&text))))
        fail_msg("policy: %s", err_message());
    assert_true(r->w.n_entries <= ENTRIES_MAX);
}

void replay(struct result *r, const struct trick *t)
{
    memset(r, 0, sizeof *r);
    build(r, t);
    assert_false(is_err(replay_new(&r->replay, &r->policy, fake_blob, &r->w)));
    if (t == NULL || !t->no_survey)
        survey(r);
    for (size_t i = 0; i < r->w.n_entries; i++)
        if (is_err(replay_entry(r->replay, &r->lines[i], i, buf_bytes(&r->w.entries[i]))))
            fail_msg("entry %zu: %s", i, err_message());
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(&r->w, &note, r->w.n_entries);
    assert_false(is_err(replay_finish(r->replay, &r->summary, buf_bytes(&note))));
}

void result_cleanup(struct result *r)
{
    replay_free(r->replay);
    policy_cleanup(&r->policy);
    fake_world_cleanup(&r->w);
    trick = NULL;
}

void print_result(const struct result *r)
{
    for (size_t i = 0; i < r->w.n_entries; i++)
        print_error("%2zu %-8s %s %s %s: %s\n", i, statement_kind_name(r->lines[i].kind),
                    r->lines[i].host, r->lines[i].status == RULE_TRUE ? "true " : "FALSE",
                    r->lines[i].code, r->lines[i].text);
    for (size_t i = 0; i < r->summary.n_findings; i++)
        print_error("finding %d %s entry %llu: %s\n", (int)r->summary.findings[i].severity,
                    r->summary.findings[i].code, (unsigned long long)r->summary.findings[i].index,
                    r->summary.findings[i].text);
    print_error("outcome %d: %s\n", (int)r->summary.outcome, r->summary.reason);
}

int first_false(const struct result *r)
{
    for (size_t i = 0; i < r->w.n_entries; i++)
        if (r->lines[i].status != RULE_TRUE)
            return (int)i;
    return NO_ENTRY;
}

bool finds(const struct result *r, const char *code, enum finding_severity severity)
{
    for (size_t i = 0; i < r->summary.n_findings; i++)
        if (strcmp(r->summary.findings[i].code, code) == 0 &&
            r->summary.findings[i].severity == severity)
            return true;
    return false;
}

void prepare(struct fake_world *w, unsigned host)
{
    fake_reset(w, host);
    fake_measure(w, host);
    fake_new_key(w, host);
}

void never_activated(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, false);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

void activated_later(struct fake_world *w)
{
    never_activated(w);
    fake_log_host(w, 0, true);
    fake_log_quote(w, 0);
}

void reboot(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

/* TPM2_Startup(STATE): PCRs stay, and the attester adds a step of its boot counter. */
void resume(struct fake_world *w, unsigned host)
{
    w->hosts[host].restart_count++;
    w->hosts[host].counter++;
    w->hosts[host].clock_ms += 5000;
}

void boot_pcr_at_run_time(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].pcrs.values[11][0] ^= 1;
    fake_log_quote(w, 0);
}

void gap_after(struct fake_world *w, uint64_t seconds)
{
    w->hosts[0].clock_ms += seconds * 1000;
    fake_log_quote(w, 0);
}

static bool found_out(const struct trick *t)
{
    struct result r;
    replay(&r, t);
    int entry = first_false(&r);
    bool good = entry == t->entry && r.summary.outcome == t->outcome;
    if (good && entry != NO_ENTRY) {
        char named[32];
        snprintf(named, sizeof named, "entry %d, rule %s", entry, t->code);
        good = strcmp(r.lines[entry].code, t->code) == 0 &&
               strstr(r.lines[entry].text, t->says) != NULL &&
               strncmp(r.summary.reason, named, strlen(named)) == 0;
    }
    if (good && t->finding != NULL)
        good = finds(&r, t->finding, t->severity);
    if (!good) {
        print_result(&r);
        print_error("%s: expected entry %d %s '%s', finding %s, outcome %d\n", t->name, t->entry,
                    t->code != NULL ? t->code : "", t->says != NULL ? t->says : "",
                    t->finding != NULL ? t->finding : "none", (int)t->outcome);
    }
    result_cleanup(&r);
    return good;
}

void find_out_each(const struct trick *tricks, size_t n)
{
    size_t n_wrong = 0;
    for (size_t i = 0; i < n; i++)
        n_wrong += !found_out(&tricks[i]);
    assert_int_equal(n_wrong, 0);
    print_message("%zu manipulations, each found\n", n);
}
