#include "service_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ftw.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/kdf.h"
#include "fake_internal.h"
#include "common/text.h"
#include "logservice/service.h"
#include "transparency/store.h"
#include "transparency/tlog_proof.h"

void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

/* The child: the service, its standard output in the pipe. */
static void run_service(const struct scene *s, int out)
{
    const struct service_config config = {.db = s->db,
                                          .signer = &s->w.log,
                                          .admission = &s->policy,
                                          .witnesses = &s->witnesses,
                                          .listen = ":0",
                                          .quorum_wait_s = s->quorum_wait_s,
                                          .drain_s = s->drain_s};
    struct service *service = NULL;
    dup2(out, STDOUT_FILENO);
    FILE *quiet = freopen("/dev/null", "w", stderr);
    struct err e = service_open(&service, &config);
    if (!is_err(e))
        e = service_run(service);
    service_free(service);
    if (quiet != NULL)
        fclose(quiet);
    _exit(is_err(e) ? 1 : 0);
}

void scene_start(struct scene *s)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    s->service = fork();
    if (s->service == 0)
        run_service(s, ends[1]);
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    char line[128], url[128];
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "listening on %127s", url), 1);
    fclose(f);
    const struct connection_limits limits = {10, 60, 60};
    must(url_parse(&s->url, url));
    must(connection_open(&s->c, &s->url, &limits));
}

void scene_stop(struct scene *s)
{
    int status = 0;
    connection_close(s->c);
    s->c = NULL;
    kill(s->service, SIGTERM);
    assert_int_equal(waitpid(s->service, &status, 0), s->service);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void scene_make(struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->prefix = "/submit";
    fake_world_init(&s->w, NULL);
    fake_start(&s->w, 0);
    BUF_AUTO text = BUF_INIT;
    fake_policy_text(&s->w, &text);
    must(policy_parse(&s->policy, buf_bytes(&text)));
    strcpy(s->folder, "/tmp/service_test.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->db, sizeof s->db, "%s/log.db", s->folder);
    must(store_create(s->db, &s->w.log));
    must(tlog_policy_parse(&s->witnesses, bytes_of_str("quorum none\n")));
}

static int remove_file(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

/* Whatever happened, the log is whole. */
void scene_end(struct scene *s, uint64_t n_entries)
{
    scene_stop(s);
    struct store *log;
    struct checkpoint c;
    must(store_open_readonly(&log, s->db));
    must(store_fsck(log, &s->w.log.key, NULL, NULL));
    must(store_checkpoint(log, NULL, &c));
    store_close(log);
    assert_int_equal(c.size, n_entries);
    nftw(s->folder, remove_file, 16, FTW_DEPTH | FTW_PHYS);
    buf_cleanup(&s->last_answer);
    policy_cleanup(&s->policy);
    tlog_policy_cleanup(&s->witnesses);
    fake_world_cleanup(&s->w);
}

static void add_blob(json_t *list, struct scene *s, const uint8_t sha256_wanted[SHA256_LEN])
{
    BUF_AUTO blob = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    must(fake_blob(&s->w, sha256_wanted, &blob));
    buf_append_base64(&text, buf_bytes(&blob));
    json_array_append_new(list, json_string(buf_str(&text)));
}

json_t *scene_blobs(struct scene *s, struct bytes text)
{
    static __thread struct statement st;
    json_t *list = json_array();
    must(statement_parse(&st, text));
    if (st.kind == STATEMENT_HOST) {
        add_blob(list, s, st.host.ak_public.sha256);
        add_blob(list, s,
                 st.host.ak_certified ? st.host.ak_certificate.sha256
                                      : st.host.ek_certificate.sha256);
        for (size_t i = 0; i < st.host.n_chain; i++)
            add_blob(list, s, st.host.chain[i].sha256);
        for (size_t i = 0; i < st.host.n_activations; i++)
            add_blob(list, s, st.host.activations[i].sha256);
    }
    if (st.kind == STATEMENT_IDENTITY)
        add_blob(list, s, st.identity.runtime_log.sha256);
    if (st.kind == STATEMENT_QUOTE || st.kind == STATEMENT_STOP)
        add_blob(list, s, st.quote.context.head_note);
    return list;
}

struct bytes scene_entry(struct scene *s, uint64_t index)
{
    return buf_bytes(&s->w.entries[index]);
}

static json_t *text_json(struct bytes text)
{
    return json_stringn((const char *)text.data, text.len);
}

/* Takes the body; the answer's status, its body appended. */
int scene_post(struct scene *s, struct buf *answer, const char *path, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    ANSWER_AUTO got = ANSWER_INIT;
    const struct request request = {.path = path,
                                    .content_type = "application/json",
                                    .body = bytes_of_str(text),
                                    .max = 1024 * 1024};
    must(connection_request(s->c, &got, &request));
    free(text);
    buf_append_bytes(answer, buf_bytes(&got.body));
    return got.status;
}

static void coordinate_x(uint8_t x[32], EVP_PKEY *key)
{
    BIGNUM *n = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &n), 1);
    assert_int_equal(BN_bn2binpad(n, x, 32), 32);
    BN_free(n);
}

/* Diffie-Hellman with the point (x, y), as TPM2_ActivateCredential begins. */
static void shared_secret(uint8_t z[32], EVP_PKEY *ek, const uint8_t x[32], const uint8_t y[32])
{
    uint8_t point[65] = {4};
    memcpy(point + 1, x, 32);
    memcpy(point + 33, y, 32);
    EVP_PKEY *peer = EVP_PKEY_new();
    assert_int_equal(EVP_PKEY_copy_parameters(peer, ek), 1);
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, point, sizeof point), 1);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ek, NULL);
    size_t len = 32;
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
    assert_int_equal(EVP_PKEY_derive(ctx, z, &len), 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
}

