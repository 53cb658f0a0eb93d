/* Rules 3 to 6: signatures, quotes, contexts and counters, one flaw at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

static void other_boot_id(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->boot_id[3] ^= 1;
}

static void other_origin(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct quote_context *)thing)->origin, "example.org/other-log");
}

static void no_previous(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->has_previous = false;
}

static void previous_is_another_entry(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->previous_index--;
}

static void previous_is_another_leaf(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->previous_leaf.bytes[5] ^= 1;
}

static void another_period(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->period++;
}

static void another_nonce_root(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->nonce_root.bytes[0] ^= 1;
}

static void nonce_tree_of_another_size(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->n_nonces = 8;
}

static void periodic_says_demand(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->kind = QUOTE_DEMAND;
    c->n_nonces = 1;
}

static void demand_says_periodic(struct fake_world *w, void *thing)
{
    (void)w;
    struct quote_context *c = thing;
    c->kind = QUOTE_PERIODIC;
    c->n_nonces = 0;
}

static void head_before_the_logged_quote(struct fake_world *w, void *thing)
{
    set_head(w, thing, w->hosts[0].quote_index);
}

static void other_reset_count(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.reset_count++;
}

static void other_restart_count(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.restart_count++;
}

static void other_counter_index(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.counter_index++;
}

static void boot_statement_of_another_id(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.boot_id[0] ^= 1;
}

static void identity_of_another_boot(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.boot_id[0] ^= 1;
}

static void pcrs_that_were_not_quoted(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->quote.pcrs.values[3][0] ^= 1;
}

static void ordinary_nv_index(struct fake_world *w)
{
    for (unsigned i = 0; i < FAKE_HOSTS; i++)
        w->hosts[i].counter_attributes &= ~(1u << 4);
    usual_history(w);
}

static void counter_with_a_policy_bit(struct fake_world *w)
{
    for (unsigned i = 0; i < FAKE_HOSTS; i++)
        w->hosts[i].counter_attributes |= 1u << 26; /* ORDERLY */
    usual_history(w);
}

static void replayed_live_quote(struct fake_world *w, struct verify_input *in)
{
    (void)w;
    in->nonce[0] ^= 1;
}

static void quote_of_the_boot_before(struct fake_world *w)
{
    fake_start(w, 0);
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    w->hosts[0].period = 1;
}

static void unsafe_clock(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].safe = 0;
}

static void clock_that_stands(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].clock_ms -= 2000; /* fake_evidence adds these */
}

static void another_nonce_index(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->nonce_index = 2;
}

static void nonce_path_too_short(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct evidence *)thing)->nonce_proof.n_hashes = 1;
}

