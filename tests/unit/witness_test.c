/* A witness answers as C2SP's tlog-witness says, remembers across starts, and never cosigns two
 * histories: by requests of other implementations, by the sequence that sigsum tests its witnesses
 * with, and with every bit of a request flipped. */
#include "tlog_vectors.h"

#include <unistd.h>

#include "transparency/witness_db.h"

enum { N_LEAVES = 9 };

static size_t n_skipped;
static struct note_signer log_signer, cosigner;
static struct witness_log known;
static struct merkle_hash leaves[N_LEAVES];
static char folder[] = "/tmp/witness_test.XXXXXX", path[64];

static struct err source(void *context, unsigned level, uint64_t index, struct merkle_hash *out)
{
    (void)context;
    *out = merkle_root(leaves + (index << level), (uint64_t)1 << level);
    return err_ok();
}

static int group_setup(void **state)
{
    (void)state;
    uint8_t seed[ED25519_SEED_LEN] = {3};
    assert_false(is_err(note_signer_init(&log_signer, "example.org/log", NOTE_ED25519, seed)));
    seed[0] = 4;
    assert_false(
        is_err(note_signer_init(&cosigner, "example.com/witness", NOTE_COSIGNATURE, seed)));
    snprintf(known.origin, sizeof known.origin, "example.org/log");
    known.key = log_signer.key;
    for (uint8_t i = 0; i < N_LEAVES; i++)
        leaves[i] = merkle_leaf(bytes_of(&i, 1));
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/witness.db", folder);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    static const char *const ends[] = {"", ".lock", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
    return 0;
}

static int group_teardown(void **state)
{
    remove_files(state);
    return rmdir(folder);
}

static struct witness_db *open_db(void)
{
    struct witness_db *w = NULL;
    struct err e = witness_db_open(&w, path, &cosigner, &known, 1);
    if (is_err(e))
        fail_msg("%s", err_message());
    return w;
}

static struct witness_db *fresh(void)
{
    remove_files(NULL);
    assert_false(is_err(witness_db_create(path)));
    return open_db();
}

static void sign_head(struct buf *note, uint64_t size, const struct merkle_hash *root)
{
    struct checkpoint c = {.origin = "example.org/log", .size = size, .root = *root};
    assert_false(is_err(checkpoint_sign(note, &c, &log_signer)));
}

static void format_request(struct buf *body, uint64_t old_size, uint64_t size)
{
    struct merkle_hash root = merkle_root(leaves, size);
    BUF_AUTO note = BUF_INIT;
    sign_head(&note, size, &root);
    struct witness_request q = {.old_size = old_size, .note = buf_bytes(&note)};
    if (old_size <= size)
        assert_false(is_err(merkle_prove_consistency(&q.proof, old_size, size, source, NULL)));
    witness_request_format(body, &q);
}

static int add(struct witness_db *w, struct buf *answer, struct bytes body)
{
    WITNESS_REPLY_AUTO reply = WITNESS_REPLY_INIT;
    struct err e = witness_db_add_checkpoint(w, &reply, body, 1700000000);
    if (is_err(e))
        fail_msg("%s", err_message());
    if (answer != NULL)
        buf_append_bytes(answer, buf_bytes(&reply.body));
    return (int)reply.status;
}

static int grow(struct witness_db *w, struct buf *answer, uint64_t old_size, uint64_t size)
{
    BUF_AUTO body = BUF_INIT;
    format_request(&body, old_size, size);
    return add(w, answer, buf_bytes(&body));
}

static void answers_the_sequence_that_sigsum_tests_witnesses_with(void **state)
{
    (void)state;
    struct witness_db *w = fresh();
    BUF_AUTO answer = BUF_INIT;
    assert_int_equal(grow(w, NULL, 0, 2), 200);
    assert_int_equal(grow(w, &answer, 1, 2), 409);
    assert_string_equal(buf_str(&answer), "2\n");
    assert_int_equal(grow(w, NULL, 2, 4), 200);
    assert_int_equal(grow(w, NULL, 4, 4), 200);
    assert_int_equal(grow(w, NULL, 4, 5), 200);
    assert_int_equal(grow(w, NULL, 5, 4), 400);
    witness_db_close(w);
}

