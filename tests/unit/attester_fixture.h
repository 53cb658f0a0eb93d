/*
 * A host for tests: a software TPM, a state folder, and an attester in a process of its own at the
 * other end of a socketpair, as the server runs it.
 */
#ifndef TESTS_ATTESTER_FIXTURE_H
#define TESTS_ATTESTER_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "attest/credential.h"
#include "attest/verify.h"
#include "common/file.h"
#include "server/attester.h"
#include "server/channel.h"
#include "server/measurement.h"
#include "tests/unit/software_tpm.h"

#define ORIGIN "host.example/log"

/* What the attester's process said last, in memory that both sides see. */
struct ending {
    enum err_code code;
    bool tpm_failed;
    char message[1024];
};

struct host {
    struct software_tpm tpm;
    char state_dir[128];
    char chain_paths[2][128];
    const char *chain[2];
    struct note_signer activator_keys[2];
    struct note_key activators[2];
    struct attester_options options;
    struct measurement measurement;
    struct measured_file files[2];
    struct ending *ending;
    pid_t pid;
    int fd;
    int publisher, publisher_peer; /* the attester's end and ours, or -1 */
    uint64_t next_id;
};

#define OK(expr)                                                                                   \
    do {                                                                                           \
        struct err ok_ = (expr);                                                                   \
        if (is_err(ok_))                                                                           \
            fail_msg("%s", err_message());                                                         \
    } while (0)

static inline void host_fill_measurement(struct host *h)
{
    struct measurement *m = &h->measurement;
    strcpy(h->files[0].name, "config.json");
    strcpy(h->files[1].name, "model.safetensors");
    h->files[0].size = 700;
    h->files[1].size = 123456789;
    memset(h->files[0].sha256, 0x11, SHA256_LEN);
    memset(h->files[1].sha256, 0x22, SHA256_LEN);
    m->files = h->files;
    m->n_files = 2;
    strcpy(m->model_id, "test/tiny-llama");
    strcpy(m->numerics, "ref-1");
    strcpy(m->profile, "test");
    m->quote_interval_s = h->options.quote_interval_s;
    m->max_context = 4096;
    m->max_requests = 16;
    memset(m->server_binary, 0x33, SHA256_LEN);
    memset(m->sandbox, 0x44, SHA256_LEN);
    memset(m->spki_sha256, 0x55, SHA256_LEN);
}

static inline int host_init(struct host *h)
{
    *h = (struct host){.fd = -1, .publisher = -1, .publisher_peer = -1};
    if (software_tpm_start(&h->tpm) != 0)
        return -1;
    snprintf(h->state_dir, sizeof h->state_dir, "%s/host-state", h->tpm.dir);
    for (int i = 0; i < 2; i++) {
        snprintf(h->chain_paths[i], sizeof h->chain_paths[i], "%s/ek-chain-%d.pem", h->tpm.dir, i);
        h->chain[i] = h->chain_paths[i];
        uint8_t seed[ED25519_SEED_LEN] = {(uint8_t)(i + 1)};
        OK(note_signer_init(&h->activator_keys[i], i ? "second.example" : "first.example",
                            NOTE_ED25519, seed));
        h->activators[i] = h->activator_keys[i].key;
    }
    h->options = (struct attester_options){
        .tcti = h->tpm.tcti,
        .state_dir = h->state_dir,
        .origin = ORIGIN,
        .activators = h->activators,
        .n_activators = 2,
        .ek_chain = h->chain,
        .n_ek_chain = 2,
        .quote_interval_s = 3600,
    };
    host_fill_measurement(h);
    h->ending =
        mmap(NULL, sizeof *h->ending, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return h->ending == MAP_FAILED ? -1 : 0;
}

static inline void host_remove(struct host *h)
{
    munmap(h->ending, sizeof *h->ending);
    software_tpm_remove(&h->tpm);
}

/* The attester's process begins; nothing is measured yet. */
static inline void host_start(struct host *h)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *h->ending = (struct ending){0};
    h->pid = fork();
    assert_true(h->pid >= 0);
    if (h->pid == 0) {
        close(pair[0]);
        fd_close(&h->publisher_peer);
        const struct attester_fds fds = {pair[1], h->publisher};
        struct err e = attester_run(&h->options, fds, &h->ending->tpm_failed);
        h->ending->code = e.code;
        if (is_err(e))
            snprintf(h->ending->message, sizeof h->ending->message, "%s", err_message());
        _exit(is_err(e));
    }
    close(pair[1]);
    fd_close(&h->publisher);
    h->fd = pair[0];
}

/* Waits for the process; `code` as it must have ended, with `part` in the message. */
static inline void host_ended(struct host *h, enum err_code code, const char *part)
{
    int status;
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    fd_close(&h->fd);
    if (!WIFEXITED(status) || h->ending->code != code || !strstr(h->ending->message, part))
        fail_msg("status %d, code %s, message '%s', not code %s with '%s'", status,
                 err_code_name(h->ending->code), h->ending->message, err_code_name(code), part);
}

