/* Rules 1, 10 and 11: the bundle itself, the log around it, the peer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

static void other_head_root(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_root.bytes[0] ^= 1;
}

static void other_head_note(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_note[0] ^= 1;
}

static void head_before_the_identity(struct fake_world *w, void *thing)
{
    struct quote_context *c = thing;
    c->has_previous = false;
    c->period = 0;
    set_head(w, c, w->hosts[0].identity_index);
}

static void only_one_quote(struct fake_world *w)
{
    fake_start(w, 0);
}

/* The live quote's head covers the logged quote, but not a host statement that came later. */
static void host_after_the_quote(struct fake_world *w)
{
    not_activated(w);
    fake_log_host(w, 0, true);
}

static void head_before_the_last_host(struct fake_world *w, void *thing)
{
    set_head(w, thing, w->n_entries - 1);
}

static void another_peer(struct fake_world *w, struct verify_input *in)
{
    (void)w;
    in->peer_spki_sha256[31] ^= 1;
}

static void no_policy(struct fake_world *w, struct verify_input *in)
{
    (void)w;
    in->policy = NULL;
}

static void lane_of_another_log(struct fake_world *w)
{
    w->log_vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    usual_history(w);
}

static void old_quote(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].clock_ms += 600 * 1000;
}

static void short_age(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "max-age 600", "max-age 1");
}

/* A log of the same name and another key. */
static void another_log_key(struct fake_world *w, void *thing)
{
    struct note_signer other;
    uint8_t seed[ED25519_SEED_LEN] = {77};
    if (is_err(note_signer_init(&other, w->log.key.name, NOTE_ED25519, seed)))
        fail();
    BUF_AUTO from = BUF_INIT, to = BUF_INIT;
    note_vkey_format(&from, &w->log.key);
    note_vkey_format(&to, &other.key);
    replace_text(thing, buf_str(&from), buf_str(&to));
}

static void drop_statement(struct evidence *e, size_t i)
{
    buf_cleanup(&e->statements[i].text);
    e->n_statements--;
    memmove(&e->statements[i], &e->statements[i + 1],
            (e->n_statements - i) * sizeof *e->statements);
}

static void without_host(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 0);
}

static void without_boot(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 1);
}

static void without_identity(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 2);
}

static void without_quote(struct fake_world *w, void *thing)
{
    (void)w;
    drop_statement(thing, 3);
}

static void add_entry(struct fake_world *w, struct evidence *e, uint64_t index)
{
    struct merkle_proof proof;
    fake_inclusion(w, &proof, index, w->n_entries);
    evidence_add_statement(e, index, buf_bytes(&w->entries[index]), &proof);
}

static void host_twice(struct fake_world *w, void *thing)
{
    add_entry(w, thing, w->hosts[0].host_index);
}

static void two_quotes(struct fake_world *w, void *thing)
{
    add_entry(w, thing, w->hosts[0].quote_index - 5);
}

static void host_of_another(struct fake_world *w, void *thing)
{
    add_entry(w, thing, w->hosts[1].host_index);
}

static void quote_of_another(struct fake_world *w, void *thing)
{
    drop_statement(thing, 3);
    add_entry(w, thing, w->hosts[1].quote_index);
}

static void blob_too_many(struct fake_world *w, void *thing)
{
    (void)w;
    evidence_add_blob(thing, bytes_of_str("left over"));
}

static void head_too_many(struct fake_world *w, void *thing)
{
    BUF_AUTO note = BUF_INIT;
    struct merkle_proof proof;
    fake_checkpoint(w, &note, 1);
    fake_consistency(w, &proof, 1);
    evidence_add_head(thing, buf_bytes(&note), &proof);
}

static void head_twice(struct fake_world *w, void *thing)
{
    (void)w;
    struct evidence *e = thing;
    struct merkle_proof proof = e->heads[0].proof;
    BUF_AUTO note = BUF_INIT;
    buf_append_bytes(&note, buf_bytes(&e->heads[0].note));
    evidence_add_head(e, buf_bytes(&note), &proof);
}

static void drop_head(struct evidence *e, size_t i)
{
    buf_cleanup(&e->heads[i].note);
    e->n_heads--;
    memmove(&e->heads[i], &e->heads[i + 1], (e->n_heads - i) * sizeof *e->heads);
}

static void without_logged_head(struct fake_world *w, void *thing)
{
    (void)w;
    drop_head(thing, 0);
}

static void without_live_head(struct fake_world *w, void *thing)
{
    (void)w;
    drop_head(thing, 1);
}

static void head_not_consistent(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->heads[0].proof.hashes[0].bytes[0] ^= 1;
}

static void another_index(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->statements[1].index--;
    ((struct evidence *)thing)->statements[0].index = 7;
}

static void proof_of_another(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->statements[2].proof.hashes[0].bytes[0] ^= 1;
}

static void proof_too_long(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->statements[2].proof.n_hashes++;
}

static void checkpoint_of_the_past(struct fake_world *w, void *thing)
{
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->hosts[0].quote_index);
    evidence_set_checkpoint(thing, buf_bytes(&note));
}