static void a_cosignature_verifies_under_its_key_and_has_its_time(void **state)
{
    (void)state;
    struct witness_db *w = fresh();
    struct merkle_hash root = merkle_root(leaves, 3);
    BUF_AUTO note = BUF_INIT;
    sign_head(&note, 3, &root);
    assert_int_equal(grow(w, &note, 0, 3), 200); /* appends the line to the note */
    static struct note parsed;
    uint64_t time_s = 0;
    assert_false(is_err(note_parse(&parsed, buf_bytes(&note))));
    assert_false(is_err(note_verify_cosignature(&parsed, &cosigner.key, &time_s)));
    assert_int_equal(time_s, 1700000000);
    witness_db_close(w);
}

static void remembers_across_starts_and_serves_the_latest(void **state)
{
    (void)state;
    struct witness_db *w = fresh();
    uint8_t digest[SHA256_LEN], other[SHA256_LEN] = {0};
    sha256(digest, bytes_of_str("example.org/log"));
    BUF_AUTO none = BUF_INIT;
    assert_int_equal(witness_db_latest(w, &none, digest).code, ERR_NOT_FOUND);
    assert_int_equal(grow(w, NULL, 0, 4), 200);
    witness_db_close(w);
    w = open_db();
    assert_int_equal(grow(w, NULL, 0, 5), 409);
    BUF_AUTO note = BUF_INIT;
    assert_false(is_err(witness_db_latest(w, &note, digest)));
    assert_int_equal(witness_db_latest(w, &none, other).code, ERR_NOT_FOUND);
    struct checkpoint c;
    assert_false(
        is_err(checkpoint_verify(&c, buf_bytes(&note), "example.org/log", &log_signer.key)));
    assert_int_equal(c.size, 4);
    static struct note parsed;
    uint64_t time_s;
    assert_false(is_err(note_parse(&parsed, buf_bytes(&note))));
    assert_int_equal(parsed.n_signatures, 2);
    assert_false(is_err(note_verify_cosignature(&parsed, &cosigner.key, &time_s)));
    witness_db_close(w);
}

static void refuses_a_fork_and_a_rolled_back_log(void **state)
{
    (void)state;
    struct witness_db *w = fresh();
    assert_int_equal(grow(w, NULL, 0, 6), 200);
    /* the same size with another root */
    struct merkle_hash swapped[N_LEAVES];
    memcpy(swapped, leaves, sizeof swapped);
    swapped[5] = leaves[8];
    struct merkle_hash root = merkle_root(swapped, 6);
    BUF_AUTO fork = BUF_INIT;
    BUF_AUTO body = BUF_INIT;
    BUF_AUTO answer = BUF_INIT;
    sign_head(&fork, 6, &root);
    struct witness_request q = {.old_size = 6, .note = buf_bytes(&fork)};
    witness_request_format(&body, &q);
    assert_int_equal(add(w, &answer, buf_bytes(&body)), 422);
    assert_non_null(strstr(buf_str(&answer), "two roots for one size"));
    /* a log that was put back to 3 and went on elsewhere to 7 */
    swapped[3] = leaves[8];
    root = merkle_root(swapped, 7);
    buf_clear(&fork);
    buf_clear(&body);
    sign_head(&fork, 7, &root);
    q = (struct witness_request){.old_size = 6, .note = buf_bytes(&fork)};
    assert_false(is_err(merkle_prove_consistency(&q.proof, 6, 7, source, NULL)));
    witness_request_format(&body, &q);
    assert_int_equal(add(w, NULL, buf_bytes(&body)), 422);
    assert_int_equal(grow(w, NULL, 3, 4), 409);
    assert_int_equal(grow(w, NULL, 6, 7), 200);
    witness_db_close(w);
}

