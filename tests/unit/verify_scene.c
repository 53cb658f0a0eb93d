#include "verify_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

const uint8_t scene_nonce[NONCE_LEN] = {0x11, 0x22, 0x33};
const char scene_zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

static const struct flaw *flaw; /* the one that is being made */

static void hook(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing)
{
    if (flaw == NULL || flaw->stage != stage || flaw->what != what)
        return;
    if (flaw->spoil != NULL)
        flaw->spoil(w, thing);
    else if (flaw->flip != 0)
        ((struct buf *)thing)->data[flaw->at] ^= flaw->flip;
}

/* Two hosts share the log; the evidence is of the first. */
void usual_history(struct fake_world *w)
{
    fake_start(w, 0);
    fake_start(w, 1);
    fake_log_quote(w, 0);
    fake_log_quote(w, 1);
}

void scene_init(struct scene *s, const struct flaw *f)
{
    memset(s, 0, sizeof *s);
    flaw = f;
    fake_world_init(&s->w, hook);
    (f != NULL && f->setup != NULL ? f->setup : usual_history)(&s->w);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&s->w, &text);
    struct err e = policy_parse(&s->policy, buf_bytes(&text));
    if (is_err(e))
        fail_msg("policy: %s", err_message());
    fake_evidence(&s->w, 0, &s->evidence, scene_nonce);
    evidence_format(&s->json, &s->evidence);
    s->input = (struct verify_input){.evidence_json = buf_bytes(&s->json), .policy = &s->policy};
    memcpy(s->input.nonce, scene_nonce, NONCE_LEN);
    memcpy(s->input.peer_spki_sha256, s->w.hosts[0].spki_sha256, SHA256_LEN);
    if (f != NULL && f->input != NULL)
        f->input(&s->w, &s->input);
}

void scene_cleanup(struct scene *s)
{
    evidence_cleanup(&s->evidence);
    policy_cleanup(&s->policy);
    buf_cleanup(&s->json);
    fake_world_cleanup(&s->w);
    flaw = NULL;
}

void print_verdict(const struct verdict *v)
{
    BUF_AUTO text = BUF_INIT;
    verdict_print(&text, v);
    fprintf(stderr, "%s", buf_str(&text));
}

int first_false(const struct verdict *v)
{
    for (int i = 0; i < N_RULES; i++)
        if (v->rules[i].status == RULE_FALSE)
            return i + 1;
    return 0;
}

bool says(const struct verdict *v, const char *part)
{
    for (size_t i = 0; i < v->n_not_proven; i++)
        if (strstr(v->not_proven[i], part) != NULL)
            return true;
    return false;
}

void not_activated(struct fake_world *w)
{
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, false);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

void replace_text(struct buf *text, const char *from, const char *to)
{
    BUF_AUTO out = BUF_INIT;
    const char *all = buf_str(text);
    const char *at = strstr(all, from);
    if (at == NULL)
        fail_msg("no '%s' to replace", from);
    buf_append(&out, all, (size_t)(at - all));
    buf_append_str(&out, to);
    buf_append_str(&out, at + strlen(from));
    buf_clear(text);
    buf_append_bytes(text, buf_bytes(&out));
}

void allow_zero_pcr_9(struct fake_world *w, void *thing)
{
    (void)w;
    buf_printf(thing, "boot-pcr 9 %s\n", scene_zeros);
}

void zero_pcr_9(struct fake_world *w)
{
    fake_reset(w, 0);
    memset(w->hosts[0].pcrs.values[9], 0, SHA256_LEN);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

void set_head(struct fake_world *w, struct quote_context *c, uint64_t size)
{
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, size);
    c->head_size = size;
    c->head_root = merkle_root(w->leaves, size);
    sha256(c->head_note, buf_bytes(&note));
}

void change_hex(struct buf *text, const char *key)
{
    char *at = strstr((char *)(uintptr_t)buf_str(text), key) + strlen(key);
    *at = *at == '0' ? '1' : '0';
}

void without_blob(struct evidence *e, size_t i)
{
    buf_cleanup(&e->blobs[i]);
    e->n_blobs--;
    memmove(&e->blobs[i], &e->blobs[i + 1], (e->n_blobs - i) * sizeof *e->blobs);
}

bool refused_by_its_rule(const struct flaw *f)
{
    struct scene s;
    struct verdict v;
    scene_init(&s, f);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    int rule = first_false(&v);
    bool good = rule == f->rule && strstr(v.rules[rule - 1].text, f->says) != NULL;
    if (!good) {
        print_verdict(&v);
        print_error("%s: rule %d must be false and say '%s'\n", f->name, f->rule, f->says);
    }
    assert_int_equal(v.outcome, OUTCOME_FALSE);
    assert_int_equal(v.n_proven, 0);
    for (int i = rule; i < N_RULES; i++)
        assert_int_equal(v.rules[i].status, RULE_NOT_CHECKED);
    scene_cleanup(&s);
    return good;
}

void refuse_each(const struct flaw *flaws, size_t n)
{
    size_t n_wrong = 0;
    for (size_t i = 0; i < n; i++)
        n_wrong += !refused_by_its_rule(&flaws[i]);
    assert_int_equal(n_wrong, 0);
    print_message("%zu flaws, each refused by its rule\n", n);
}
