/*
 * Mutations of valid evidence, exhaustively: every bit of every statement, of the live quote, of
 * checkpoint and heads, every byte of every blob and proof, every cut, every field of another host.
 * All are refused. The parts are run one by one: mutation_test PART.
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

static struct scene scene;
static bool ran; /* a part that names no test is a mistake, not a success */

static int setup(void **state)
{
    (void)state;
    ran = true;
    scene_init(&scene, NULL);
    struct verdict v;
    assert_false(is_err(verify_evidence(&v, &scene.input)));
    assert_int_equal(v.outcome, OUTCOME_TRUE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scene_cleanup(&scene);
    return 0;
}

/* The evidence as it is now is refused. */
static void assert_refused(const char *what, size_t at, unsigned change)
{
    BUF_AUTO json = BUF_INIT;
    struct verdict v;
    evidence_format(&json, &scene.evidence);
    scene.input.evidence_json = buf_bytes(&json);
    struct err e = verify_evidence(&v, &scene.input);
    if (is_err(e) || v.outcome != OUTCOME_FALSE)
        fail_msg("%s, byte %zu changed by 0x%02x: %s", what, at, change,
                 is_err(e) ? err_message() : "believed");
}

static void flip_bits_between(const char *what, struct buf *b, size_t from, size_t to)
{
    for (size_t at = from; at < to; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            b->data[at] ^= (uint8_t)(1u << bit);
            assert_refused(what, at, 1u << bit);
            b->data[at] ^= (uint8_t)(1u << bit);
        }
}

static void flip_every_bit(const char *what, struct buf *b)
{
    flip_bits_between(what, b, 0, b->len);
}

/* One bit of each byte, another one from byte to byte. */
static void flip_every_byte(const char *what, uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at++) {
        unsigned bit = 1u << at % 8;
        data[at] ^= (uint8_t)bit;
        assert_refused(what, at, bit);
        data[at] ^= (uint8_t)bit;
    }
}

static void cut_everywhere(const char *what, struct buf *b)
{
    size_t len = b->len;
    for (b->len = 0; b->len < len; b->len++)
        assert_refused(what, b->len, 0);
    assert_int_equal(b->len, len);
}

/* In the order of fake_evidence: host, boot, identity, quote. */
static void statement(size_t i)
{
    char what[32];
    snprintf(what, sizeof what, "statement %zu", i);
    flip_every_bit(what, &scene.evidence.statements[i].text);
    cut_everywhere(what, &scene.evidence.statements[i].text);
}

static void every_bit_of_the_host_statement(void **state)
{
    (void)state;
    statement(0);
}

static void every_bit_of_the_boot_statement(void **state)
{
    (void)state;
    statement(1);
}

static void every_bit_of_the_identity_statement(void **state)
{
    (void)state;
    statement(2);
}

/* Quotes are the largest: two parts each. */
static void every_bit_of_the_logged_quote_begin(void **state)
{
    (void)state;
    struct buf *quote = &scene.evidence.statements[3].text;
    flip_bits_between("logged quote", quote, 0, quote->len / 2);
}

static void every_bit_of_the_logged_quote_end(void **state)
{
    (void)state;
    struct buf *quote = &scene.evidence.statements[3].text;
    flip_bits_between("logged quote", quote, quote->len / 2, quote->len);
    cut_everywhere("logged quote", quote);
}

static void every_bit_of_the_live_quote_begin(void **state)
{
    (void)state;
    struct buf *quote = &scene.evidence.quote;
    flip_bits_between("live quote", quote, 0, quote->len / 2);
}

static void every_bit_of_the_live_quote_end(void **state)
{
    (void)state;
    struct buf *quote = &scene.evidence.quote;
    flip_bits_between("live quote", quote, quote->len / 2, quote->len);
    cut_everywhere("live quote", quote);
}

static void every_bit_of_checkpoint_and_heads(void **state)
{
    (void)state;
    struct evidence *e = &scene.evidence;
    flip_every_bit("checkpoint", &e->checkpoint);
    cut_everywhere("checkpoint", &e->checkpoint);
    for (size_t i = 0; i < e->n_heads; i++) {
        flip_every_bit("head", &e->heads[i].note);
        cut_everywhere("head", &e->heads[i].note);
    }
}