/* Everything shown is in it; only the head that the live quote names is newer. */
static void checkpoint_before_the_live_head(struct fake_world *w, void *thing)
{
    struct evidence *e = thing;
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries - 1);
    evidence_set_checkpoint(e, buf_bytes(&note));
    for (size_t i = 0; i < e->n_statements; i++)
        fake_inclusion(w, &e->statements[i].proof, e->statements[i].index, w->n_entries - 1);
    w->n_entries--;
    fake_consistency(w, &e->heads[0].proof, w->hosts[0].quote_index);
    w->n_entries++;
    e->heads[1].proof.n_hashes = 0;
}

static void checkpoint_by_another(struct fake_world *w, void *thing)
{
    struct note_signer honest = w->log;
    uint8_t seed[ED25519_SEED_LEN] = {66};
    if (is_err(note_signer_init(&w->log, honest.key.name, NOTE_ED25519, seed)))
        fail();
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, w->n_entries);
    evidence_set_checkpoint(thing, buf_bytes(&note));
    w->log = honest;
}

static void live_quote_is_the_logged(struct fake_world *w, void *thing)
{
    struct evidence *e = thing;
    struct merkle_proof proof = e->nonce_proof;
    evidence_set_quote(e, buf_bytes(&w->entries[w->hosts[0].quote_index]), 1, &proof);
}

static void stop_in_the_bundle(struct fake_world *w)
{
    usual_history(w);
    fake_log_stop(w, 0, 600);
}

static const struct flaw flaws[] = {
    INPUT("no policy", 1, "no policy", no_policy),
    SPOIL("no host", 1, "no host", FAKE_EVIDENCE, FAKE_DEMAND, without_host),
    SPOIL("no boot", 1, "0 statements of kind boot", FAKE_EVIDENCE, FAKE_DEMAND, without_boot),
    SPOIL("no identity", 1, "kind identity", FAKE_EVIDENCE, FAKE_DEMAND, without_identity),
    SPOIL("no quote", 1, "kind quote", FAKE_EVIDENCE, FAKE_DEMAND, without_quote),
    SPOIL("a statement twice", 1, "twice", FAKE_EVIDENCE, FAKE_DEMAND, host_twice),
    SPOIL("two quotes", 1, "kind", FAKE_EVIDENCE, FAKE_DEMAND, two_quotes),
    SPOIL("hosts mixed", 1, "another attestation key", FAKE_EVIDENCE, FAKE_DEMAND, host_of_another),
    SPOIL("quotes mixed", 1, "another attestation key", FAKE_EVIDENCE, FAKE_DEMAND,
          quote_of_another),
    SPOIL("a blob left over", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND, blob_too_many),
    SPOIL("a head left over", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND, head_too_many),
    SPOIL("a head twice", 1, "twice", FAKE_EVIDENCE, FAKE_DEMAND, head_twice),
    SPOIL("a head of an unknown note", 1, "left over", FAKE_CONTEXT, FAKE_DEMAND, other_head_note),
    SETUP("a stop", 1, "kind", stop_in_the_bundle),
    SPOIL("the live quote is the logged", 1, "left over", FAKE_EVIDENCE, FAKE_DEMAND,
          live_quote_is_the_logged),
    SETUP("a lane of another log", 10, "another log", lane_of_another_log),
    SPOIL("another log key", 10, "another log", FAKE_POLICY, FAKE_HOST, another_log_key),
    SPOIL("a checkpoint by another", 10, "checkpoint", FAKE_EVIDENCE, FAKE_DEMAND,
          checkpoint_by_another),
    SPOIL("a checkpoint of the past", 10, "", FAKE_EVIDENCE, FAKE_DEMAND, checkpoint_of_the_past),
    SPOIL("a checkpoint before the live head", 10, "live quote", FAKE_EVIDENCE, FAKE_DEMAND,
          checkpoint_before_the_live_head),
    SPOIL("another index", 10, "entry", FAKE_EVIDENCE, FAKE_DEMAND, another_index),
    SPOIL("another proof", 10, "entry", FAKE_EVIDENCE, FAKE_DEMAND, proof_of_another),
    SPOIL("a proof too long", 10, "entry", FAKE_EVIDENCE, FAKE_DEMAND, proof_too_long),
    SPOIL("no logged head", 10, "missing", FAKE_EVIDENCE, FAKE_DEMAND, without_logged_head),
    SPOIL("no live head", 10, "missing", FAKE_EVIDENCE, FAKE_DEMAND, without_live_head),
    SPOIL("an inconsistent head", 10, "", FAKE_EVIDENCE, FAKE_DEMAND, head_not_consistent),
    SPOIL("another head root", 10, "signed note", FAKE_CONTEXT, FAKE_DEMAND, other_head_root),
    {.name = "logged head before the identity",
     .rule = 10,
     .says = "does not cover the identity",
     .stage = FAKE_CONTEXT,
     .what = FAKE_PERIODIC,
     .spoil = head_before_the_identity,
     .setup = only_one_quote},
    {.name = "live head before a host statement",
     .rule = 10,
     .says = "does not cover the host",
     .stage = FAKE_CONTEXT,
     .what = FAKE_DEMAND,
     .spoil = head_before_the_last_host,
     .setup = host_after_the_quote},
    SETUP("an old quote", 10, "602 s old", old_quote),
    SPOIL("a short age", 10, "old", FAKE_POLICY, FAKE_HOST, short_age),
    INPUT("another peer", 11, "peer", another_peer),
};

static void refuses_each_single_flaw(void **state)
{
    (void)state;
    refuse_each(flaws, sizeof flaws / sizeof *flaws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_each_single_flaw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
