/*
 * Scenes for tests of the replay: the log of a fake world in which one thing is manipulated,
 * replayed.
 */
#ifndef TESTS_UNIT_REPLAY_SCENE_H
#define TESTS_UNIT_REPLAY_SCENE_H

#include "attest/replay.h"
#include "fake_host.h"

enum { ENTRIES_MAX = 64, NO_ENTRY = -1 };

/* One manipulation, and what the replay must say of it. */
struct trick {
    const char *name;
    void (*setup)(struct fake_world *w); /* NULL: the usual history */
    enum fake_stage stage;
    enum fake_what what;
    int nth; /* of that stage and thing, from 1; 0: no hook */
    size_t at;
    uint8_t flip;
    void (*spoil)(struct fake_world *w, void *thing);
    int entry; /* the first that is false, or NO_ENTRY */
    const char *code, *says;
    const char *finding; /* that must be there, or NULL */
    enum finding_severity severity;
    enum outcome outcome;
    bool no_survey;
};

#define HOOK(st, wh, n) .stage = st, .what = wh, .nth = n
#define FALSE_AT(i, c, s) .entry = i, .code = c, .says = s, .outcome = OUTCOME_FALSE
#define FINDS(f, sev, out) .entry = NO_ENTRY, .finding = f, .severity = sev, .outcome = out

struct result {
    struct fake_world w;
    struct policy policy;
    struct replay *replay;
    struct replay_line lines[ENTRIES_MAX];
    struct replay_summary summary;
};

void usual_history(struct fake_world *w);
void survey(struct result *r);
void build(struct result *r, const struct trick *t);
void replay(struct result *r, const struct trick *t);
void result_cleanup(struct result *r);
void print_result(const struct result *r);
int first_false(const struct result *r);
bool finds(const struct result *r, const char *code, enum finding_severity severity);
void prepare(struct fake_world *w, unsigned host);
void never_activated(struct fake_world *w);
void activated_later(struct fake_world *w);
void reboot(struct fake_world *w);
void resume(struct fake_world *w, unsigned host);
void boot_pcr_at_run_time(struct fake_world *w);
void gap_after(struct fake_world *w, uint64_t seconds);

/* The replay says of each what it must. */
void find_out_each(const struct trick *tricks, size_t n);

#endif
