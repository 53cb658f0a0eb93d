/* Witness policies: what the format allows is read, each thing that it forbids is refused and names
 * its line, and a quorum is met by exactly the sets of witnesses that its groups say. */
#include "tlog_vectors.h"
#include "transparency/tlog_policy.h"

enum { N_WITNESSES = 6 };

static struct note_signer log_signer, witnesses[N_WITNESSES];
static char log_vkey[200], vkeys[N_WITNESSES][200];
static struct buf log_note; /* a checkpoint of the log, without cosignatures */

static void vkey_text(char out[200], const struct note_key *key)
{
    BUF_AUTO text = BUF_INIT;
    note_vkey_format(&text, key);
    snprintf(out, 200, "%s", buf_str(&text));
}

static int setup(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < N_WITNESSES; i++) {
        uint8_t seed[ED25519_SEED_LEN] = {(uint8_t)(i + 1)};
        char name[32];
        snprintf(name, sizeof name, "witness.example/%u", i);
        assert_false(is_err(note_signer_init(&witnesses[i], name, NOTE_COSIGNATURE, seed)));
        vkey_text(vkeys[i], &witnesses[i].key);
    }
    uint8_t seed[ED25519_SEED_LEN] = {100};
    assert_false(is_err(note_signer_init(&log_signer, "example.org/log", NOTE_ED25519, seed)));
    vkey_text(log_vkey, &log_signer.key);
    struct checkpoint c = {.origin = "example.org/log", .size = 0, .root = merkle_empty()};
    assert_false(is_err(checkpoint_sign(&log_note, &c, &log_signer)));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_cleanup(&log_note);
    return 0;
}

/* The text, each %0 to %5 replaced by a witness's vkey and %L by the log's. */
static void expand(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text != '%')
            buf_append_u8(out, (uint8_t)*text);
        else if (*++text == 'L')
            buf_append_str(out, log_vkey);
        else
            buf_append_str(out, vkeys[*text - '0']);
    }
}

static struct err parse(struct tlog_policy *p, const char *text)
{
    BUF_AUTO expanded = BUF_INIT;
    expand(&expanded, text);
    return tlog_policy_parse(p, buf_bytes(&expanded));
}

/* The log's checkpoint with cosignatures of the witnesses in `set` (bits). */
static void cosigned(struct buf *out, unsigned set)
{
    struct bytes text = bytes_of(log_note.data, 0);
    const uint8_t *end = memmem(log_note.data, log_note.len, "\n\n", 2);
    text.len = (size_t)(end - log_note.data) + 1;
    buf_append_bytes(out, buf_bytes(&log_note));
    for (unsigned i = 0; i < N_WITNESSES; i++)
        if ((set >> i & 1) != 0)
            assert_false(is_err(note_cosign(out, text, &witnesses[i], 1000 + i)));
}

static bool holds(const struct tlog_policy *p, unsigned set)
{
    BUF_AUTO note = BUF_INIT;
    cosigned(&note, set);
    struct checkpoint c;
    struct tlog_witnessed w;
    struct err e = tlog_policy_check(&c, &w, p, buf_bytes(&note));
    if (is_err(e))
        assert_int_equal(e.code, ERR_UNTRUE);
    return !is_err(e);
}

static void reads_what_the_format_allows(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    struct err e = parse(&p, "# a comment\n\n \t # another\n"
                             "log %L https://log.example/prefix\n"
                             "\twitness  w0 \t%0  \n"
                             "witness \xe2\x84\xaa %1 https://w.example/\n"
                             "group both all w0 \xe2\x84\xaa\n"
                             "quorum both\n");
    if (is_err(e))
        fail_msg("%s", err_message());
    assert_int_equal(p.n_logs, 1);
    assert_string_equal(p.logs[0].url, "https://log.example/prefix");
    assert_int_equal(p.n_witnesses, 2);
    assert_null(p.witnesses[0].url);
    assert_string_equal(p.witnesses[1].name, "\xe2\x84\xaa");
    assert_int_equal(p.nodes[2].threshold, 2);
    assert_int_equal(p.quorum, 2);
}

/* The example of the specification: two of the Xs and one of the Ys. */
static void a_quorum_is_met_by_exactly_the_sets_that_its_groups_name(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    struct err e = parse(&p, "log %L\n"
                             "witness X1 %0\nwitness X2 %1\nwitness X3 %2\n"
                             "group X-witnesses 2 X1 X2 X3\n"
                             "witness Y1 %3\nwitness Y2 %4\nwitness Y3 %5\n"
                             "group Y-witnesses any Y1 Y2 Y3\n"
                             "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n");
    if (is_err(e))
        fail_msg("%s", err_message());
    for (unsigned set = 0; set < 1u << N_WITNESSES; set++) {
        int xs = __builtin_popcount(set & 7), ys = __builtin_popcount(set >> 3);
        assert_int_equal(holds(&p, set), xs >= 2 && ys >= 1);
    }
}

