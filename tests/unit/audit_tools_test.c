/* The tools of blindllama-audit for single artefacts: exit codes, what they print, and that what is
 * in a file never reaches the terminal as it is. */
#include "tests/unit/audit_run.h"

#include <jansson.h>

#include "fake_host.h"
#include "tests/unit/eventlog_make.h"
#include "tests/unit/swtpm_vectors.h"
#include "tests/unit/tpm_data.h"
#include "transparency/tlog_proof.h"

static struct audit_folder folder;

static void expect(const char *arguments, int code, const char *says)
{
    BUF_AUTO out = BUF_INIT;
    int actual = audit_run_program(&folder, &out, arguments);
    if (actual != code || strstr(buf_str(&out), says) == NULL)
        fail_msg("%s: exit %d, not %d with '%s':\n%s", arguments, actual, code, says,
                 buf_str(&out));
}

/* The JSON that a command prints; the caller's. */
static json_t *json_of(const char *arguments, int code)
{
    BUF_AUTO out = BUF_INIT;
    int actual = audit_run_program(&folder, &out, arguments);
    json_error_t why;
    json_t *root = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &why);
    if (actual != code || root == NULL)
        fail_msg("%s: exit %d:\n%s", arguments, actual, buf_str(&out));
    return root;
}

static void write_event_log(void)
{
    BUF_AUTO data = BUF_INIT;
    make_sha256_header(&data);
    make_sha256_event(&data, 4, 13, bytes_of_str("kernel"));
    make_sha256_event(&data, 7, 4, bytes_of("\0\0\0", 4));
    make_sha256_event(&data, 4, 13, bytes_of_str("kernel"));
    make_sha256_event(&data, 4, EV_NO_ACTION, bytes_of_str("\x1b[31mred"));
    audit_file(&folder, "log.bin", buf_bytes(&data));
    audit_file(&folder, "cut.bin", bytes_of(data.data, data.len - 1));
}

static void hex_of(struct buf *out, const char *text)
{
    uint8_t hash[SHA256_LEN];
    sha256(hash, bytes_of_str(text));
    buf_append_hex(out, bytes_of(hash, sizeof hash));
}

static void eventlog_prints_events_and_pcrs(void **state)
{
    (void)state;
    write_event_log();
    struct eventlog_pcrs pcrs;
    struct eventlog log;
    BUF_AUTO data = BUF_INIT, path = BUF_INIT;
    assert_false(is_err(file_read(&data, path_join(&path, folder.path, "log.bin"), 1 << 20)));
    assert_false(is_err(eventlog_parse(&log, buf_bytes(&data))));
    assert_false(is_err(eventlog_replay(&pcrs, &log, pcr_bank_of(TPM_ALG_SHA256_ID))));
    eventlog_cleanup(&log);
    BUF_AUTO four = BUF_INIT, seven = BUF_INIT;
    buf_append_hex(&four, bytes_of(pcrs.values[4], 32));
    buf_append_hex(&seven, bytes_of(pcrs.values[7], 32));
    json_t *root = json_of("eventlog log.bin --json", 0);
    json_t *wanted = json_pack("{s:i,s:{s:{s:s,s:s}}}", "events", 4, "pcrs", "sha256", "4",
                               buf_str(&four), "7", buf_str(&seven));
    assert_true(json_equal(root, wanted));
    json_decref(root);
    json_decref(wanted);
    expect("eventlog log.bin", 0, buf_str(&seven));
    expect("eventlog log.bin", 0, "not extended");
}

static void eventlog_refuses_with_one_line(void **state)
{
    (void)state;
    write_event_log();
    expect("eventlog cut.bin", 1, "false: event log: event 4 (at byte ");
    json_t *root = json_of("eventlog --json cut.bin", 1);
    assert_string_equal(json_string_value(json_object_get(root, "outcome")), "false");
    json_decref(root);
    expect("eventlog none.bin", 2, "could not check: cannot open none.bin");
    expect("eventlog", 2, "a file is needed");
    expect("eventlog log.bin log.bin", 2, "one file at a time");
}

