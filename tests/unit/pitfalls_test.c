/*
 * Pitfalls that other verifiers fell into, as far as no other test here is about them: each is
 * refused by its rule. tests/README.md lists all of them with their tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify_scene.h"

#include "common/text.h"

/* The same TPMS_ATTEST over other extraData, signed all the same. */
static void over(struct buf *attest, struct bytes extra)
{
    BUF_AUTO out = BUF_INIT;
    buf_append(&out, attest->data, AT_EXTRA - 2);
    buf_append_u16be(&out, (uint16_t)extra.len);
    buf_append_bytes(&out, extra);
    buf_append(&out, attest->data + AT_CLOCK, attest->len - AT_CLOCK);
    buf_clear(attest);
    buf_append_bytes(attest, buf_bytes(&out));
}

static void empty_nonce(struct fake_world *w, void *thing)
{
    (void)w;
    over(thing, bytes_of("", 0));
}

static void bare_nonce(struct fake_world *w, void *thing)
{
    (void)w;
    over(thing, bytes_of(scene_nonce, NONCE_LEN));
}

static void nonce_in_hex(struct fake_world *w, void *thing)
{
    (void)w;
    BUF_AUTO text = BUF_INIT;
    buf_append_hex(&text, bytes_of(scene_nonce, NONCE_LEN));
    over(thing, buf_bytes(&text));
}

/* The right hash in another spelling. */
static void extra_in_base64(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *attest = thing;
    BUF_AUTO text = BUF_INIT;
    buf_append_base64(&text, bytes_of(attest->data + AT_EXTRA, SHA256_LEN));
    over(attest, buf_bytes(&text));
}

static void extra_and_more(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *attest = thing;
    uint8_t longer[SHA256_LEN + 1] = {0};
    memcpy(longer, attest->data + AT_EXTRA, SHA256_LEN);
    over(attest, bytes_of(longer, sizeof longer));
}

/* A bank that the firmware never extends quotes as whatever an attacker extends into it. */
static void sha1_bank(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->data[AT_BANK + 1] = TPM_ALG_SHA1_ID;
}

/* What a TPM answers for a bank that is not allocated: nothing is selected. */
static void empty_selection(struct fake_world *w, void *thing)
{
    (void)w;
    struct buf *attest = thing;
    memset(attest->data + AT_SELECT, 0, 3);
    sha256(attest->data + AT_DIGEST, bytes_of("", 0));
}

static void signed_with_sha1(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->data[3] = TPM_ALG_SHA1_ID;
}

/* PCRs 0 to 14 are quoted; 15 is given beside them. */
static void pcr_15_beside_the_quote(struct fake_world *w, void *thing)
{
    struct buf *attest = thing;
    attest->data[AT_SELECT + 1] = 0x7f;
    sha256(attest->data + AT_DIGEST, bytes_of(w->hosts[0].pcrs.values, 15 * SHA256_LEN));
}

/* 15: the clock went back, and nobody signed that. What is said is that nobody signed it. */
static void clock_back_unsigned(struct fake_world *w)
{
    usual_history(w);
    w->hosts[0].clock_ms -= 50000;
}

static void no_good_signature(struct fake_world *w, void *thing)
{
    (void)w;
    ((struct buf *)thing)->data[40] ^= 1;
}

static const struct flaw flaws[] = {
    SPOIL("8: a PCR beside the quote", 4, "selects", FAKE_ATTEST, FAKE_DEMAND,
          pcr_15_beside_the_quote),
    SPOIL("10: an empty nonce", 5, "extraData (0 bytes)", FAKE_ATTEST, FAKE_DEMAND, empty_nonce),
    SPOIL("10: the nonce itself", 5, "extraData", FAKE_ATTEST, FAKE_DEMAND, bare_nonce),
    SPOIL("10: the nonce in hex", 5, "extraData (64 bytes)", FAKE_ATTEST, FAKE_DEMAND,
          nonce_in_hex),
    SPOIL("10: the hash in base64", 5, "extraData (44 bytes)", FAKE_ATTEST, FAKE_DEMAND,
          extra_in_base64),
    SPOIL("10: the hash and a byte", 5, "extraData (33 bytes)", FAKE_ATTEST, FAKE_DEMAND,
          extra_and_more),
    {.name = "15: a clock without a signature",
     .rule = 3,
     .says = "live quote",
     .setup = clock_back_unsigned,
     .stage = FAKE_SIGNATURE,
     .what = FAKE_DEMAND,
     .spoil = no_good_signature},
    SPOIL("19: the SHA-1 bank", 4, "bank 0x0004", FAKE_ATTEST, FAKE_DEMAND, sha1_bank),
    SPOIL("19: a bank that is not there", 4, "selects PCRs 000000", FAKE_ATTEST, FAKE_DEMAND,
          empty_selection),
    SPOIL("19: a SHA-1 signature", 3, "hash 0x0004", FAKE_SIGNATURE, FAKE_DEMAND, signed_with_sha1),
};

static void refuses_each(void **state)
{
    (void)state;
    refuse_each(flaws, sizeof flaws / sizeof *flaws);
}

/* 9: in our own log, the kind of an event is under its digest: it cannot be relabelled. */
static void pitfall_9_a_runtime_event_cannot_be_relabelled(void **state)
{
    (void)state;
    uint8_t a[SHA256_LEN], b[SHA256_LEN];
    runtime_event_digest(a, EVP_sha256(), "model-file", bytes_of_str("data"));
    runtime_event_digest(b, EVP_sha256(), "model-id", bytes_of_str("data"));
    assert_memory_not_equal(a, b, SHA256_LEN);
    /* Nor can bytes move between kind and data. */
    runtime_event_digest(b, EVP_sha256(), "model-fil", bytes_of_str("edata"));
    assert_memory_not_equal(a, b, SHA256_LEN);
}

/* 11: the same answer does not pass for a second challenge. */
static void pitfall_11_an_answer_passes_once(void **state)
{
    (void)state;
    struct scene s;
    struct verdict v;
    scene_init(&s, NULL);
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    random_bytes(s.input.nonce, NONCE_LEN); /* as each challenge is drawn */
    assert_false(is_err(verify_evidence(&v, &s.input)));
    assert_int_equal(v.outcome, OUTCOME_FALSE);
    assert_int_equal(first_false(&v), 5);
    scene_cleanup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_each),
        cmocka_unit_test(pitfall_9_a_runtime_event_cannot_be_relabelled),
        cmocka_unit_test(pitfall_11_an_answer_passes_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