/* What a TPM with this P-256 EK and a key of this name does with a credential. */
static void activate(uint8_t value[32], const struct fake_host *h, struct bytes object,
                     struct bytes secret)
{
    assert_int_equal(secret.len, 70);
    assert_int_equal(object.len, 2 + 2 + 32 + 34);
    const uint8_t *x = secret.data + 4, *y = secret.data + 38;
    uint8_t z[32], own_x[32], seed[32], key[16];
    static const uint8_t iv[16];
    shared_secret(z, h->ek, x, y);
    coordinate_x(own_x, h->ek);
    must(kdf_e(seed, 32, EVP_sha256(), bytes_of(z, 32), "IDENTITY", bytes_of(x, 32),
               bytes_of(own_x, 32)));
    must(kdf_a(key, 16, EVP_sha256(), bytes_of(seed, 32), "STORAGE",
               bytes_of(h->ak_name.bytes, h->ak_name.len), (struct bytes){0}));
    uint8_t plain[34];
    int len = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_DecryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, iv), 1);
    assert_int_equal(EVP_DecryptUpdate(ctx, plain, &len, object.data + 36, 34), 1);
    EVP_CIPHER_CTX_free(ctx);
    memcpy(value, plain + 2, 32);
}

static void take_base64(struct buf *out, const json_t *object, const char *key)
{
    must(base64_decode(out, bytes_of_str(json_string_value(json_object_get(object, key))), 4096));
}

static json_t *base64_json(const struct buf *data)
{
    BUF_AUTO text = BUF_INIT;
    buf_append_base64(&text, buf_bytes(data));
    return json_string(buf_str(&text));
}

/* What a host whose key has a certificate of its own answers: a quote of its TPM. */
static json_t *quote_answer(const struct scene *s, const json_t *challenge,
                            const struct fake_host *h, struct fake_host *real)
{
    uint8_t nonce[32], extra[SHA256_LEN];
    BUF_AUTO attest = BUF_INIT, signature = BUF_INIT;
    must(hex_decode(nonce, 32,
                    bytes_of_str(json_string_value(json_object_get(challenge, "nonce")))));
    possession_extra(extra, bytes_of(nonce, 32), &h->ak_name, s->policy.log.name, h->spki_sha256);
    fake_attest_quote(&attest, real, extra);
    fake_sign(&signature, real->ak, buf_bytes(&attest));
    return json_pack("{s:o, s:o}", "attest", base64_json(&attest), "signature",
                     base64_json(&signature));
}