static void eventlog_writes_policy_lines_once_each(void **state)
{
    (void)state;
    write_event_log();
    BUF_AUTO out = BUF_INIT, line = BUF_INIT;
    assert_int_equal(audit_run_program(&folder, &out, "eventlog log.bin --policy-lines"), 0);
    buf_append_str(&line, "boot-event 4 ");
    hex_of(&line, "kernel");
    const char *first = strstr(buf_str(&out), buf_str(&line));
    assert_non_null(first);
    assert_null(strstr(first + 1, buf_str(&line)));
    assert_non_null(strstr(buf_str(&out), "# PCR 0: no event"));
}

static void eventlog_refuses_policy_lines_without_sha256(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    make_legacy_event(&data, 4, 13, bytes_of_str("kernel"));
    audit_file(&folder, "legacy.bin", buf_bytes(&data));
    expect("eventlog legacy.bin --policy-lines", 1, "no sha256 digests");
    expect("eventlog legacy.bin", 0, "printed only");
}

static void ima_says_how_much_is_attested(void **state)
{
    (void)state;
    static const char list[] = "10 34bdaa078efeae464f57133a31096aef180457a4 ima-ng "
                               "sha1:1801e1be3e65ef1eaa5c16617bec8f1274eaf6b3 boot_aggregate\n";
    audit_file(&folder, "list", bytes_of_str(list));
    json_t *root = json_of("ima list --json", 0);
    const json_t *pcrs = json_object_get(root, "pcrs");
    const char *pcr = json_string_value(json_object_get(json_object_get(pcrs, "sha256"), "10"));
    assert_int_equal(json_integer_value(json_object_get(root, "entries")), 1);
    assert_int_equal(json_object_size(pcrs), 4);
    char arguments[256];
    snprintf(arguments, sizeof arguments, "ima list --pcr10 %s", pcr);
    expect(arguments, 0, "the first 1 lead to the quoted PCR 10, 0 are not attested");
    snprintf(arguments, sizeof arguments, "ima list --pcr10 %064d", 0);
    expect(arguments, 1, "false: IMA list: none of its 1 entries");
    json_decref(root);
    expect("ima list --pcr10 00", 2, "--pcr10");
    expect("ima list --bank sha1 --pcr10 0000000000000000000000000000000000000000", 1,
           "a SHA-1 PCR proves nothing");
    audit_file(&folder, "list", bytes_of_str("10 \x1b[31m\n"));
    expect("ima list", 1, "false: IMA list: entry 1");
}

static void write_quote(void)
{
    static const uint8_t zero[512];
    const struct {
        const char *name, *hex;
    } files[] = {{"ak", swtpm_ak_public},
                 {"attest", swtpm_quote},
                 {"sig", swtpm_quote_signature},
                 {"nv", swtpm_nv}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        BUF_AUTO data = BUF_INIT;
        from_hex(&data, files[i].hex);
        audit_file(&folder, files[i].name, buf_bytes(&data));
    }
    audit_file(&folder, "pcrs", bytes_of(zero, sizeof zero));
}

#define QUOTE "quote --ak ak --signature sig --pcrs pcrs "
#define ALL "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define NONCE "0101010101010101010101010101010101010101010101010101010101010101"

static void quote_accepts_what_a_tpm_signed(void **state)
{
    (void)state;
    write_quote();
    expect(QUOTE "--attest attest --bank sha256 --select " ALL " --nonce " NONCE, 0, "true: ");
    json_t *root =
        json_of(QUOTE "--attest attest --bank sha256 --json --select " ALL " --nonce " NONCE, 0);
    assert_string_equal(json_string_value(json_object_get(root, "outcome")), "true");
    assert_string_equal(json_string_value(json_object_get(root, "scheme")), "ecdsa");
    assert_string_equal(json_string_value(json_object_get(root, "ak_name")), swtpm_ak_name);
    assert_int_equal(json_object_size(json_object_get(root, "pcrs")), 16);
    json_decref(root);
}

static void quote_refuses_with_its_reason(void **state)
{
    (void)state;
    write_quote();
    expect(QUOTE "--attest attest --bank sha256 --select " ALL " --nonce 02", 1, "extraData");
    expect(QUOTE "--attest attest --bank sha384 --select " ALL " --nonce " NONCE, 1,
           "false: PCR values: 512 bytes");
    expect(QUOTE "--attest attest --bank sha1 --select " ALL " --nonce " NONCE, 1,
           "never believed");
    expect(QUOTE "--attest attest --bank sha256 --select 0 --nonce " NONCE, 1, "PCR values");
    expect(QUOTE "--attest nv --bank sha256 --select " ALL " --nonce " NONCE, 1,
           "not the attestation key's");
    expect(QUOTE "--attest pcrs --bank sha256 --select " ALL " --nonce " NONCE, 1, "magic");
}

