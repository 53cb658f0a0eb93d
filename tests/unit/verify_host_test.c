/* Rule 2: an attestation key that is not a TPM's, or not this TPM's, is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

static struct activation_target activated;

static void target(struct fake_world *w, struct verify_input *in, unsigned ak, unsigned ek)
{
    activated = (struct activation_target){.ak_name = w->hosts[ak].ak_name};
    sha256(activated.ek_certificate, buf_bytes(&w->hosts[ek].ek_certificate));
    in->activated = &activated;
}

static void activation_for_another_certificate(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct activation *)thing)->ek_certificate[0] ^= 1;
}

static void activation_for_another_key(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct activation *)thing)->ak_name.bytes[9] ^= 1;
}

static void activation_for_another_log(struct fake_world *w, void *thing)
{
    (void)w;
    strcpy(((struct activation *)thing)->origin, "example.org/other-log");
}

/* The operator activates itself under the activator's name. */
static void forged_activation(struct fake_world *w)
{
    struct note_key honest = w->activator.key;
    uint8_t seed[ED25519_SEED_LEN] = {99};
    if (is_err(note_signer_init(&w->activator, honest.name, NOTE_ED25519, seed)))
        fail();
    w->activator.key.id = honest.id;
    usual_history(w);
    w->activator.key = honest;
}

static void activation_by_a_stranger(struct fake_world *w)
{
    struct note_signer honest = w->activator;
    uint8_t seed[ED25519_SEED_LEN] = {98};
    if (is_err(note_signer_init(&w->activator, "stranger.example", NOTE_ED25519, seed)))
        fail();
    usual_history(w);
    w->activator = honest;
}

/* Host 0's key beside host 1's certificate: what an operator can always pair. */
static void certificate_of_another_tpm(struct fake_world *w, void *thing)
{
    struct statement *s = thing;
    fake_add_blob(w, buf_bytes(&w->hosts[1].ek_certificate));
    blob_ref_of(&s->host.ek_certificate, buf_bytes(&w->hosts[1].ek_certificate));
}

static void no_chain(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct statement *)thing)->host.n_chain = 0;
}

static void ak_without_scheme(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *b = thing; /* ..., symmetric at 10, scheme at 12, its hash at 14 */
    b->data[12] = 0;
    b->data[13] = TPM_ALG_NULL_ID;
    memmove(b->data + 14, b->data + 16, b->len - 16);
    b->len -= 2;
}

/* RSA-2048, restricted, and no scheme fixed in it. */
static void rsa_ak_without_scheme(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *b = thing;
    uint8_t modulus[256];
    memset(modulus, 0xff, sizeof modulus);
    buf_clear(b);
    buf_append(
        b, "\x00\x01\x00\x0b\x00\x05\x00\x72\x00\x00\x00\x10\x00\x10\x08\x00\0\0\0\0\x01\x00", 22);
    buf_append(b, modulus, sizeof modulus);
}

static void activated_another_key(struct fake_world *w, struct verify_input *in)
{
    target(w, in, 1, 0);
}

static void activated_another_certificate(struct fake_world *w, struct verify_input *in)
{
    target(w, in, 0, 1);
}

static void another_root(struct fake_world *w, void *thing)
{
    (void)w;
    change_hex(thing, "test-tpm-root ");
}

static void no_activators(struct fake_world *w, void *thing)
{
    (void)w;
    replace_text(thing, "activators 1", "# none");
    BUF_AUTO line = BUF_INIT;
    buf_append_str(&line, "activator ");
    note_vkey_format(&line, &w->activator.key);
    replace_text(thing, buf_str(&line), "# nobody");
}

static void without_ak_public(struct fake_world *w, void *thing)
{
    (void)w;
    without_blob(thing, 0);
}

/* Two are asked for; one has signed. */
static void two_activators(struct fake_world *w, void *thing)
{
    (void)w;
    struct note_signer second;
    uint8_t seed[ED25519_SEED_LEN] = {3};
    if (is_err(note_signer_init(&second, "second.example", NOTE_ED25519, seed)))
        fail();
    replace_text(thing, "activators 1", "activators 2");
    buf_append_str(thing, "activator ");
    note_vkey_format(thing, &second.key);
    buf_append_str(thing, "\n");
}

static const struct flaw flaws[] = {
    SPOIL("one activator of two", 2, "(1 have signed)", FAKE_POLICY, FAKE_HOST, two_activators),
    BYTE("AK not restricted", 2, "restricted", FAKE_AK_PUBLIC, FAKE_HOST, 5, 0x01),
    BYTE("AK decrypts", 2, "decrypt", FAKE_AK_PUBLIC, FAKE_HOST, 5, 0x02),
    BYTE("AK does not sign", 2, "sign", FAKE_AK_PUBLIC, FAKE_HOST, 5, 0x04),
    BYTE("AK not fixed to its TPM", 2, "fixedTPM", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x02),
    BYTE("AK not fixed to its parent", 2, "fixedParent", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x10),
    BYTE("AK from outside", 2, "sensitiveDataOrigin", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x20),
    BYTE("AK dies on restart", 2, "stClear", FAKE_AK_PUBLIC, FAKE_HOST, 7, 0x04),
    BYTE("AK of another curve", 2, "", FAKE_AK_PUBLIC, FAKE_HOST, 17, 0x07),
    BYTE("AK with SHA-384", 2, "neither ECDSA", FAKE_AK_PUBLIC, FAKE_HOST, 15, 0x07),
    SPOIL("AK without scheme", 2, "scheme", FAKE_AK_PUBLIC, FAKE_HOST, ak_without_scheme),
    SPOIL("RSA AK without scheme", 2, "scheme", FAKE_AK_PUBLIC, FAKE_HOST, rsa_ak_without_scheme),
    SPOIL("no AK", 2, "lacks the blob", FAKE_EVIDENCE, FAKE_DEMAND, without_ak_public),
    SPOIL("a root of nobody's", 2, "root", FAKE_POLICY, FAKE_HOST, another_root),
    SPOIL("no chain", 2, "chain", FAKE_STATEMENT, FAKE_HOST, no_chain),
    SPOIL("another TPM's certificate", 2, "another endorsement", FAKE_STATEMENT, FAKE_HOST,
          certificate_of_another_tpm),
    SPOIL("activation of another certificate", 2, "another endorsement", FAKE_ACTIVATION, FAKE_HOST,
          activation_for_another_certificate),
    SPOIL("activation of another AK", 2, "another attestation key", FAKE_ACTIVATION, FAKE_HOST,
          activation_for_another_key),
    SPOIL("activation for another log", 2, "another log", FAKE_ACTIVATION, FAKE_HOST,
          activation_for_another_log),
    SETUP("no activation", 2, "0 have signed", not_activated),
    SETUP("a forged activation", 2, "does not verify", forged_activation),
    SETUP("a stranger's activation", 2, "0 have signed", activation_by_a_stranger),
    SPOIL("no activators", 2, "names none", FAKE_POLICY, FAKE_HOST, no_activators),
    INPUT("live activation of another AK", 2, "another attestation key", activated_another_key),
    INPUT("live activation of another EK", 2, "another endorsement", activated_another_certificate),
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
