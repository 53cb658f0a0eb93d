/* Host, boot and identity statements that are manipulated, or out of order, are untrue, and named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay_scene.h"

static void other_reset_count(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->boot.reset_count++;
}

static void identity_of_another_boot(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.boot_id[0] ^= 1;
}

static void identity_of_another_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.spki_sha256[0] ^= 1;
}

static void identity_without_blob(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.runtime_log.sha256[0] ^= 1;
}

static void blob_of_another_size(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->identity.runtime_log.size++;
}

static void another_certificate(struct fake_world *w, void *thing)
{
    fake_add_blob(w, buf_bytes(&w->hosts[1].ek_certificate));
    blob_ref_of(&((struct statement *)thing)->host.ek_certificate,
                buf_bytes(&w->hosts[1].ek_certificate));
}

static void spoil_text(struct fake_world *w, void *thing)
{
    (void)w;
    buf_append_str(thing, "more\n");
}

static void max_interval_30(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *b = thing;
    char *at = strstr((char *)(uintptr_t)buf_str(b), "max-interval 300");
    memcpy(at, "max-interval 059", 16);
    at[13] = '3';
    at[14] = '0';
    memmove(at + 15, at + 16, strlen(at + 16) + 1);
    b->len--;
}

static void no_such_model(struct fake_world *w, void *thing)
{
    (void)w;
    char *at = strstr((char *)(uintptr_t)buf_str(thing), "model fake/model-1b ") + 20;
    *at = *at == '0' ? '1' : '0';
}

static void no_activator(struct fake_world *w, void *thing)
{
    BUF_AUTO line = BUF_INIT;
    buf_append_str(&line, "activator ");
    note_vkey_format(&line, &w->activator.key);
    char *at = strstr((char *)(uintptr_t)buf_str(thing), buf_str(&line));
    *at = '#';
    at = strstr((char *)(uintptr_t)buf_str(thing), "activators 1");
    *at = '#';
}

static void boot_first(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_boot(w, 0);
}

static void identity_before_boot(struct fake_world *w)
{
    prepare(w, 0);
    fake_log_host(w, 0, true);
    fake_log_identity(w, 0);
}

static void unknown_kind(struct fake_world *w)
{
    fake_start(w, 0);
    fake_append(w, bytes_of_str("blindllama-release/v1\n"));
    fake_log_quote(w, 0);
}

static void garbage(struct fake_world *w)
{
    fake_start(w, 0);
    fake_append(w, bytes_of_str("\x1b[2Jhello\n"));
    fake_log_quote(w, 0);
}

static void the_same_boot_twice(struct fake_world *w)
{
    fake_start(w, 0);
    fake_append(w, buf_bytes(&w->entries[1]));
}

static void the_same_identity_twice(struct fake_world *w)
{
    fake_start(w, 0);
    fake_append(w, buf_bytes(&w->entries[2]));
}

static void boot_of_the_same_counts(struct fake_world *w)
{
    fake_start(w, 0);
    w->hosts[0].counter++;
    fake_log_boot(w, 0);
}

static void boot_id_again(struct fake_world *w)
{
    fake_start(w, 0);
    uint8_t id[BOOT_ID_LEN];
    memcpy(id, w->hosts[0].boot_id, BOOT_ID_LEN);
    fake_reset(w, 0);
    memcpy(w->hosts[0].boot_id, id, BOOT_ID_LEN);
    fake_measure(w, 0);
    fake_log_boot(w, 0);
}

static void resumed_with_the_same_counter(struct fake_world *w)
{
    fake_start(w, 0);
    resume(w, 0);
    w->hosts[0].counter--;
    fake_log_boot(w, 0);
}

static void resumed_with_another_lane(struct fake_world *w)
{
    fake_start(w, 0);
    resume(w, 0);
    fake_log_boot(w, 0);
    fake_new_key(w, 0);
    fake_log_quote(w, 0);
}

static void quote_without_resume(struct fake_world *w)
{
    fake_start(w, 0);
    resume(w, 0);
    fake_log_quote(w, 0);
}

static void counter_went_back(struct fake_world *w)
{
    fake_start(w, 0);
    prepare(w, 0);
    w->hosts[0].counter -= 2;
    fake_log_boot(w, 0);
}

/* The operator logs an identity whose log was rewritten after the first quote. */
static void rewritten_lane(struct fake_world *w)
{
    fake_start(w, 0);
    runtime_log_cleanup(&w->hosts[0].runtime_log);
    fake_measure(w, 0);
    fake_new_key(w, 0);
    fake_new_key(w, 0);
    fake_log_identity(w, 0);
}

static void lane_of_another_log(struct fake_world *w)
{
    w->log_vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    fake_start(w, 0);
}