static void quote_that_cannot_be_checked_exits_2(void **state)
{
    (void)state;
    write_quote();
    expect(QUOTE "--attest none --bank sha256 --select 0 --nonce 01", 2,
           "could not check: cannot open none");
    expect(QUOTE "--attest attest --bank md5 --select 0 --nonce 01", 2, "--bank");
    expect(QUOTE "--attest attest --bank sha256 --select 0,0 --nonce 01", 2, "--select");
    expect(QUOTE "--attest attest --bank sha256 --select 24 --nonce 01", 2, "--select");
    expect(QUOTE "--attest attest --bank sha256 --select 0, --nonce 01", 2, "--select");
    expect(QUOTE "--attest attest --bank sha256 --select 0 --nonce ''", 2, "--nonce");
    expect(QUOTE "--attest attest --bank sha256 --select 0 --nonce 0g", 2, "--nonce");
    expect(QUOTE "--attest attest --bank sha256 --select 0", 2, "--nonce is needed");
}

static void write_log_files(struct fake_world *w)
{
    BUF_AUTO policy = BUF_INIT, note = BUF_INIT, proof = BUF_INIT;
    struct tlog_proof p = {.index = 2};
    fake_policy_text(w, &policy);
    fake_checkpoint(w, &note, w->n_entries);
    fake_inclusion(w, &p.proof, p.index, w->n_entries);
    p.checkpoint = buf_bytes(&note);
    tlog_proof_format(&proof, &p);
    audit_file(&folder, "policy", buf_bytes(&policy));
    audit_file(&folder, "head", buf_bytes(&note));
    audit_file(&folder, "e.tlog-proof", buf_bytes(&proof));
    audit_file(&folder, "entry", buf_bytes(&w->entries[2]));
    audit_file(&folder, "other", buf_bytes(&w->entries[1]));
}

static void checkpoint_and_proof_accept_the_policys_log(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    fake_start(&w, 0);
    write_log_files(&w);
    expect("checkpoint head --policy policy", 0, "true: the head of ");
    expect("proof e.tlog-proof --leaf entry --policy policy", 0, "true: entry 2 is under");
    json_t *root = json_of("proof e.tlog-proof --leaf entry --policy policy --json", 0);
    assert_int_equal(json_integer_value(json_object_get(root, "index")), 2);
    assert_int_equal(json_integer_value(json_object_get(root, "size")), w.n_entries);
    json_decref(root);
    fake_world_cleanup(&w);
}

static void checkpoint_and_proof_refuse_what_is_not_the_logs(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, NULL);
    fake_start(&w, 0);
    write_log_files(&w);
    expect("proof e.tlog-proof --leaf other --policy policy", 1, "false: ");
    expect("proof head --leaf entry --policy policy", 1, "false: not a proof");
    expect("checkpoint entry --policy policy", 1, "false: ");
    uint8_t seed[ED25519_SEED_LEN] = {44};
    assert_false(is_err(note_signer_init(&w.log, w.log.key.name, NOTE_ED25519, seed)));
    BUF_AUTO policy = BUF_INIT;
    fake_policy_text(&w, &policy);
    audit_file(&folder, "policy", buf_bytes(&policy));
    expect("checkpoint head --policy policy", 1, "false: ");
    expect("proof e.tlog-proof --leaf entry --policy policy", 1, "false: ");
    expect("checkpoint head --policy head", 2, "could not check: head");
    expect("checkpoint none --policy policy", 2, "could not check: cannot open none");
    expect("proof e.tlog-proof --policy policy", 2, "--leaf");
    expect("checkpoint head", 2, "--policy is needed");
    fake_world_cleanup(&w);
}

