/* What attester and publisher say of a service's log crosses whole, and nothing else is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "server/publish_frames.h"

static void fill_submit(struct submit_request *r)
{
    struct log_submission *s = &r->submission;
    *r = (struct submit_request){
        .wanted = {.sizes = {1, 2, 3}, .n_sizes = 3, .indices = {9}, .n_indices = 1},
        .search_from = 77};
    r->host_blobs[0] = bytes_of_str("key");
    r->host_blobs[1] = bytes_of_str("certificate");
    r->blobs[0] = bytes_of_str("");
    s->host = bytes_of_str("a host");
    s->host_blobs = r->host_blobs;
    s->n_host_blobs = 2;
    s->statement = bytes_of_str("a statement");
    s->blobs = r->blobs;
    s->n_blobs = 1;
    s->has_boot = true;
    s->boot = 5;
    memset(s->spki_sha256, 0x77, SHA256_LEN);
}

static void a_submission_crosses_and_its_truncations_do_not(void **state)
{
    (void)state;
    struct submit_request *in = malloc(sizeof *in), *out = malloc(sizeof *out);
    BUF_AUTO payload = BUF_INIT;
    BUF_AUTO again = BUF_INIT;
    fill_submit(in);
    submit_request_encode(&payload, in);
    assert_false(is_err(submit_request_decode(out, buf_bytes(&payload))));
    submit_request_encode(&again, out);
    assert_true(bytes_equal(buf_bytes(&payload), buf_bytes(&again)));
    const struct log_submission *s = &out->submission;
    assert_true(bytes_equal(s->host_blobs[1], bytes_of_str("certificate")));
    assert_true(bytes_equal(s->statement, bytes_of_str("a statement")));
    assert_true(s->has_boot && s->boot == 5 && !s->has_identity && out->search_from == 77);
    for (size_t len = 0; len < payload.len; len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, payload.data, len);
        assert_int_equal(submit_request_decode(out, bytes_of(exact, len)).code, ERR_MALFORMED);
        free(exact);
    }
    buf_append_u8(&payload, 0);
    assert_int_equal(submit_request_decode(out, buf_bytes(&payload)).code, ERR_MALFORMED);
    free(in);
    free(out);
}

static void counts_over_the_limits_are_refused(void **state)
{
    (void)state;
    struct wanted w = {.sizes = {1}, .n_sizes = 1};
    BUF_AUTO payload = BUF_INIT;
    wanted_encode(&payload, &w);
    assert_false(is_err(wanted_decode(&w, buf_bytes(&payload))));
    assert_int_equal(w.n_sizes, 1);
    buf_clear(&payload);
    buf_append_u8(&payload, WANTED_MAX + 1);
    for (int i = 0; i < 50; i++)
        buf_append_u64be(&payload, 0);
    assert_int_equal(wanted_decode(&w, buf_bytes(&payload)).code, ERR_MALFORMED);
    struct proven *p = calloc(1, sizeof *p);
    buf_clear(&payload);
    buf_append_u32be(&payload, 0); /* no note */
    buf_append_u8(&payload, 1);    /* one proof of so many hashes */
    buf_append_u8(&payload, MERKLE_PROOF_MAX + 1);
    for (int i = 0; i < 400; i++)
        buf_append_u64be(&payload, 0);
    assert_int_equal(proven_decode(p, buf_bytes(&payload)).code, ERR_MALFORMED);
    free(p);
}

static void proofs_cross_and_their_truncations_do_not(void **state)
{
    (void)state;
    struct proven *in = calloc(1, sizeof *in), *out = calloc(1, sizeof *out);
    BUF_AUTO payload = BUF_INIT;
    BUF_AUTO again = BUF_INIT;
    in->note = bytes_of_str("a note");
    in->n_consistency = WANTED_MAX;
    in->n_inclusion = 1;
    in->consistency[2].n_hashes = MERKLE_PROOF_MAX;
    memset(in->consistency[2].hashes, 0x12, sizeof in->consistency[2].hashes);
    in->submitted = true;
    in->index = 3;
    in->own.n_hashes = 2;
    proven_encode(&payload, in);
    assert_false(is_err(proven_decode(out, buf_bytes(&payload))));
    proven_encode(&again, out);
    assert_true(bytes_equal(buf_bytes(&payload), buf_bytes(&again)));
    for (size_t len = 0; len < payload.len; len++)
        assert_int_equal(proven_decode(out, bytes_of(payload.data, len)).code, ERR_MALFORMED);
    free(in);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submission_crosses_and_its_truncations_do_not),
        cmocka_unit_test(counts_over_the_limits_are_refused),
        cmocka_unit_test(proofs_cross_and_their_truncations_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
