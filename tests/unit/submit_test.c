/* What a log service keeps of hosts between requests: one session a TPM, at its rates, and the
 * blobs of a request under the names and sizes that a statement gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake_host.h"
#include "fake_internal.h"
#include "logservice/request.h"
#include "logservice/session.h"

struct scene {
    struct fake_world w;
    struct policy policy;
    struct sessions *sessions;
};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

/* Two hosts, of which the second has the first one's certificate in other bytes. */
static void begin(struct scene *s)
{
    memset(s, 0, sizeof *s);
    fake_world_init(&s->w, NULL);
    struct buf *certificate = &s->w.hosts[1].ek_certificate;
    buf_clear(certificate);
    buf_append_bytes(certificate, buf_bytes(&s->w.hosts[0].ek_certificate));
    fake_write_differently(certificate);
    fake_start(&s->w, 0);
    fake_start(&s->w, 1);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&s->w, &text);
    must(policy_parse(&s->policy, buf_bytes(&text)));
    must(sessions_new(&s->sessions, "example.org/fake-log"));
}

static void end(struct scene *s)
{
    sessions_free(s->sessions);
    policy_cleanup(&s->policy);
    fake_world_cleanup(&s->w);
}

static struct err blobs(void *world, const struct blob_ref *ref, struct buf *out)
{
    return fake_blob(world, ref->sha256, out);
}

/* A session of that host with its right answer, which the session itself tells. */
static struct session *answered(struct scene *s, unsigned host)
{
    struct admission *a;
    struct session *session, *found;
    struct credential credential = CREDENTIAL_INIT;
    const struct fake_host *h = &s->w.hosts[host];
    must(admission_new(&a, &s->policy, buf_bytes(&s->w.entries[h->host_index]), blobs, &s->w));
    must(sessions_challenge(s->sessions, &session, &credential, a, h->spki_sha256, 1000));
    credential_cleanup(&credential);
    must(sessions_answer(s->sessions, &found, session->id, session->wanted, 1000));
    return found;
}

static void one_tpm_has_one_session_whatever_form_its_certificate_has(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct session *first = answered(&s, 0), *found;
    uint8_t id[SESSION_ID_LEN];
    memcpy(id, first->id, sizeof id);
    must(session_count(first, 1000));
    must(session_count_bytes(first, 1000, 1000));
    struct session *second = answered(&s, 1);
    assert_int_equal(sessions_find(s.sessions, &found, id, 1000).code, ERR_NOT_FOUND);
    /* it goes on with the first one's rates */
    assert_true(second->statements.tokens < SESSION_STATEMENTS_BURST);
    assert_true(second->bytes.tokens < SESSION_BYTES_BURST);
    end(&s);
}

static void a_host_fills_the_disk_at_a_rate_of_its_own(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct session *session = answered(&s, 0);
    must(session_count_bytes(session, SESSION_BYTES_BURST - 1, 1000));
    assert_int_equal(session_count_bytes(session, 2, 1000).code, ERR_BUSY);
    must(session_count_bytes(session, 1, 1000));
    assert_int_equal(session_count_bytes(session, SESSION_BYTES_MINUTE + 1, 61000).code, ERR_BUSY);
    must(session_count_bytes(session, SESSION_BYTES_MINUTE, 61000));
    end(&s);
}

/* A world whose first host has a certified key, and its session with a nonce. */
static struct session *begin_certified(struct scene *s)
{
    memset(s, 0, sizeof *s);
    fake_world_init(&s->w, NULL);
    fake_certify(&s->w, 0, "EC");
    fake_start(&s->w, 0);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&s->w, &text);
    must(policy_parse(&s->policy, buf_bytes(&text)));
    must(sessions_new(&s->sessions, "example.org/fake-log"));
    struct admission *a;
    struct session *session;
    struct credential credential = CREDENTIAL_INIT;
    const struct fake_host *h = &s->w.hosts[0];
    must(admission_new(&a, &s->policy, buf_bytes(&s->w.entries[h->host_index]), blobs, &s->w));
    must(sessions_challenge(s->sessions, &session, &credential, a, h->spki_sha256, 1000));
    assert_int_equal(credential.secret.len, 0);
    assert_true(session->certified);
    return session;
}

/* The nonce and all that is hashed with it are public. */
static void the_hash_of_a_nonce_is_no_answer(void **state)
{
    (void)state;
    struct scene s;
    struct session *session = begin_certified(&s), *found;
    uint8_t id[SESSION_ID_LEN], hash[SHA256_LEN];
    memcpy(id, session->id, sizeof id);
    possession_extra(hash, bytes_of(session->nonce, SESSION_NONCE_LEN), &s.w.hosts[0].ak_name,
                     "example.org/fake-log", s.w.hosts[0].spki_sha256);
    assert_memory_equal(hash, session->wanted, SHA256_LEN);
    assert_int_equal(sessions_answer(s.sessions, &found, id, hash, 1000).code, ERR_UNTRUE);
    assert_int_equal(sessions_find(s.sessions, &found, id, 1000).code, ERR_NOT_FOUND);
    end(&s);
}