static void proof(const char *what, struct merkle_proof *p)
{
    for (size_t i = 0; i < p->n_hashes; i++)
        flip_every_byte(what, p->hashes[i].bytes, SHA256_LEN);
    const size_t n = p->n_hashes;
    for (p->n_hashes = 0; p->n_hashes <= n + 1; p->n_hashes++) /* one hash too many, too */
        if (p->n_hashes != n)
            assert_refused(what, p->n_hashes, 0);
    p->n_hashes = n;
}

static void flip_index(const char *what, uint64_t *index)
{
    for (unsigned bit = 0; bit < 53; bit++) {
        *index ^= (uint64_t)1 << bit;
        assert_refused(what, bit / 8, 1u << bit % 8);
        *index ^= (uint64_t)1 << bit;
    }
}

static void every_byte_of_proofs_and_every_bit_of_indices(void **state)
{
    (void)state;
    struct evidence *e = &scene.evidence;
    for (size_t i = 0; i < e->n_statements; i++) {
        proof("inclusion", &e->statements[i].proof);
        flip_index("index", &e->statements[i].index);
    }
    for (size_t i = 0; i < e->n_heads; i++)
        proof("consistency", &e->heads[i].proof);
    proof("nonce", &e->nonce_proof);
    flip_index("nonce index", &e->nonce_index);
}

static void every_byte_of_every_blob(void **state)
{
    (void)state;
    struct evidence *e = &scene.evidence;
    for (size_t i = 0; i < e->n_blobs; i++) {
        flip_every_byte("blob", e->blobs[i].data, e->blobs[i].len);
        cut_everywhere("blob", &e->blobs[i]);
    }
}

static void every_bit_of_what_the_client_brings(void **state)
{
    (void)state;
    flip_every_byte("nonce", scene.input.nonce, NONCE_LEN);
    flip_every_byte("peer", scene.input.peer_spki_sha256, SHA256_LEN);
}

static void every_cut_and_every_byte_of_the_json(void **state)
{
    (void)state;
    struct verdict v;
    for (size_t len = 0; len < scene.json.len; len++) {
        scene.input.evidence_json = bytes_of(scene.json.data, len);
        assert_false(is_err(verify_evidence(&v, &scene.input)));
        assert_int_equal(first_false(&v), 1);
    }
    scene.input.evidence_json = buf_bytes(&scene.json);
    for (size_t at = 0; at < scene.json.len; at++) {
        scene.json.data[at] ^= (uint8_t)(1u << at % 8);
        assert_false(is_err(verify_evidence(&v, &scene.input)));
        if (v.outcome != OUTCOME_FALSE)
            fail_msg("JSON byte %zu: believed", at);
        scene.json.data[at] ^= (uint8_t)(1u << at % 8);
    }
}

/* What a policy may say otherwise without another verdict: comments, the names of code and of the
 * limits' numbers (docs/FORMATS.md section 7). */
static bool line_is_free(const char *line)
{
    static const char *const free_lines[] = {"#", "code ", "max-interval ", "max-age "};
    for (size_t i = 0; i < sizeof free_lines / sizeof *free_lines; i++)
        if (strncmp(line, free_lines[i], strlen(free_lines[i])) == 0)
            return true;
    return false;
}

static const char *line_of(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n')
        at--;
    return text + at;
}

static void every_bit_of_the_policy(void **state)
{
    (void)state;
    BUF_AUTO text = BUF_INIT, good = BUF_INIT;
    fake_policy_text(&scene.w, &text);
    buf_append_bytes(&good, buf_bytes(&text));
    for (size_t i = 0; i < 8 * text.len; i++) {
        uint8_t bit = (uint8_t)(1u << i % 8);
        text.data[i / 8] ^= bit;
        struct policy p;
        struct verdict v = {.outcome = OUTCOME_FALSE};
        if (!is_err(policy_parse(&p, buf_bytes(&text)))) {
            scene.input.policy = &p;
            assert_false(is_err(verify_evidence(&v, &scene.input)));
            policy_cleanup(&p);
        }
        if (v.outcome != OUTCOME_FALSE && !line_is_free(line_of(buf_str(&good), i / 8)))
            fail_msg("policy byte %zu ^ 0x%02x: believed", i / 8, bit);
        text.data[i / 8] ^= bit;
    }
}

/* Host 1's lines in host 0's statements, before the operator logs and signs them. */
static struct {
    enum fake_what what;
    size_t line;
    bool done;
    struct buf other[FAKE_STOP + 1]; /* host 1's texts */
} swap;