static void checkpoint_and_proof_ask_the_policys_witnesses(void **state)
{
    (void)state;
    struct fake_world w;
    struct note_signer witness;
    uint8_t seed[ED25519_SEED_LEN] = {45};
    BUF_AUTO policy = BUF_INIT, text = BUF_INIT, note = BUF_INIT, proof = BUF_INIT;
    fake_world_init(&w, NULL);
    fake_start(&w, 0);
    write_log_files(&w);
    assert_false(is_err(note_signer_init(&witness, "w.example", NOTE_COSIGNATURE, seed)));
    fake_policy_text(&w, &text);
    const char *all = buf_str(&text), *at = strstr(all, "quorum none\n");
    assert_non_null(at);
    buf_append(&policy, all, (size_t)(at - all));
    buf_append_str(&policy, "witness w ");
    note_vkey_format(&policy, &witness.key);
    buf_printf(&policy, "\nquorum w\n%s", at + strlen("quorum none\n"));
    audit_file(&folder, "policy", buf_bytes(&policy));
    expect("checkpoint head --policy policy", 1, "lacks the quorum 'w'");
    expect("proof e.tlog-proof --leaf entry --policy policy", 1, "lacks the quorum 'w'");
    struct tlog_proof p = {.index = 2};
    fake_checkpoint(&w, &note, w.n_entries);
    const uint8_t *blank = memmem(note.data, note.len, "\n\n", 2);
    BUF_AUTO signed_text = BUF_INIT;
    buf_append(&signed_text, note.data, (size_t)(blank - note.data) + 1);
    assert_false(is_err(note_cosign(&note, buf_bytes(&signed_text), &witness, 1700000000)));
    fake_inclusion(&w, &p.proof, p.index, w.n_entries);
    p.checkpoint = buf_bytes(&note);
    tlog_proof_format(&proof, &p);
    audit_file(&folder, "head", buf_bytes(&note));
    audit_file(&folder, "e.tlog-proof", buf_bytes(&proof));
    expect("checkpoint head --policy policy", 0, "true: the head of ");
    expect("proof e.tlog-proof --leaf entry --policy policy", 0, "true: entry 2 is under");
    fake_world_cleanup(&w);
}

static void every_command_explains_itself(void **state)
{
    (void)state;
    static const char *const names[] = {"replay", "eventlog",   "ima",
                                        "quote",  "checkpoint", "proof"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "%s --help", names[i]);
        expect(arguments, 0, "Exit codes: 0 ");
        expect("--help", 0, names[i]);
    }
}

/* Logs of real machines, through the program. */
static void eventlog_prints_what_others_state(void **state)
{
    (void)state;
    if (!tpm_data_there())
        skip();
    json_t *expected = tpm_data_expected(), *wanted;
    const char *name;
    json_object_foreach(json_object_get(expected, "eventlogs"), name, wanted)
    {
        char arguments[512];
        snprintf(arguments, sizeof arguments, "eventlog --json '%s/tpmdata/%s'", BL_SHARED_DIR,
                 name);
        bool good = strcmp(json_string_value(json_object_get(wanted, "parse")), "OK") == 0;
        json_t *root = json_of(arguments, good ? 0 : 1);
        json_t *pair = json_pack("{s:O?,s:O?}", "events", json_object_get(wanted, "events"), "pcrs",
                                 json_object_get(wanted, "pcrs"));
        if (good && !json_equal(root, pair))
            fail_msg("%s is not as stated", name);
        json_decref(pair);
        json_decref(root);
    }
    json_decref(expected);
}

static int set_up(void **state)
{
    (void)state;
    audit_folder_make(&folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    audit_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eventlog_prints_events_and_pcrs),
        cmocka_unit_test(eventlog_refuses_with_one_line),
        cmocka_unit_test(eventlog_writes_policy_lines_once_each),
        cmocka_unit_test(eventlog_refuses_policy_lines_without_sha256),
        cmocka_unit_test(ima_says_how_much_is_attested),
        cmocka_unit_test(quote_accepts_what_a_tpm_signed),
        cmocka_unit_test(quote_refuses_with_its_reason),
        cmocka_unit_test(quote_that_cannot_be_checked_exits_2),
        cmocka_unit_test(checkpoint_and_proof_accept_the_policys_log),
        cmocka_unit_test(checkpoint_and_proof_refuse_what_is_not_the_logs),
        cmocka_unit_test(checkpoint_and_proof_ask_the_policys_witnesses),
        cmocka_unit_test(every_command_explains_itself),
        cmocka_unit_test(eventlog_prints_what_others_state),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