static json_t *credential_answer(const struct scene *s, const json_t *challenge,
                                 const struct fake_host *h, const struct fake_host *real)
{
    uint8_t value[32], hash[SHA256_LEN];
    BUF_AUTO object = BUF_INIT, secret = BUF_INIT, hex = BUF_INIT;
    take_base64(&object, challenge, "credential");
    take_base64(&secret, challenge, "secret");
    activate(value, real, buf_bytes(&object), buf_bytes(&secret));
    activation_answer(hash, bytes_of(value, 32), &h->ak_name, s->policy.log.name, h->spki_sha256);
    buf_append_hex(&hex, bytes_of(hash, SHA256_LEN));
    return json_pack("{s:s}", "answer", buf_str(&hex));
}

/* A challenge for host `named`, answered with the TPM of host `real`; the status of the answer. */
int scene_session_as(struct scene *s, char session[65], unsigned named, unsigned real, json_t *more)
{
    const struct fake_host *h = &s->w.hosts[named];
    BUF_AUTO spki = BUF_INIT;
    BUF_AUTO answer = BUF_INIT;
    buf_append_hex(&spki, bytes_of(h->spki_sha256, SHA256_LEN));
    struct bytes statement = scene_entry(s, h->host_index);
    json_t *body = json_pack("{s:o, s:o, s:s}", "host", text_json(statement), "blobs",
                             scene_blobs(s, statement), "spki", buf_str(&spki));
    if (more != NULL)
        json_object_update(body, more);
    json_decref(more);
    char path[64];
    snprintf(path, sizeof path, "%s/challenge", s->prefix);
    int status = scene_post(s, &answer, path, body);
    if (status != 200)
        fail_msg("challenge: %d %s", status, buf_str(&answer));
    json_t *challenge = json_loads(buf_str(&answer), 0, NULL);
    snprintf(session, 65, "%s", json_string_value(json_object_get(challenge, "session")));
    json_t *reply = json_object_get(challenge, "nonce") != NULL
                        ? quote_answer(s, challenge, h, &s->w.hosts[real])
                        : credential_answer(s, challenge, h, &s->w.hosts[real]);
    json_decref(challenge);
    json_object_set_new(reply, "session", json_string(session));
    buf_clear(&s->last_answer);
    snprintf(path, sizeof path, "%s/answer", s->prefix);
    return scene_post(s, &s->last_answer, path, reply);
}

void scene_session(struct scene *s, char session[65], unsigned host)
{
    assert_int_equal(scene_session_as(s, session, host, host, NULL), 200);
}

int scene_submit_with(struct scene *s, struct buf *answer, const char *session, uint64_t index,
                      json_t *blobs)
{
    return scene_post(s, answer, "/submit",
                      json_pack("{s:s, s:o, s:o}", "session", session, "statement",
                                text_json(scene_entry(s, index)), "blobs", blobs));
}

int scene_submit(struct scene *s, struct buf *answer, const char *session, uint64_t index)
{
    return scene_submit_with(s, answer, session, index, scene_blobs(s, scene_entry(s, index)));
}

/* Submits the entry and verifies the proof that comes back: the index in the service's log. */
uint64_t scene_log(struct scene *s, const char *session, uint64_t index)
{
    BUF_AUTO answer = BUF_INIT;
    int status = scene_submit(s, &answer, session, index);
    if (status != 200)
        fail_msg("%d %s", status, buf_str(&answer));
    struct tlog_proof p;
    struct checkpoint c;
    must(tlog_proof_parse(&p, buf_bytes(&answer)));
    must(tlog_proof_verify(&c, &p, scene_entry(s, index), s->policy.log.name, &s->w.log.key));
    return p.index;
}
