/*
 * What the files of the fake host share.
 */
#ifndef TESTS_UNIT_FAKE_INTERNAL_H
#define TESTS_UNIT_FAKE_INTERNAL_H

#include "fake_host.h"

void fake_run(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing);
/* For what cannot fail in a test unless the test is wrong; as assert, in every build. */
void fake_must(struct err e);
void fake_expect(bool holds);

void fake_append_2b(struct buf *out, struct bytes v); /* TPM2B */
void fake_attest_quote(struct buf *out, struct fake_host *h, const uint8_t extra[SHA256_LEN]);
void fake_attest_counter(struct buf *out, struct fake_host *h, const uint8_t extra[SHA256_LEN]);
void fake_sign(struct buf *out, EVP_PKEY *key, struct bytes message); /* TPMT_SIGNATURE */

/* A quote with the rest of its context filled in. */
void fake_make_quote(struct fake_world *w, struct fake_host *h, enum fake_what what,
                     struct statement *s, struct quote_context *c);

#endif
