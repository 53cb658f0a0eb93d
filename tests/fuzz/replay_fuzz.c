/*
 * A log of which the input says what happens next: true entries of two hosts, entries whose bytes
 * it changes, entries of its own. The replay never crashes, and a changed entry is never true.
 */
#include <stdlib.h>

#include "attest/replay.h"
#include "fake_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MAX = 40 };

/* The next true entry of a host. */
static void go_on(struct fake_world *w, unsigned host, uint8_t choice)
{
    switch (choice % 8) {
    case 0:
        fake_reset(w, host);
        fake_measure(w, host);
        fake_new_key(w, host);
        fake_log_boot(w, host);
        break;
    case 1:
        fake_new_key(w, host);
        fake_log_identity(w, host);
        break;
    case 2:
        fake_log_stop(w, host, choice);
        break;
    case 3:
        fake_log_host(w, host, true);
        break;
    default:
        fake_log_quote(w, host);
    }
}

/* One step: an operation, and for some of them bytes. True if the new entry's bytes were changed.
 */
static bool step(struct fake_world *w, struct reader *r)
{
    uint8_t operation = read_u8(r);
    if (operation < 0xc0) {
        go_on(w, operation & 1, operation >> 1);
        return false;
    }
    if (operation < 0xe0) {
        fake_append(w, read_bytes(r, read_u8(r)));
        return false;
    }
    struct buf *entry = &w->entries[read_u8(r) % w->n_entries];
    BUF_AUTO changed = BUF_INIT;
    buf_append_bytes(&changed, buf_bytes(entry));
    uint8_t flip = read_u8(r);
    changed.data[read_u16be(r) % changed.len] ^= flip != 0 ? flip : 1;
    fake_append(w, buf_bytes(&changed));
    return true;
}

static void build(struct fake_world *w, bool changed[ENTRIES_MAX + 8], struct reader *r)
{
    fake_start(w, 0);
    fake_reset(w, 1);
    fake_measure(w, 1);
    fake_new_key(w, 1);
    while (reader_left(r) > 0 && w->n_entries < ENTRIES_MAX) {
        bool is_changed = step(w, r);
        changed[w->n_entries - 1] = is_changed;
    }
}

/* A host statement with a changed number of the like may parse; nothing signed may. */
static void replay(struct fake_world *w, const struct policy *p, const bool *changed)
{
    struct replay *r = NULL;
    struct replay_line line;
    struct replay_summary summary;
    if (is_err(replay_new(&r, p, fake_blob, w)))
        abort();
    for (size_t i = 0; i < w->n_entries; i++)
        if (is_err(replay_survey(r, buf_bytes(&w->entries[i]))))
            abort();
    for (size_t i = 0; i < w->n_entries; i++) {
        if (is_err(replay_entry(r, &line, i, buf_bytes(&w->entries[i]))))
            abort();
        if (changed[i] && line.status == RULE_TRUE && line.kind != STATEMENT_HOST)
            abort();
    }
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    if (is_err(replay_finish(r, &summary, buf_bytes(&note))))
        abort();
    if (summary.outcome == OUTCOME_TRUE && summary.n_true != w->n_entries)
        abort();
    replay_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fake_world w;
    struct policy p;
    bool changed[ENTRIES_MAX + 8] = {false};
    struct reader r = reader_of(bytes_of(data, size));
    fake_world_init(&w, NULL);
    w.has_event_log = read_u8(&r) & 1;
    build(&w, changed, &r);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&w, &text);
    if (is_err(policy_parse(&p, buf_bytes(&text))))
        abort();
    replay(&w, &p, changed);
    policy_cleanup(&p);
    fake_world_cleanup(&w);
    return 0;
}
