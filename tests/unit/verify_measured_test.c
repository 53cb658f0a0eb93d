/* Rules 7 and 8: lanes and boot PCRs that the policy does not allow, or that were not quoted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

static void production_and_zero(struct fake_world *w, void *thing)
{
    allow_zero_pcr_9(w, thing);
    replace_text(thing, "test-tpm-root", "tpm-root");
}

static void another_key_in_context(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct quote_context *)thing)->spki_sha256[0] ^= 1;
}

static void identity_of_another_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.spki_sha256[0] ^= 1;
}

static void identity_of_the_key_before(struct fake_world *w)
{
    fake_start(w, 0);
    fake_new_key(w, 0);
}

/* The new key's identity is logged; the last periodic quote is of the key before. */
static void quote_of_the_key_before(struct fake_world *w)
{
    fake_start(w, 0);
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
}

static void extended_behind_the_log(struct fake_world *w)
{
    fake_reset(w, 0);
    w->hosts[0].pcrs.values[15][0] = 1;
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void start_with(struct fake_world *w, unsigned pcr, const char *kind)
{
    fake_reset(w, 0);
    fake_measure(w, 0);
    fake_extend(&w->hosts[0], pcr, kind, bytes_of_str("x"));
    fake_new_key(w, 0);
    fake_log_host(w, 0, true);
    fake_log_boot(w, 0);
    fake_log_identity(w, 0);
    fake_log_quote(w, 0);
}

static void unknown_event(struct fake_world *w)
{
    start_with(w, PCR_IDENTITY, "backdoor");
}

static void event_after_the_cap(struct fake_world *w)
{
    start_with(w, PCR_CODE, "server-binary");
}

static void slow_interval(struct fake_world *w)
{
    w->quote_interval_s = 301;
    usual_history(w);
}

static void pcr_changes_after_the_quote(struct fake_world *w)
{
    usual_history(w);
    memset(w->hosts[0].pcrs.values[11], 0xbb, SHA256_LEN);
}

static void allow_both_values_of_pcr_11(struct fake_world *w, void *thing)
{
    (void)w;
    buf_append_str(thing, "boot-pcr 11 ");
    for (int i = 0; i < SHA256_LEN; i++)
        buf_append_str(thing, "bb");
    buf_append_str(thing, "\n");
}

static void another_model(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "model fake/model-1b ", "model fake/model-1b 0000");
    struct buf *b = thing;
    char *end = strchr(strstr(buf_str(b), "model fake/model-1b "), '\n');
    memmove(end - 4, end, strlen(end) + 1);
    b->len -= 4;
}

static void another_model_id(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "model fake/model-1b ", "model fake/model-2b ");
}

static void another_code(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "code fake-code ");
}

static void another_pcr_0(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "boot-pcr 0 ");
}

static void without_runtime_log(struct fake_world *w, void *thing)
{
    (void)w;
    struct evidence *e = thing;
    without_blob(e, e->n_blobs - 1);
}

static const struct flaw flaws[] = {
    SPOIL("no runtime log", 7, "lacks the blob", FAKE_EVIDENCE, FAKE_DEMAND, without_runtime_log),
    SPOIL("live context's key", 7, "another TLS key", FAKE_CONTEXT, FAKE_DEMAND,
          another_key_in_context),
    SPOIL("logged context's key", 7, "another TLS key", FAKE_CONTEXT, FAKE_PERIODIC,
          another_key_in_context),
    SPOIL("identity of another key", 7, "another key", FAKE_STATEMENT, FAKE_IDENTITY,
          identity_of_another_key),
    SETUP("an identity before the last key", 7, "PCR 15", identity_of_the_key_before),
    SETUP("a quote before the last key", 7, "PCR 15", quote_of_the_key_before),
    SETUP("extended behind the log", 7, "PCR 15", extended_behind_the_log),
    SETUP("an unknown event", 7, "backdoor", unknown_event),
    SETUP("an event after the cap", 7, "PCR 14", event_after_the_cap),
    SETUP("too slow", 7, "interval", slow_interval),
    SPOIL("another model", 7, "model", FAKE_POLICY, FAKE_HOST, another_model),
    SPOIL("another model id", 7, "model id", FAKE_POLICY, FAKE_HOST, another_model_id),
    SPOIL("another code", 7, "code", FAKE_POLICY, FAKE_HOST, another_code),
    SPOIL("a boot PCR", 8, "PCR 0", FAKE_POLICY, FAKE_HOST, another_pcr_0),
    {.name = "a boot PCR between the quotes",
     .rule = 8,
     .says = "differs",
     .stage = FAKE_POLICY,
     .spoil = allow_both_values_of_pcr_11,
     .setup = pcr_changes_after_the_quote},
    {.name = "an empty PCR under a production root",
     .rule = 8,
     .says = "zero",
     .stage = FAKE_POLICY,
     .spoil = production_and_zero,
     .setup = zero_pcr_9},
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