static const struct flaw flaws[] = {
    BYTE("live signature", 3, "live quote", FAKE_SIGNATURE, FAKE_DEMAND, 20, 0x01),
    BYTE("logged signature", 3, "periodic quote", FAKE_SIGNATURE, FAKE_PERIODIC, 20, 0x01),
    BYTE("counter signature", 3, "boot counter", FAKE_SIGNATURE, FAKE_BOOT, 50, 0x80),
    BYTE("signature scheme", 3, "scheme", FAKE_SIGNATURE, FAKE_DEMAND, 1, 0x0c),
    BYTE("signature hash", 3, "hash", FAKE_SIGNATURE, FAKE_DEMAND, 3, 0x07),
    BYTE("live magic", 4, "not made by a TPM", FAKE_ATTEST, FAKE_DEMAND, AT_MAGIC + 3, 0x01),
    BYTE("logged magic", 4, "not made by a TPM", FAKE_ATTEST, FAKE_PERIODIC, AT_MAGIC, 0x80),
    BYTE("live type", 4, "", FAKE_ATTEST, FAKE_DEMAND, AT_TYPE + 1, 0x0c),
    BYTE("live bank", 4, "bank", FAKE_ATTEST, FAKE_DEMAND, AT_BANK + 1, 0x0f),
    BYTE("live selection lacks PCR 0", 4, "selects", FAKE_ATTEST, FAKE_DEMAND, AT_SELECT, 0x01),
    BYTE("logged selection has PCR 23", 4, "selects", FAKE_ATTEST, FAKE_PERIODIC, AT_SELECT + 2,
         0x80),
    BYTE("live digest", 4, "digest", FAKE_ATTEST, FAKE_DEMAND, AT_DIGEST, 0x01),
    BYTE("safe is neither", 4, "safe", FAKE_ATTEST, FAKE_DEMAND, AT_SAFE, 0x02),
    SPOIL("live PCRs not quoted", 4, "digest", FAKE_STATEMENT, FAKE_DEMAND,
          pcrs_that_were_not_quoted),
    SPOIL("logged PCRs not quoted", 4, "digest", FAKE_STATEMENT, FAKE_PERIODIC,
          pcrs_that_were_not_quoted),
    BYTE("live extraData", 5, "extraData", FAKE_ATTEST, FAKE_DEMAND, AT_EXTRA + 7, 0x10),
    BYTE("logged extraData", 5, "extraData", FAKE_ATTEST, FAKE_PERIODIC, AT_EXTRA, 0x10),
    INPUT("a replayed live quote", 5, "nonce", replayed_live_quote),
    SPOIL("another nonce root", 5, "nonce", FAKE_CONTEXT, FAKE_DEMAND, another_nonce_root),
    SPOIL("another nonce count", 5, "nonce", FAKE_CONTEXT, FAKE_DEMAND, nonce_tree_of_another_size),
    SPOIL("another nonce index", 5, "nonce", FAKE_EVIDENCE, FAKE_DEMAND, another_nonce_index),
    SPOIL("nonce path too short", 5, "nonce", FAKE_EVIDENCE, FAKE_DEMAND, nonce_path_too_short),
    SPOIL("live boot id", 5, "boot id", FAKE_CONTEXT, FAKE_DEMAND, other_boot_id),
    SPOIL("logged boot id", 5, "boot id", FAKE_CONTEXT, FAKE_PERIODIC, other_boot_id),
    SPOIL("live origin", 5, "another log", FAKE_CONTEXT, FAKE_DEMAND, other_origin),
    SPOIL("logged origin", 5, "another log", FAKE_CONTEXT, FAKE_PERIODIC, other_origin),
    SPOIL("live quote of kind periodic", 5, "kind", FAKE_CONTEXT, FAKE_DEMAND,
          demand_says_periodic),
    SPOIL("logged quote of kind demand", 5, "kind", FAKE_CONTEXT, FAKE_PERIODIC,
          periodic_says_demand),
    SPOIL("no previous", 5, "previous", FAKE_CONTEXT, FAKE_DEMAND, no_previous),
    SPOIL("previous index", 5, "previous", FAKE_CONTEXT, FAKE_DEMAND, previous_is_another_entry),
    SPOIL("previous leaf", 5, "previous", FAKE_CONTEXT, FAKE_DEMAND, previous_is_another_leaf),
    SPOIL("period", 5, "period", FAKE_CONTEXT, FAKE_DEMAND, another_period),
    SPOIL("live head before the logged quote", 5, "does not cover", FAKE_CONTEXT, FAKE_DEMAND,
          head_before_the_logged_quote),
    SPOIL("boot statement of another id", 5, "boot id", FAKE_STATEMENT, FAKE_BOOT,
          boot_statement_of_another_id),
    SPOIL("identity of another boot", 5, "another boot", FAKE_STATEMENT, FAKE_IDENTITY,
          identity_of_another_boot),
    SETUP("a quote of the boot before", 5, "boot id", quote_of_the_boot_before),
    BYTE("live reset count", 6, "reset", FAKE_ATTEST, FAKE_DEMAND, AT_RESET + 3, 0x01),
    BYTE("logged restart count", 6, "restart", FAKE_ATTEST, FAKE_PERIODIC, AT_RESTART + 3, 0x01),
    BYTE("live firmware", 6, "firmware", FAKE_ATTEST, FAKE_DEMAND, AT_FIRMWARE + 7, 0x01),
    BYTE("counter magic", 6, "not made by a TPM", FAKE_ATTEST, FAKE_BOOT, AT_MAGIC, 0x01),
    BYTE("counter type", 6, "", FAKE_ATTEST, FAKE_BOOT, AT_TYPE + 1, 0x0c),
    BYTE("counter extraData", 6, "extraData", FAKE_ATTEST, FAKE_BOOT, AT_EXTRA, 0x01),
    BYTE("counter reset count", 6, "reset", FAKE_ATTEST, FAKE_BOOT, AT_RESET, 0x01),
    BYTE("counter offset", 6, "offset", FAKE_ATTEST, FAKE_BOOT, AT_NV_OFFSET + 1, 0x01),
    BYTE("counter name", 6, "not a counter", FAKE_ATTEST, FAKE_BOOT, AT_NV_NAME + 9, 0x01),
    SPOIL("stated reset count", 6, "reset", FAKE_STATEMENT, FAKE_BOOT, other_reset_count),
    SPOIL("stated restart count", 6, "restart", FAKE_STATEMENT, FAKE_BOOT, other_restart_count),
    SPOIL("stated counter index", 6, "not a counter", FAKE_STATEMENT, FAKE_BOOT,
          other_counter_index),
    SETUP("an ordinary NV index", 6, "not a counter", ordinary_nv_index),
    SETUP("an orderly counter", 6, "not a counter", counter_with_a_policy_bit),
    SETUP("an unsafe clock", 6, "not safe", unsafe_clock),
    SETUP("a clock that stands", 6, "does not advance", clock_that_stands),
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