static struct bytes line_at(struct bytes text, size_t n)
{
    struct reader r = reader_of(text);
    struct bytes line = read_line(&r);
    for (size_t i = 0; i < n && !r.failed; i++)
        line = read_line(&r);
    return r.failed ? bytes_of(NULL, 0) : line;
}

static void swap_hook(struct fake_world *w, enum fake_stage stage, enum fake_what what, void *thing)
{
    struct buf *text = thing;
    if (stage != FAKE_TEXT)
        return;
    if (w->hosts[0].reset_count == 6) { /* host 0 has not begun */
        buf_clear(&swap.other[what]);
        buf_append_bytes(&swap.other[what], buf_bytes(text));
        return;
    }
    struct bytes mine = line_at(buf_bytes(text), swap.line);
    struct bytes other = line_at(buf_bytes(&swap.other[what]), swap.line);
    if (what != swap.what || other.len == 0 || bytes_equal(mine, other))
        return;
    BUF_AUTO out = BUF_INIT;
    size_t at = (size_t)(mine.data - text->data);
    buf_append(&out, text->data, at);
    buf_append_bytes(&out, other);
    buf_append(&out, text->data + at + mine.len, text->len - at - mine.len);
    buf_clear(text);
    buf_append_bytes(text, buf_bytes(&out));
    swap.done = true;
}

static void one_swap(enum fake_what what, size_t line, size_t *n)
{
    struct fake_world w;
    struct policy p;
    struct verdict v;
    BUF_AUTO text = BUF_INIT, json = BUF_INIT;
    swap.what = what;
    swap.line = line;
    swap.done = false;
    fake_world_init(&w, swap_hook);
    w.hosts[1].clock_ms += 777;
    w.hosts[1].reset_count += 3;
    w.hosts[1].restart_count = 2;
    w.hosts[1].counter_index++;
    fake_start(&w, 1);
    fake_log_quote(&w, 1);
    fake_start(&w, 0);
    fake_policy_text(&w, &text);
    assert_false(is_err(policy_parse(&p, buf_bytes(&text))));
    struct evidence e = EVIDENCE_INIT;
    fake_evidence(&w, 0, &e, scene_nonce);
    evidence_format(&json, &e);
    struct verify_input in = {.evidence_json = buf_bytes(&json), .policy = &p};
    memcpy(in.nonce, scene_nonce, NONCE_LEN);
    memcpy(in.peer_spki_sha256, w.hosts[0].spki_sha256, SHA256_LEN);
    assert_false(is_err(verify_evidence(&v, &in)));
    if (swap.done && v.outcome != OUTCOME_FALSE)
        fail_msg("line %zu of statement %d of another host: believed", line + 1, (int)what);
    if (!swap.done && v.outcome != OUTCOME_TRUE)
        print_verdict(&v);
    assert_true(swap.done || v.outcome == OUTCOME_TRUE);
    *n += swap.done;
    evidence_cleanup(&e);
    policy_cleanup(&p);
    fake_world_cleanup(&w);
}

static void every_line_of_another_hosts_statements(void **state)
{
    (void)state;
    const size_t n_lines[] = {
        [FAKE_HOST] = 6, [FAKE_BOOT] = 8, [FAKE_IDENTITY] = 5, [FAKE_PERIODIC] = 18};
    size_t n = 0;
    for (int what = FAKE_HOST; what <= FAKE_PERIODIC; what++)
        for (size_t line = 1; line < n_lines[what]; line++)
            one_swap((enum fake_what)what, line, &n);
    for (size_t i = 0; i <= FAKE_STOP; i++)
        buf_cleanup(&swap.other[i]);
    print_message("%zu lines of another host, each refused\n", n);
    assert_true(n >= 25);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_bit_of_the_host_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_boot_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_identity_statement, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_logged_quote_begin, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_logged_quote_end, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_live_quote_begin, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_live_quote_end, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_checkpoint_and_heads, setup, teardown),
        cmocka_unit_test_setup_teardown(every_byte_of_proofs_and_every_bit_of_indices, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_byte_of_every_blob, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_what_the_client_brings, setup, teardown),
        cmocka_unit_test_setup_teardown(every_cut_and_every_byte_of_the_json, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_of_the_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(every_line_of_another_hosts_statements, setup, teardown),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return ran ? n_failed : 1;
}