static void a_quorum_can_be_one_witness_or_none(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO one = TLOG_POLICY_INIT;
    TLOG_POLICY_AUTO none = TLOG_POLICY_INIT;
    assert_false(is_err(parse(&one, "log %L\nwitness a %0\nwitness b %1\nquorum b\n")));
    assert_false(is_err(parse(&none, "log %L\nwitness a %0\nquorum none\n")));
    assert_false(holds(&one, 1));
    assert_true(holds(&one, 2));
    assert_true(holds(&none, 0));
    BUF_AUTO note = BUF_INIT;
    cosigned(&note, 3);
    struct checkpoint c;
    struct tlog_witnessed w;
    assert_false(is_err(tlog_policy_check(&c, &w, &none, buf_bytes(&note))));
    assert_int_equal(w.n, 1); /* b is no witness of this policy */
    assert_true(w.by[0]);
    assert_int_equal(w.time_s[0], 1000);
}

static void refuses_what_the_format_forbids_and_names_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "no quorum line"},
        {"log %L\n", "no quorum line"},
        {"quorum none", "line 1: it does not end"},
        {"quorum none\nquorum none\n", "line 2: quorum: a second"},
        {"quorum a\nwitness a %0\n", "line 1: quorum: no line before"},
        {"quorum\n", "line 1: quorum: 1 words"},
        {"quorum none none\n", "line 1: quorum: 3 words"},
        {"witness none %0\nquorum none\n", "line 1: witness: 'none'"},
        {"witness a %0\nwitness a %1\n", "line 2: witness: the name 'a' a second"},
        {"witness a %0\nwitness b %0\n", "line 2: witness: the public key"},
        {"witness a %0\ngroup a all a\n", "line 2: group: the name 'a' a second"},
        {"witness a %L\n", "type 0x01 where a witness's"},
        {"log %0\n", "type 0x04 where a log's"},
        {"log %L\nlog %L\n", "line 2: log: the public key"},
        {"witness a\n", "line 1: witness: 2 words"},
        {"witness a %0 url more\n", "line 1: witness: 5 words"},
        {"group g any\n", "line 1: group: 3 words"},
        {"group g any a\n", "line 1: group: no line before this one defines 'a'"},
        {"group g any g\n", "no line before this one defines 'g'"},
        {"witness a %0\ngroup g any none\n", "defines 'none'"},
        {"witness a %0\ngroup g 0 a\n", "line 2: group: 0 of 1"},
        {"witness a %0\ngroup g 2 a\n", "line 2: group: 2 of 1"},
        {"witness a %0\ngroup g 01 a\n", "line 2: group: all, any"},
        {"witness a %0\ngroup g -1 a\n", "line 2: group: all, any"},
        {"witness a %0\ngroup g any a a\n", "'a' is a member already"},
        {"witness a %0\ngroup g any a\ngroup h any a\n", "line 3: group: 'a' is a member"},
        {"wibble\n", "'wibble' is no keyword"},
        {"LOG %L\n", "'LOG' is no keyword"},
        {"# carriage return\r\n", "line 1: the control character 0x0d"},
        {"# del \x7f\n", "line 1: the control character 0x7f"},
        {"log example.org/log+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
         "line 1: log: the key's id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
        assert_true(is_err(parse(&p, cases[i].text)));
        if (strstr(err_message(), cases[i].reason) == NULL)
            fail_msg("'%s': '%s' does not say '%s'", cases[i].text, err_message(), cases[i].reason);
        assert_int_equal(p.n_nodes, 0);
    }
}

/* One key under two names would count twice: a cosignature does not name its cosigner. */
static void refuses_two_witnesses_that_wrap_one_key_under_two_names(void **state)
{
    (void)state;
    struct note_key same;
    char other[200], text[800];
    assert_false(is_err(note_key_init(&same, "another.example/name", NOTE_COSIGNATURE,
                                      witnesses[0].key.public_key)));
    vkey_text(other, &same);
    snprintf(text, sizeof text, "witness a %s\nwitness b %s\nquorum none\n", vkeys[0], other);
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    assert_int_equal(tlog_policy_parse(&p, bytes_of_str(text)).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "the public key of witness 'witness.example/0'"));
}

