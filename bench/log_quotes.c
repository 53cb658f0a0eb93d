/*
 * Quotes: ten thousand waiting nonces answered by one, and how fast one is verified.
 *
 * The attester runs as in the server, a process at the other end of a socketpair, on a software TPM
 * (swtpm). A lone nonce costs a TPM2_Quote; many that wait together share one, each with its path
 * in a tree. Every answer is looked at: all under one quote, each nonce in its tree.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/evidence.h"
#include "bench/log_bench.h"
#include "bench/programs.h"
#include "common/file.h"
#include "server/attester.h"
#include "server/channel.h"
#include "server/measurement.h"

enum {
    N_WAITING = 10000,
    N_WAITING_FEW = 1000,
    N_WAITING_TINY = 40,
    N_ALONE = 5,
    N_VERIFIED = 2000
};

struct quoting {
    const struct log_bench *b;
    char tpm_dir[100], tcti[128], state_dir[128];
    char chain_paths[2][128];
    const char *chain[2];
    pid_t attester;
    int fd;
    size_t n_waiting;
    uint8_t (*nonces)[NONCE_LEN];
    struct buf first;              /* the first answer of the last round, whole */
    struct series alone, together; /* seconds a client */
};

static char running_tpm[100]; /* "": none */

static void run_script(const char *what, const char *dir, struct buf *said)
{
    const char *argv[] = {"tests/software_tpm.sh", what, dir, NULL};
    struct program p;
    program_start(&p, argv, 0);
    program_finish(&p, said);
}

static void stop_tpm(void)
{
    BUF_AUTO said = BUF_INIT;
    if (running_tpm[0] != 0)
        run_script("stop", running_tpm, &said);
    running_tpm[0] = 0;
}

static void start_tpm(struct quoting *q)
{
    BUF_AUTO said = BUF_INIT;
    snprintf(q->tpm_dir, sizeof q->tpm_dir, "%.80s/tpm", q->b->folder);
    snprintf(q->state_dir, sizeof q->state_dir, "%.80s/state", q->b->folder);
    memcpy(running_tpm, q->tpm_dir, sizeof running_tpm);
    atexit(stop_tpm);
    run_script("start", q->tpm_dir, &said);
    snprintf(q->tcti, sizeof q->tcti, "swtpm:path=%.90s/swtpm.sock", q->tpm_dir);
    for (int i = 0; i < 2; i++) {
        snprintf(q->chain_paths[i], sizeof q->chain_paths[i], "%.90s/ek-chain-%d.pem", q->tpm_dir,
                 i);
        q->chain[i] = q->chain_paths[i];
    }
}

static void start_attester(struct quoting *q)
{
    const struct attester_options options = {.tcti = q->tcti,
                                             .state_dir = q->state_dir,
                                             .origin = "bench.example/log",
                                             .ek_chain = q->chain,
                                             .n_ek_chain = 2,
                                             .quote_interval_s = 3600};
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0
             ? err_ok()
             : err_errno("cannot make a socketpair"));
    q->attester = fork();
    if (q->attester == 0) {
        bool tpm_failed;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        _exit(is_err(attester_run(
            &options, (struct attester_fds){.front = pair[1], .publisher = -1}, &tpm_failed)));
    }
    close(pair[1]);
    q->fd = pair[0];
}

/* The next answer that is asked for. */
static struct bytes receive(struct quoting *q, uint32_t type, uint64_t id, struct buf *memory)
{
    struct channel_frame frame;
    do
        must(channel_receive(q->fd, &frame, memory));
    while (frame.type == CHANNEL_QUOTED);
    if (frame.type == CHANNEL_ERROR)
        must(channel_error_decode(frame.payload));
    if (frame.type != type || frame.id != id)
        must(err_set(ERR_UNTRUE, "the attester answered another question"));
    return frame.payload;
}

static void measure_host(struct quoting *q)
{
    struct measured_file files[] = {{.name = "config.json", .size = 700},
                                    {.name = "model.safetensors", .size = 123456789}};
    struct measurement m = {.model_id = "bench/model",
                            .files = files,
                            .n_files = 2,
                            .numerics = "ref-1",
                            .profile = "bench",
                            .quote_interval_s = 3600,
                            .max_context = 4096,
                            .max_requests = 16};
    BUF_AUTO text = BUF_INIT, memory = BUF_INIT;
    measurement_encode(&text, &m);
    must(channel_send(q->fd, CHANNEL_MEASURE, 0, buf_bytes(&text)));
    (void)receive(q, CHANNEL_MEASURED, 0, &memory);
}

static double ask_alone(struct quoting *q)
{
    BUF_AUTO memory = BUF_INIT;
    uint8_t nonce[NONCE_LEN];
    random_bytes(nonce, sizeof nonce);
    double start = seconds_now();
    must(channel_send(q->fd, CHANNEL_QUOTE, 1, bytes_of(nonce, sizeof nonce)));
    (void)receive(q, CHANNEL_EVIDENCE, 1, &memory);
    return seconds_now() - start;
}