/* One request and its answer. */
static inline struct err host_ask(struct host *h, uint32_t type, struct bytes payload,
                                  struct channel_frame *answer, struct buf *memory)
{
    uint64_t id = ++h->next_id;
    TRY(channel_send(h->fd, type, id, payload));
    do
        TRY(channel_receive(h->fd, answer, memory));
    while (answer->type == CHANNEL_QUOTED || answer->type == CHANNEL_PUBLISHING);
    assert_int_equal(answer->id, id);
    if (answer->type == CHANNEL_ERROR)
        return channel_error_decode(answer->payload);
    return err_ok();
}

static inline struct err host_measure(struct host *h)
{
    BUF_AUTO request = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    measurement_encode(&request, &h->measurement);
    return host_ask(h, CHANNEL_MEASURE, buf_bytes(&request), &answer, &memory);
}

static inline void host_start_measured(struct host *h)
{
    host_start(h);
    if (!is_err(host_measure(h)))
        return;
    int status;
    waitpid(h->pid, &status, 0);
    fail_msg("%s; attester: %s", err_message(), h->ending->message);
}

static inline void host_stop(struct host *h)
{
    BUF_AUTO request = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    buf_append_u32be(&request, 600);
    OK(host_ask(h, CHANNEL_STOP, buf_bytes(&request), &answer, &memory));
    assert_int_equal(answer.type, CHANNEL_STOPPED);
    host_ended(h, ERR_NONE, "");
}

static inline void host_policy(struct policy *out, const struct host *h, const char *more)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, "blindllama-policy/v1\nquorum none\nrelease none\nmax-interval 3600\n"
                          "max-age 3600\n");
    buf_append_str(&text, more);
    OK(attester_policy_lines(&h->options, true, &text));
    OK(measurement_policy_lines(&text, &h->measurement));
    OK(policy_parse(out, buf_bytes(&text)));
}

/* The bundle for a nonce, as JSON. */
static inline void host_evidence(struct host *h, const uint8_t nonce[NONCE_LEN], struct buf *json)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    OK(host_ask(h, CHANNEL_QUOTE, bytes_of(nonce, NONCE_LEN), &answer, &memory));
    assert_int_equal(answer.type, CHANNEL_EVIDENCE);
    buf_append_bytes(json, answer.payload);
}

/* The challenger's part, over the channel: true if the host answered as only its TPM can. */
static inline bool host_activate(struct host *h, struct activation_target *target)
{
    struct credential c = {0};
    BUF_AUTO request = BUF_INIT;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    uint8_t expected[SHA256_LEN];
    OK(credential_make(&c, target->ek, &target->ak_name));
    buf_append_bytes(&request, buf_bytes(&c.id_object));
    buf_append_bytes(&request, buf_bytes(&c.secret));
    OK(host_ask(h, CHANNEL_ACTIVATE, buf_bytes(&request), &answer, &memory));
    activation_answer(expected, bytes_of(c.value, sizeof c.value), &target->ak_name,
                      h->options.origin, target->spki_sha256);
    credential_cleanup(&c);
    return answer.type == CHANNEL_ACTIVATED &&
           bytes_equal(answer.payload, bytes_of(expected, sizeof expected));
}

/* Verifies as a client does, with a live activation where `activate`; fails unless it is true. */
static inline void host_verify(struct host *h, const struct policy *policy, bool activate)
{
    uint8_t nonce[NONCE_LEN];
    BUF_AUTO json = BUF_INIT;
    BUF_AUTO lines = BUF_INIT;
    random_bytes(nonce, sizeof nonce);
    host_evidence(h, nonce, &json);
    struct verify_input input = {.evidence_json = buf_bytes(&json), .policy = policy};
    memcpy(input.nonce, nonce, sizeof nonce);
    memcpy(input.peer_spki_sha256, h->measurement.spki_sha256, SHA256_LEN);
    struct activation_target target = {0};
    if (activate) {
        __attribute__((cleanup(evidence_cleanup))) struct evidence evidence = EVIDENCE_INIT;
        OK(evidence_parse(&evidence, buf_bytes(&json)));
        OK(verify_activation_target(&target, &evidence, policy));
        assert_true(host_activate(h, &target));
        input.activated = &target;
    }
    struct verdict *verdict = calloc(1, sizeof *verdict);
    OK(verify_evidence(verdict, &input));
    verdict_print(&lines, verdict);
    if (verdict->outcome != OUTCOME_TRUE || !verdict->test)
        fail_msg("%s", buf_str(&lines));
    free(verdict);
    EVP_PKEY_free(target.ek);
}

#endif