static struct err answer_with_quote(struct scene *s, const uint8_t id[SESSION_ID_LEN],
                                    const uint8_t extra[SHA256_LEN])
{
    struct session *found;
    BUF_AUTO attest = BUF_INIT, signature = BUF_INIT;
    fake_attest_quote(&attest, &s->w.hosts[0], extra);
    fake_sign(&signature, s->w.hosts[0].ak, buf_bytes(&attest));
    return sessions_answer_quote(s->sessions, &found, id, buf_bytes(&attest), buf_bytes(&signature),
                                 1000);
}

static void a_certified_key_has_one_try_with_a_quote(void **state)
{
    (void)state;
    struct scene s;
    struct session *session = begin_certified(&s), *found;
    uint8_t id[SESSION_ID_LEN], wanted[SHA256_LEN], other[SHA256_LEN];
    memcpy(id, session->id, sizeof id);
    memcpy(wanted, session->wanted, sizeof wanted);
    memcpy(other, wanted, sizeof other);
    other[0] ^= 1;
    assert_int_equal(answer_with_quote(&s, id, other).code, ERR_UNTRUE);
    assert_int_equal(answer_with_quote(&s, id, wanted).code, ERR_NOT_FOUND);
    end(&s);
    session = begin_certified(&s);
    memcpy(id, session->id, sizeof id);
    memcpy(wanted, session->wanted, sizeof wanted);
    must(answer_with_quote(&s, id, wanted));
    must(sessions_find(s.sessions, &found, id, 1000));
    assert_int_equal(answer_with_quote(&s, id, wanted).code, ERR_NOT_FOUND); /* answered */
    end(&s);
}

static struct http_address address(uint8_t last)
{
    return (struct http_address){{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = last}};
}

/* One that asks without an end gets what is its own, and others get theirs. */
static void one_address_uses_up_no_challenges_but_its_own(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    const struct http_address hostile = address(1);
    uint64_t n = 0;
    for (uint64_t now_ms = 1000; now_ms < 61000; now_ms += 10)
        n += !is_err(sessions_count(s.sessions, &hostile, now_ms));
    assert_in_range(n, SESSION_ADDRESS_MINUTE, SESSION_ADDRESS_MINUTE + SESSION_ADDRESS_BURST);
    for (uint8_t i = 2; i < 2 + SESSION_CHALLENGES_SECOND - 1; i++) {
        const struct http_address other = address(i);
        must(sessions_count(s.sessions, &other, 61000));
    }
    end(&s);
}

/* Whoever has more addresses than are counted begins anew with each, at the rate of all hosts. */
static void addresses_without_number_share_the_rate_of_all(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    uint64_t n = 0;
    for (unsigned i = 0; i < 2 * HTTP_RATES_ADDRESSES_MAX; i++) {
        struct http_address other = address(0);
        other.bytes[0] = (uint8_t)(i >> 8);
        other.bytes[1] = (uint8_t)i;
        n += !is_err(sessions_count(s.sessions, &other, 1000));
    }
    assert_int_equal(n, SESSION_CHALLENGES_SECOND);
    end(&s);
}

static void a_blob_has_the_size_that_names_it_also_if_that_is_zero(void **state)
{
    (void)state;
    json_t *request = json_pack("{s:[s]}", "blobs", "AAAA");
    struct request_blobs *b;
    struct blob_ref ref;
    BUF_AUTO out = BUF_INIT;
    must(request_blobs_take(&b, request, NULL));
    blob_ref_of(&ref, bytes_of("\0\0\0", 3));
    must(request_blobs_get(b, &ref, &out));
    for (ref.size = 0; ref.size < 5; ref.size += ref.size == 2 ? 2 : 1)
        assert_int_equal(request_blobs_get(b, &ref, &out).code, ERR_UNTRUE);
    request_blobs_free(b);
    json_decref(request);
}

/* What jansson would take a hundred times its bytes of memory for, from anybody. */
static void a_body_of_many_small_values_is_not_parsed(void **state)
{
    (void)state;
    static const char *const keys[] = {"blobs", NULL};
    json_t *request = NULL;
    for (size_t n = 4; n <= 400000; n *= 100000) {
        BUF_AUTO body = BUF_INIT;
        buf_append_str(&body, "{\"blobs\":[");
        for (size_t i = 0; i < n; i++)
            buf_append_str(&body, "[],");
        buf_append_str(&body, "[]]}");
        struct err e = request_parse(&request, buf_bytes(&body), keys);
        assert_int_equal(e.code, n == 4 ? ERR_NONE : ERR_MALFORMED);
        json_decref(n == 4 ? request : NULL);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_tpm_has_one_session_whatever_form_its_certificate_has),
        cmocka_unit_test(a_host_fills_the_disk_at_a_rate_of_its_own),
        cmocka_unit_test(the_hash_of_a_nonce_is_no_answer),
        cmocka_unit_test(a_certified_key_has_one_try_with_a_quote),
        cmocka_unit_test(one_address_uses_up_no_challenges_but_its_own),
        cmocka_unit_test(addresses_without_number_share_the_rate_of_all),
        cmocka_unit_test(a_blob_has_the_size_that_names_it_also_if_that_is_zero),
        cmocka_unit_test(a_body_of_many_small_values_is_not_parsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