/* Ten thousand nonces are more than a socket holds, unless root says otherwise: without that right
 * fewer wait. */
static void make_room(struct quoting *q)
{
    int room = 16 << 20;
    if (setsockopt(q->fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0 &&
        q->n_waiting > N_WAITING_FEW)
        q->n_waiting = N_WAITING_FEW;
    q->nonces = calloc(q->n_waiting, sizeof *q->nonces);
    must(q->nonces != NULL ? err_ok() : err_set(ERR_MEMORY, "no memory for nonces"));
}

/* The attester sleeps while they come, so that all of them wait when it begins. */
static void let_nonces_wait(const struct quoting *q)
{
    BUF_AUTO frames = BUF_INIT;
    for (size_t i = 0; i < q->n_waiting; i++)
        channel_encode(&frames, CHANNEL_QUOTE, i, bytes_of(q->nonces[i], NONCE_LEN));
    kill(q->attester, SIGSTOP);
    must(fd_write_all(q->fd, buf_bytes(&frames)));
}

/* What an answer says of its own nonce: the last key of the object. */
static size_t shared_len(struct bytes json)
{
    static const char key[] = ",\"nonce\":";
    const uint8_t *at = memmem(json.data, json.len, key, sizeof key - 1);
    if (at == NULL)
        must(err_set(ERR_UNTRUE, "evidence without a nonce"));
    return (size_t)(at - json.data);
}

/* Every answer: its end, with what all have in common put before it. */
static void check_answers(const struct quoting *q, const struct buf *ends, size_t shared)
{
    struct statement *quote = malloc(sizeof *quote);
    BUF_AUTO json = BUF_INIT;
    for (size_t i = 0; i < q->n_waiting; i++) {
        __attribute__((cleanup(evidence_cleanup))) struct evidence e = EVIDENCE_INIT;
        buf_clear(&json);
        buf_append(&json, q->first.data, shared);
        buf_append_bytes(&json, buf_bytes(&ends[i]));
        must(evidence_parse(&e, buf_bytes(&json)));
        must(quote != NULL ? statement_parse(quote, buf_bytes(&e.quote))
                           : err_set(ERR_MEMORY, "no memory for a quote"));
        const struct quote_context *c = &quote->quote.context;
        struct merkle_hash leaf = merkle_leaf(bytes_of(q->nonces[i], NONCE_LEN));
        if (c->n_nonces != q->n_waiting || e.nonce_index != i)
            must(err_set(ERR_UNTRUE, "a quote over %llu nonces, not %zu",
                         (unsigned long long)c->n_nonces, q->n_waiting));
        must(merkle_verify_inclusion(&leaf, i, c->n_nonces, &e.nonce_proof, &c->nonce_root));
    }
    free(quote);
}

static double ask_together(struct quoting *q)
{
    struct buf *ends = calloc(q->n_waiting, sizeof *ends);
    BUF_AUTO memory = BUF_INIT;
    size_t shared = 0;
    must(ends != NULL ? err_ok() : err_set(ERR_MEMORY, "no memory for answers"));
    random_bytes(q->nonces, q->n_waiting * NONCE_LEN);
    let_nonces_wait(q);
    double start = seconds_now();
    kill(q->attester, SIGCONT);
    for (size_t i = 0; i < q->n_waiting; i++) {
        struct bytes json = receive(q, CHANNEL_EVIDENCE, i, &memory);
        if (i == 0) {
            buf_clear(&q->first);
            buf_append_bytes(&q->first, json);
            shared = shared_len(json);
        }
        if (json.len <= shared || memcmp(json.data, q->first.data, shared) != 0)
            must(err_set(ERR_UNTRUE, "client %zu has another quote than the first", i));
        buf_append(&ends[i], json.data + shared, json.len - shared);
    }
    double seconds = seconds_now() - start;
    check_answers(q, ends, shared);
    for (size_t i = 0; i < q->n_waiting; i++)
        buf_cleanup(&ends[i]);
    free(ends);
    return seconds;
}

/* What verifying takes: the quote's text and the key that the same bundle names. */
struct evident {
    struct evidence evidence;
    struct tpm_public ak;
    struct statement statement;
};

static void find_key(struct evident *v)
{
    struct bytes ak = {0};
    must(statement_parse(&v->statement, buf_bytes(&v->evidence.statements[0].text)));
    must(v->statement.kind == STATEMENT_HOST
             ? evidence_blob(&v->evidence, &v->statement.host.ak_public, &ak)
             : err_set(ERR_UNTRUE, "the bundle does not begin with its host"));
    must(tpm_public_parse(&v->ak, ak));
}

/* A statement's text to the verdict of rules 3 to 5 on it. */
static struct err verify_quote(struct evident *v, struct bytes text)
{
    struct attested attest;
    uint8_t extra[SHA256_LEN];
    TRY(statement_parse(&v->statement, text));
    const struct statement_quote *q = &v->statement.quote;
    struct bytes bytes = bytes_of(q->attest, q->attest_len);
    TRY(tpm_signature_verify(&v->ak, bytes_of(q->signature, q->signature_len), bytes));
    TRY(attested_parse(&attest, bytes));
    context_hash(extra, bytes_of(q->context_text, q->context_len));
    return attested_check_quote(&attest, &v->ak, &q->pcrs, extra);
}

/* A verifier that takes anything would be fast. */
static void check_refusal(struct evident *v, struct bytes text)
{
    BUF_AUTO forged = BUF_INIT;
    buf_append_bytes(&forged, text);
    const char *time = strstr(buf_str(&forged), "\nperiod ");
    must(time != NULL ? err_ok() : err_set(ERR_UNTRUE, "a quote without a period"));
    forged.data[time - (const char *)forged.data + 8] ^= 1;
    if (!is_err(verify_quote(v, buf_bytes(&forged))))
        must(err_set(ERR_UNTRUE, "a forged quote was taken"));
}

static double verify_rate(struct evident *v, struct bytes text, unsigned n)
{
    double start = seconds_cpu();
    for (unsigned i = 0; i < n; i++)
        must(verify_quote(v, text));
    return n / (seconds_cpu() - start);
}

static void verify_quotes(struct results *r, const struct quoting *q)
{
    struct evident *v = calloc(1, sizeof *v);
    struct series ours = {0}, bare = {0};
    unsigned n = q->b->o->tiny ? 10 : N_VERIFIED;
    must(v != NULL ? evidence_parse(&v->evidence, buf_bytes(&q->first))
                   : err_set(ERR_MEMORY, "no memory for evidence"));
    find_key(v);
    struct bytes text = buf_bytes(&v->evidence.quote);
    check_refusal(v, text);
    for (unsigned round = 0; round < q->b->o->n_rounds; round++) {
        series_add(&bare, log_bench_ecdsa_rate(n));
        series_add(&ours, verify_rate(v, text, n));
    }
    results_group(r, "log, one quote statement, %zu bytes, verified on 1 core", text.len);
    results_add_series(r, "ECDSA P-256 alone", &bare, 1, "1/s", NULL, NULL, NULL);
    results_add_series(r, "parse and verify", &ours, 1, "1/s", "OpenSSL's ECDSA P-256 verify",
                       &bare, NULL);
    tpm_public_cleanup(&v->ak);
    evidence_cleanup(&v->evidence);
    free(v);
}

static void measure_waiting(struct results *r, struct quoting *q)
{
    for (unsigned round = 0; round < q->b->o->n_rounds; round++) {
        struct series alone = {0};
        for (unsigned i = 0; i < N_ALONE; i++)
            series_add(&alone, ask_alone(q));
        series_add(&q->alone, series_median(&alone));
        series_add(&q->together, ask_together(q) / (double)q->n_waiting);
    }
    results_group(r, "log, nonces under one quote of a software TPM, evidence of %zu bytes",
                  q->first.len);
    results_add_series(r, "a client alone", &q->alone, 1e3, "ms", NULL, NULL, NULL);
    char name[64];
    snprintf(name, sizeof name, "each of %zu clients", q->n_waiting);
    results_add_series(r, name, &q->together, 1e3, "ms", "a client alone, so a quote of the TPM",
                       &q->alone, NULL);
}

static void stop_all(struct quoting *q)
{
    BUF_AUTO stop = BUF_INIT, memory = BUF_INIT;
    buf_append_u32be(&stop, 60);
    must(channel_send(q->fd, CHANNEL_STOP, 2, buf_bytes(&stop)));
    (void)receive(q, CHANNEL_STOPPED, 2, &memory);
    fd_close(&q->fd);
    waitpid(q->attester, NULL, 0);
    stop_tpm();
    buf_cleanup(&q->first);
    free(q->nonces);
}

void log_bench_quotes(struct results *r, const struct log_bench *b)
{
    static const char *const needed[] = {"swtpm", "swtpm_setup", "tpm2_shutdown"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!program_exists(needed[i])) {
            printf("\nlog, quotes: not measured: there is no %s (./dev bench brings it)\n",
                   needed[i]);
            return;
        }
    struct quoting q = {.b = b, .n_waiting = b->o->tiny ? N_WAITING_TINY : N_WAITING};
    start_tpm(&q);
    start_attester(&q);
    make_room(&q);
    measure_host(&q);
    measure_waiting(r, &q);
    verify_quotes(r, &q);
    stop_all(&q);
}