static void two_certificates(struct fake_world *w)
{
    fake_start(w, 0);
    fake_log_host(w, 0, true);
    fake_log_quote(w, 0);
}

static const struct trick tricks[] = {
    {"an unknown kind", unknown_kind, FALSE_AT(4, "PARSE", "release")},
    {"garbage", garbage, FALSE_AT(4, "PARSE", "?[2Jhello")},
    {"text behind a statement", HOOK(FAKE_TEXT, FAKE_BOOT, 2), .spoil = spoil_text,
     FALSE_AT(6, "PARSE", "more")},
    {"a boot before its host", boot_first, FALSE_AT(0, "AK", "no true host")},
    {"an identity before its boot", identity_before_boot, FALSE_AT(1, "CONTEXT", "no true boot")},
    {"never activated", never_activated,
     FALSE_AT(1, "AK", "no activation by 1 activators of the policy")},
    {"activated later, without a survey", activated_later, .no_survey = true,
     FALSE_AT(1, "AK", "no activation by 1 activators of the policy")},
    {"no activator in the policy", NULL, HOOK(FAKE_POLICY, FAKE_HOST, 1), .spoil = no_activator,
     FALSE_AT(1, "AK", "names none")},
    {"an AK that is not restricted", NULL, HOOK(FAKE_AK_PUBLIC, FAKE_HOST, 1), .at = 5, .flip = 1,
     FALSE_AT(0, "AK", "restricted")},
    {"another certificate", NULL, HOOK(FAKE_STATEMENT, FAKE_HOST, 1), .spoil = another_certificate,
     FALSE_AT(0, "AK", "another endorsement")},
    {"an AK with two EKs", two_certificates, HOOK(FAKE_STATEMENT, FAKE_HOST, 2),
     .spoil = another_certificate, .finding = "AK-TWO-EKS", .severity = FINDING_ERROR,
     FALSE_AT(4, "AK", "")},
    {"a boot's signature", NULL, HOOK(FAKE_SIGNATURE, FAKE_BOOT, 2), .at = 30, .flip = 1,
     FALSE_AT(6, "SIGNATURE", "boot counter")},
    {"the same boot twice", the_same_boot_twice, FALSE_AT(4, "COUNTERS", "does not go up")},
    {"a boot of the same counts", boot_of_the_same_counts, FALSE_AT(4, "COUNTERS", "second boot")},
    {"a boot id again", boot_id_again, FALSE_AT(4, "COUNTERS", "same boot id")},
    {"a resume that the counter does not count", resumed_with_the_same_counter,
     FALSE_AT(4, "COUNTERS", "does not go up")},
    {"a lane that grew over a resume", resumed_with_another_lane,
     FALSE_AT(5, "LANES", "does not replay")},
    {"a resume without a boot statement", quote_without_resume, FALSE_AT(4, "COUNTERS", "restart")},
    {"a counter that went back", counter_went_back, FALSE_AT(4, "COUNTERS", "does not go up")},
    {"a boot's counts", NULL, HOOK(FAKE_STATEMENT, FAKE_BOOT, 3), .spoil = other_reset_count,
     FALSE_AT(14, "COUNTERS", "reset")},
    {"an identity of another boot", NULL, HOOK(FAKE_STATEMENT, FAKE_IDENTITY, 1),
     .spoil = identity_of_another_boot, FALSE_AT(2, "CONTEXT", "another boot")},
    {"an identity of another key", NULL, HOOK(FAKE_STATEMENT, FAKE_IDENTITY, 1),
     .spoil = identity_of_another_key, FALSE_AT(2, "LANES", "another key")},
    {"an identity without its blob", NULL, HOOK(FAKE_STATEMENT, FAKE_IDENTITY, 2),
     .spoil = identity_without_blob, FALSE_AT(7, "LANES", "blob")},
    {"a blob of another size", NULL, HOOK(FAKE_STATEMENT, FAKE_IDENTITY, 2),
     .spoil = blob_of_another_size, FALSE_AT(7, "LANES", "blob")},
    {"the same identity twice", the_same_identity_twice, FALSE_AT(4, "LANES", "does not grow")},
    {"a rewritten lane", rewritten_lane, FALSE_AT(4, "LANES", "does not continue")},
    {"a lane of another log", lane_of_another_log, FALSE_AT(2, "LOG", "another log")},
    {"another model", NULL, HOOK(FAKE_POLICY, FAKE_HOST, 1), .spoil = no_such_model,
     FALSE_AT(2, "LANES", "model")},
    {"a slow interval", NULL, HOOK(FAKE_POLICY, FAKE_HOST, 1), .spoil = max_interval_30,
     FALSE_AT(2, "LANES", "interval")},
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