static void takes_at_least_32_of_each_and_no_more_than_its_limits(void **state)
{
    (void)state;
    for (unsigned n = 32; n <= TLOG_POLICY_WITNESSES_MAX + 1; n += TLOG_POLICY_WITNESSES_MAX - 31) {
        BUF_AUTO text = BUF_INIT;
        for (unsigned i = 0; i < n; i++) {
            uint8_t seed[ED25519_SEED_LEN] = {(uint8_t)i, 9};
            struct note_signer s;
            assert_false(is_err(note_signer_init(&s, "n", NOTE_COSIGNATURE, seed)));
            buf_printf(&text, "witness w%u ", i);
            note_vkey_format(&text, &s.key);
            buf_printf(&text, "\ngroup g%u any w%u\n", i, i);
        }
        buf_append_str(&text, "quorum g0\n");
        TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
        struct err e = tlog_policy_parse(&p, buf_bytes(&text));
        assert_int_equal(e.code, n == 32 ? ERR_NONE : ERR_LIMIT);
    }
}

static void only_a_log_of_the_policy_can_sign(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO none = TLOG_POLICY_INIT;
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    struct checkpoint c;
    assert_false(is_err(parse(&none, "quorum none\n")));
    assert_false(is_err(parse(&p, "log %L\nquorum none\n")));
    struct bytes note = buf_bytes(&log_note);
    assert_int_equal(tlog_policy_check(&c, NULL, &none, note).code, ERR_UNTRUE);
    assert_false(is_err(tlog_policy_check(&c, NULL, &p, note)));
    for (size_t bit = 0; bit < log_note.len * 8; bit++) {
        BUF_AUTO spoilt = BUF_INIT;
        buf_append_bytes(&spoilt, note);
        spoilt.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (!is_err(tlog_policy_check(&c, NULL, &p, buf_bytes(&spoilt))))
            fail_msg("byte %zu, bit %zu flipped, and still true", bit / 8, bit % 8);
    }
}

/* A line by a key that is known is never passed over, even where the quorum is met without it. */
static void a_cosignature_that_does_not_verify_makes_the_note_untrue(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    struct checkpoint c;
    assert_false(
        is_err(parse(&p, "log %L\nwitness a %0\nwitness b %1\ngroup g any a b\nquorum g\n")));
    BUF_AUTO note = BUF_INIT;
    cosigned(&note, 1);
    BUF_AUTO both = BUF_INIT;
    cosigned(&both, 3);
    struct bytes text = bytes_of_str("example.org/log\n1\n"
                                     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    assert_false(is_err(note_cosign(&note, text, &witnesses[1], 5))); /* over another checkpoint */
    assert_int_equal(tlog_policy_check(&c, NULL, &p, buf_bytes(&note)).code, ERR_UNTRUE);
    assert_non_null(strstr(err_message(), "does not verify"));
    assert_false(is_err(tlog_policy_check(&c, NULL, &p, buf_bytes(&both))));
}

static void lines_of_unknown_keys_and_types_are_passed_over(void **state)
{
    (void)state;
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    struct checkpoint c;
    assert_false(is_err(parse(&p, "log %L\nwitness a %0\nquorum a\n")));
    BUF_AUTO note = BUF_INIT;
    cosigned(&note, 1 | 1 << 4);
    BUF_AUTO large = BUF_INIT; /* as long as an ML-DSA-44 cosignature */
    for (size_t i = 0; i < 4 + 8 + 2420; i++)
        buf_append_u8(&large, (uint8_t)i);
    buf_append_str(&note, "\xe2\x80\x94 witness.example/0 ");
    buf_append_base64(&note, buf_bytes(&large));
    buf_append_str(&note, "\n");
    assert_false(is_err(tlog_policy_check(&c, NULL, &p, buf_bytes(&note))));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_format_allows),
        cmocka_unit_test(a_quorum_is_met_by_exactly_the_sets_that_its_groups_name),
        cmocka_unit_test(a_quorum_can_be_one_witness_or_none),
        cmocka_unit_test(refuses_what_the_format_forbids_and_names_the_line),
        cmocka_unit_test(refuses_two_witnesses_that_wrap_one_key_under_two_names),
        cmocka_unit_test(takes_at_least_32_of_each_and_no_more_than_its_limits),
        cmocka_unit_test(only_a_log_of_the_policy_can_sign),
        cmocka_unit_test(a_cosignature_that_does_not_verify_makes_the_note_untrue),
        cmocka_unit_test(lines_of_unknown_keys_and_types_are_passed_over),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