static void refuses_each_flaw_with_its_status(void **state)
{
    (void)state;
    struct witness_db *w = fresh();
    struct merkle_hash root = merkle_root(leaves, 2);
    BUF_AUTO note = BUF_INIT;
    sign_head(&note, 2, &root);
    BUF_AUTO full = BUF_INIT; /* from size 0 nothing needs a proof */
    buf_printf(&full, "old 0\n%s\n\n%s",
               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", buf_str(&note));
    assert_int_equal(add(w, NULL, buf_bytes(&full)), 422);
    BUF_AUTO empty_note = BUF_INIT;
    BUF_AUTO empty = BUF_INIT; /* size 0 has one root */
    sign_head(&empty_note, 0, &root);
    buf_printf(&empty, "old 0\n\n%s", buf_str(&empty_note));
    assert_int_equal(add(w, NULL, buf_bytes(&empty)), 422);
    BUF_AUTO many = BUF_INIT;
    buf_append_str(&many, "old 0\n");
    for (int i = 0; i < 64; i++)
        buf_append_str(&many, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    buf_printf(&many, "\n%s", buf_str(&note));
    assert_int_equal(add(w, NULL, buf_bytes(&many)), 400);
    BUF_AUTO large = BUF_INIT;
    format_request(&large, 0, 2);
    while (large.len <= WITNESS_REQUEST_MAX)
        buf_append_str(&large, "\xe2\x80\x94 n AAAAAAAA\n");
    assert_int_equal(add(w, NULL, buf_bytes(&large)), 400);
    static const char *const malformed[] = {"",           "old",     "old 00\n\n",
                                            "old -1\n\n", "old 0\n", "x\n"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        assert_int_equal(add(w, NULL, bytes_of_str(malformed[i])), 400);
    assert_int_equal(grow(w, NULL, 0, 2), 200); /* none of these has changed anything */
    witness_db_close(w);
}

static void no_flipped_bit_and_no_cut_is_cosigned(void **state)
{
    (void)state;
    struct witness_db *w = fresh();
    assert_int_equal(grow(w, NULL, 0, 3), 200);
    BUF_AUTO body = BUF_INIT;
    format_request(&body, 3, 7);
    for (size_t bit = 0; bit < body.len * 8; bit++) {
        body.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (add(w, NULL, buf_bytes(&body)) == 200)
            fail_msg("byte %zu, bit %zu flipped, and cosigned", bit / 8, bit % 8);
        body.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < body.len; len++)
        assert_int_not_equal(add(w, NULL, bytes_of(body.data, len)), 200);
    assert_int_equal(add(w, NULL, buf_bytes(&body)), 200);
    witness_db_close(w);
}

static void a_witness_that_lost_its_state_does_not_begin_anew_by_itself(void **state)
{
    (void)state;
    remove_files(NULL);
    struct witness_db *w = NULL;
    assert_int_equal(witness_db_open(&w, path, &cosigner, &known, 1).code, ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(), "only when asked for"));
    assert_false(is_err(witness_db_create(path)));
    assert_int_equal(witness_db_create(path).code, ERR_USAGE);
    struct witness_db *first = open_db();
    assert_int_equal(witness_db_open(&w, path, &cosigner, &known, 1).code, ERR_BUSY);
    witness_db_close(first);
    struct note_signer wrong = log_signer;
    assert_int_equal(witness_db_open(&w, path, &wrong, &known, 1).code, ERR_USAGE);
}

/* Reads one published request of a hurl file: the body between fences, then "HTTP <status>". */
static bool next_request(struct bytes *body, int *status, const char **at)
{
    const char *post = strstr(*at, "\nPOST ");
    const char *begin = post != NULL ? strstr(post, "\n```\n") : NULL;
    const char *end = begin != NULL ? strstr(begin + 5, "```\nHTTP ") : NULL;
    if (end == NULL)
        return false;
    *body = bytes_of(begin + 5, (size_t)(end - begin - 5));
    *status = atoi(end + 9);
    *at = end;
    return true;
}

static char *read_vector(const char *name)
{
    char file[512];
    snprintf(file, sizeof file, "%s/vectors/tlog-witness/%s", BL_SHARED_DIR, name);
    FILE *f = fopen(file, "rb");
    if (f == NULL)
        return NULL;
    char *text = calloc(1, 65536);
    assert_non_null(text);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

/* litewitness answers 403 where the specification now says 404; and its spoilt signature is spoilt
 * in bits that base64 does not use, which makes it no note here (400) before it is a false one. */
static size_t replay(const char *file, const struct witness_log *log)
{
    char *text = read_vector(file);
    if (text == NULL)
        return 0;
    struct witness_log before = known;
    known = *log;
    struct witness_db *w = fresh();
    size_t n = 0;
    struct bytes body;
    int status;
    for (const char *at = text; next_request(&body, &status, &at); n++) {
        BUF_AUTO answer = BUF_INIT;
        int got = add(w, &answer, body);
        if (got == 404 && strstr(buf_str(&answer), "unknown log") != NULL)
            got = 403;
        if (got == 400 && strstr(buf_str(&answer), "base64 with unused bits") != NULL)
            got = 403;
        if (got != status)
            fail_msg("%s: request %zu: %d, not %d: %s", file, n + 1, got, status, buf_str(&answer));
    }
    witness_db_close(w);
    known = before;
    free(text);
    return n;
}

static void answers_requests_of_other_witnesses_tests_as_they_do(void **state)
{
    (void)state;
    struct witness_log sigsum = {
        .origin =
            "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"};
    uint8_t key[ED25519_PUBLIC_LEN];
    assert_false(is_err(hex_decode(
        key, sizeof key,
        bytes_of_str("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f"))));
    assert_false(is_err(note_key_init(&sigsum.key, sigsum.origin, NOTE_ED25519, key)));
    struct witness_log sumdb = {.origin = "go.sum database tree"};
    assert_false(is_err(note_vkey_parse(
        &sumdb.key,
        bytes_of_str("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"))));
    size_t n = replay("torchwood/litewitness.txt", &sigsum);
    if (n == 0) {
        n_skipped++;
        skip();
    }
    assert_int_equal(n, 9);
    assert_int_equal(replay("torchwood/sumdb.txt", &sumdb), 1);
}

static void reads_the_example_of_the_specification(void **state)
{
    (void)state;
    char *text = read_vector("c2sp_example_request.txt");
    if (text == NULL) {
        n_skipped++;
        skip();
    }
    struct witness_request q;
    assert_false(is_err(witness_request_parse(&q, bytes_of_str(text))));
    assert_int_equal(q.old_size, 20852014);
    assert_int_equal(q.proof.n_hashes, 4);
    BUF_AUTO again = BUF_INIT;
    witness_request_format(&again, &q);
    assert_string_equal(buf_str(&again), text);
    free(text);
}

static void accepts_a_published_growth_from_5_to_8(void **state)
{
    (void)state;
    json_t *j = vectors_load("tlog-witness/tdev_witness_monkeys.json");
    if (j == NULL) {
        n_skipped++;
        skip();
    }
    struct witness_log before = known;
    snprintf(known.origin, sizeof known.origin, "monkeys");
    assert_false(is_err(note_vkey_parse(&known.key, bytes_of_str(vector_text(j, "log_vkey")))));
    struct witness_db *w = fresh();
    BUF_AUTO first = BUF_INIT;
    buf_printf(&first, "old 0\n\n%s", vector_text(j, "old"));
    assert_int_equal(add(w, NULL, buf_bytes(&first)), 200);
    struct witness_request q = {.old_size = 5, .note = bytes_of_str(vector_text(j, "new"))};
    const json_t *proof = json_object_get(j, "proof_hex");
    for (; q.proof.n_hashes < json_array_size(proof); q.proof.n_hashes++)
        assert_false(is_err(
            hex_decode(q.proof.hashes[q.proof.n_hashes].bytes, SHA256_LEN,
                       bytes_of_str(json_string_value(json_array_get(proof, q.proof.n_hashes))))));
    BUF_AUTO second = BUF_INIT;
    witness_request_format(&second, &q);
    assert_int_equal(add(w, NULL, buf_bytes(&second)), 200);
    witness_db_close(w);
    known = before;
    json_decref(j);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_the_sequence_that_sigsum_tests_witnesses_with),
        cmocka_unit_test(a_cosignature_verifies_under_its_key_and_has_its_time),
        cmocka_unit_test(remembers_across_starts_and_serves_the_latest),
        cmocka_unit_test(refuses_a_fork_and_a_rolled_back_log),
        cmocka_unit_test(refuses_each_flaw_with_its_status),
        cmocka_unit_test(no_flipped_bit_and_no_cut_is_cosigned),
        cmocka_unit_test(a_witness_that_lost_its_state_does_not_begin_anew_by_itself),
        cmocka_unit_test(answers_requests_of_other_witnesses_tests_as_they_do),
        cmocka_unit_test(reads_the_example_of_the_specification),
        cmocka_unit_test(accepts_a_published_growth_from_5_to_8),
    };
    int n_failed = cmocka_run_group_tests(tests, group_setup, group_teardown);
    return vectors_exit_code(n_failed, sizeof tests / sizeof *tests, n_skipped);
}
