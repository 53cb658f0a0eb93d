/* A quote or stop that is manipulated is untrue, and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"

static void other_origin(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct quote_context *)thing)->origin, "example.org/other-log");
}

static void other_boot_id(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->boot_id[0] ^= 1;
}

static void other_previous(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->previous_index--;
}

static void no_previous(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->has_previous = false;
    c->period = 0;
}

static void other_leaf(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->previous_leaf.bytes[0] ^= 1;
}

static void period_again(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->period--;
}

static void a_demand_quote(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->kind = QUOTE_DEMAND;
    c->n_nonces = 1;
}

static void other_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->spki_sha256[0] ^= 1;
}

static void other_root(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_root.bytes[0] ^= 1;
}

static void other_note(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->head_note[0] ^= 1;
}

/* A head of a tree that is one longer than the log. */
static void head_of_the_future(struct fake_world *w, void *thing)
{
    struct quote_context *c = thing;
    c->head_size = w->n_entries + 1;
}

static void set_head(struct fake_world *w, struct quote_context *c, uint64_t size)
{
    BUF_AUTO note = BUF_INIT;
    fake_checkpoint(w, &note, size);
    fake_add_blob(w, buf_bytes(&note));
    c->head_size = size;
    c->head_root = merkle_root(w->leaves, size);
    sha256(c->head_note, buf_bytes(&note));
}

static void head_before_the_identity(struct fake_world *w, void *thing)
{
    set_head(w, thing, w->hosts[0].identity_index);
}

/* A quote that was made before the one that it follows was logged. */
static void head_before_the_previous(struct fake_world *w, void *thing)
{
    set_head(w, thing, w->hosts[0].previous_index);
}

static void head_signed_by_another(struct fake_world *w, void *thing)
{
    struct note_signer honest = w->log;
    uint8_t seed[ED25519_SEED_LEN] = {66};
    assert_false(is_err(note_signer_init(&w->log, honest.key.name, NOTE_ED25519, seed)));
    set_head(w, thing, w->n_entries);
    w->log = honest;
}

static void pcrs_that_were_not_quoted(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.pcrs.values[3][0] ^= 1;
}

static void no_such_pcr(struct fake_world *w, void *thing)
{
    (void)w;
    char *at = strstr((char *)(uintptr_t)buf_str(thing), "boot-pcr 7 ") + 11;
    *at = '0';
}

static void quote_first(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_quote(w, 0);
}

static void quote_before_boot(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, true);
    fake_log_quote(w, 0);
}

static void quote_before_identity(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_quote(w, 0);
}

static void the_same_quote_twice(struct fake_world *w)
{
    fake_start(w, 0);
    fake_append(w, buf_bytes(&w->entries[3]));
}

static void clock_went_back(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].clock_ms -= 60001;
    fake_log_quote(w, 0);
}

static void counts_without_boot(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].reset_count++;
    fake_log_quote(w, 0);
}

static void code_extended_at_run_time(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].pcrs.values[14][0] ^= 1;
    fake_log_quote(w, 0);
}

static const struct trick tricks[] = {
    {"a quote before its host", quote_first, FALSE_AT(0, "AK", "no true host")},
    {"a quote before its boot", quote_before_boot, FALSE_AT(1, "CONTEXT", "no true boot")},
    {"a quote before its identity", quote_before_identity,
     FALSE_AT(2, "LANES", "no true identity")},
    {"a quote's signature", NULL, HOOK(FAKE_SIGNATURE, FAKE_PERIODIC, 2), .at = 30, .flip = 1,
     FALSE_AT(4, "SIGNATURE", "periodic quote")},
    {"a stop's signature", NULL, HOOK(FAKE_SIGNATURE, FAKE_STOP, 1), .at = 30, .flip = 1,
     FALSE_AT(13, "SIGNATURE", "stop quote")},
    {"a quote's magic", NULL, HOOK(FAKE_ATTEST, FAKE_PERIODIC, 2), .at = AT_MAGIC, .flip = 1,
     FALSE_AT(4, "QUOTE", "not made by a TPM")},
    {"a quote's selection", NULL, HOOK(FAKE_ATTEST, FAKE_PERIODIC, 2), .at = AT_SELECT, .flip = 1,
     FALSE_AT(4, "QUOTE", "selects")},
    {"PCRs that were not quoted", NULL, HOOK(FAKE_STATEMENT, FAKE_PERIODIC, 2),
     .spoil = pcrs_that_were_not_quoted, FALSE_AT(4, "QUOTE", "digest")},
    {"extraData", NULL, HOOK(FAKE_ATTEST, FAKE_PERIODIC, 2), .at = AT_EXTRA, .flip = 1,
     FALSE_AT(4, "CONTEXT", "extraData")},
    {"another origin", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = other_origin,
     FALSE_AT(4, "CONTEXT", "another log")},
    {"another boot id", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = other_boot_id,
     FALSE_AT(4, "CONTEXT", "boot id")},
    {"a demand quote", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = a_demand_quote,
     FALSE_AT(4, "CONTEXT", "demand")},
    {"another previous", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = other_previous,
     FALSE_AT(4, "CONTEXT", "previous")},
    {"another previous leaf", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = other_leaf,
     FALSE_AT(4, "CONTEXT", "previous")},
    {"no previous", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = no_previous,
     FALSE_AT(4, "CONTEXT", "previous")},
    {"a period again", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = period_again,
     FALSE_AT(4, "CONTEXT", "period")},
    {"a quote made in advance", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2),
     .spoil = head_before_the_previous, FALSE_AT(4, "CONTEXT", "does not cover")},
    {"the same quote twice", the_same_quote_twice, FALSE_AT(4, "CONTEXT", "previous")},
    {"counts without a boot statement", counts_without_boot, FALSE_AT(4, "COUNTERS", "reset")},
    {"a clock that went back", clock_went_back, FALSE_AT(4, "COUNTERS", "does not advance")},
    {"another TLS key", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = other_key,
     FALSE_AT(4, "LANES", "another TLS key")},
    {"code extended at run time", code_extended_at_run_time, FALSE_AT(4, "LANES", "PCR 14")},
    {"a boot PCR", NULL, HOOK(FAKE_POLICY, FAKE_HOST, 1), .spoil = no_such_pcr,
     FALSE_AT(3, "BOOT", "PCR 7")},
    {"a boot PCR at run time", boot_pcr_at_run_time, FALSE_AT(4, "BOOT", "PCR 11")},
    {"a head of another history", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 3), .spoil = other_root,
     FALSE_AT(8, "LOG", "another history")},
    {"a head of the future", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2),
     .spoil = head_of_the_future, FALSE_AT(4, "LOG", "not of the entries before it")},
    {"a head without its note", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2), .spoil = other_note,
     FALSE_AT(4, "LOG", "note")},
    {"a head signed by another", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 2),
     .spoil = head_signed_by_another, FALSE_AT(4, "LOG", "note")},
    {"a head before the identity", NULL, HOOK(FAKE_CONTEXT, FAKE_PERIODIC, 1),
     .spoil = head_before_the_identity, FALSE_AT(3, "LOG", "does not cover the identity")},
};

static void finds_each_manipulation(void **state)
{
    (void)state;
    find_out_each(tricks, sizeof tricks / sizeof *tricks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_each_manipulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
