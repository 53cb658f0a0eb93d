#include "logservice/session.h"

#include <stdlib.h>
#include <string.h>

struct sessions {
    const char *origin;
    struct session list[SESSIONS_MAX];
    struct http_rates *challenges;
};

struct err sessions_new(struct sessions **out, const char *origin)
{
    struct sessions *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "out of memory for sessions");
    const struct rate each = {SESSION_ADDRESS_MINUTE / 60.0, SESSION_ADDRESS_BURST};
    const struct rate all = {SESSION_CHALLENGES_SECOND, SESSION_CHALLENGES_SECOND};
    struct err e = http_rates_new(&s->challenges, each, all);
    if (is_err(e)) {
        free(s);
        return e;
    }
    s->origin = origin;
    *out = s;
    return err_ok();
}

void sessions_end(struct session *session)
{
    admission_free(session->admission);
    EVP_PKEY_free(session->target.ek);
    explicit_bzero(session, sizeof *session);
}

void sessions_free(struct sessions *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        sessions_end(&s->list[i]);
    http_rates_free(s->challenges);
    free(s);
}

struct err sessions_count(struct sessions *s, const struct http_address *from, uint64_t now_ms)
{
    switch (http_rates_count(s->challenges, from, now_ms)) {
    case HTTP_RATED_ADDRESS:
        return err_set(ERR_BUSY, "This address asks for more than %d challenges a minute: wait.",
                       SESSION_ADDRESS_MINUTE);
    case HTTP_RATED_ALL:
        return err_set(ERR_BUSY, "Too many hosts ask for challenges: try again in a minute.");
    case HTTP_RATED_WELL:
        break;
    }
    return err_ok();
}

static struct session *find_free(struct sessions *s, uint64_t now_ms)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &s->list[i];
        if (session->used && session->ends_ms <= now_ms)
            sessions_end(session);
        if (!session->used)
            return session;
    }
    return NULL;
}

static struct err fill(struct session *session, struct credential *credential, const char *origin,
                       const uint8_t spki_sha256[SHA256_LEN])
{
    TRY(admission_target(&session->target, session->admission));
    memcpy(session->target.spki_sha256, spki_sha256, SHA256_LEN);
    random_bytes(session->id, SESSION_ID_LEN);
    session->certified = session->target.ek == NULL;
    if (session->certified) {
        random_bytes(session->nonce, SESSION_NONCE_LEN);
        possession_extra(session->wanted, bytes_of(session->nonce, SESSION_NONCE_LEN),
                         &session->target.ak_name, origin, spki_sha256);
        return err_ok();
    }
    TRY(credential_make(credential, session->target.ek, &session->target.ak_name));
    EVP_PKEY_free(session->target.ek);
    session->target.ek = NULL;
    activation_answer(session->wanted, bytes_of(credential->value, CREDENTIAL_VALUE_LEN),
                      &session->target.ak_name, origin, spki_sha256);
    return err_ok();
}

struct err sessions_challenge(struct sessions *s, struct session **out,
                              struct credential *credential, struct admission *takes,
                              const uint8_t spki_sha256[SHA256_LEN], uint64_t now_ms)
{
    struct session *session = find_free(s, now_ms);
    if (session == NULL) {
        admission_free(takes);
        return err_set(ERR_BUSY, "Too many hosts have sessions: try again in a minute.");
    }
    *session = (struct session){.used = true,
                                .ends_ms = now_ms + SESSION_ANSWER_S * 1000,
                                .admission = takes,
                                .statements = {SESSION_STATEMENTS_BURST, now_ms},
                                .bytes = {SESSION_BYTES_BURST, now_ms}};
    struct err e = fill(session, credential, s->origin, spki_sha256);
    if (is_err(e)) {
        sessions_end(session);
        return e;
    }
    *out = session;
    return err_ok();
}

/* In a time that does not tell how much of an id was right. */
static struct session *find(struct sessions *s, const uint8_t id[SESSION_ID_LEN], uint64_t now_ms)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &s->list[i];
        if (session->used && session->ends_ms > now_ms &&
            bytes_equal_secret(bytes_of(session->id, SESSION_ID_LEN), bytes_of(id, SESSION_ID_LEN)))
            return session;
    }
    return NULL;
}

/* One TPM has one session that counts: with many it could keep others out, or have many rates. */
static void take_over(struct sessions *s, struct session *session)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *old = &s->list[i];
        if (old == session || !old->used || !old->answered ||
            memcmp(admission_tpm(old->admission), admission_tpm(session->admission), SHA256_LEN) !=
                0)
            continue;
        session->statements = old->statements;
        session->bytes = old->bytes;
        sessions_end(old);
    }
}

/* One that waits for an answer of that kind. An answer of the other kind is a wrong one: what a
 * quote must be over is no secret. */
static struct err find_waiting(struct session **out, struct sessions *s,
                               const uint8_t id[SESSION_ID_LEN], bool certified, uint64_t now_ms)
{
    struct session *session = find(s, id, now_ms);
    if (session == NULL || session->answered)
        return err_set(ERR_NOT_FOUND, "No session waits for this answer: ask for a challenge.");
    if (session->certified != certified) {
        sessions_end(session);
        return err_set(ERR_UNTRUE, "%s The session has ended.",
                       certified ? "This session waits for 'answer'."
                                 : "This session waits for a quote: 'attest' and 'signature'.");
    }
    *out = session;
    return err_ok();
}

static void begin(struct sessions *s, struct session *session, uint64_t now_ms)
{
    take_over(s, session);
    session->answered = true;
    session->ends_ms = now_ms + (uint64_t)SESSION_LIFE_S * 1000;
}

struct err sessions_answer_quote(struct sessions *s, struct session **out,
                                 const uint8_t id[SESSION_ID_LEN], struct bytes attest,
                                 struct bytes signature, uint64_t now_ms)
{
    struct session *session = NULL;
    TRY(find_waiting(&session, s, id, true, now_ms));
    struct err e =
        admission_check_possession(session->admission, attest, signature, session->wanted);
    if (is_err(e)) {
        sessions_end(session);
        return err_context(e, "the quote does not show that the attestation key is there, and the "
                              "session has ended");
    }
    begin(s, session, now_ms);
    *out = session;
    return err_ok();
}

struct err sessions_answer(struct sessions *s, struct session **out,
                           const uint8_t id[SESSION_ID_LEN], const uint8_t answer[SHA256_LEN],
                           uint64_t now_ms)
{
    struct session *session = NULL;
    TRY(find_waiting(&session, s, id, false, now_ms));
    if (!bytes_equal_secret(bytes_of(session->wanted, SHA256_LEN), bytes_of(answer, SHA256_LEN))) {
        sessions_end(session);
        return err_set(ERR_UNTRUE, "The answer is wrong: the attestation key is not in the TPM of "
                                   "that certificate. The session has ended.");
    }
    begin(s, session, now_ms);
    *out = session;
    return err_ok();
}

struct err sessions_find(struct sessions *s, struct session **out, const uint8_t id[SESSION_ID_LEN],
                         uint64_t now_ms)
{
    struct session *session = find(s, id, now_ms);
    if (session == NULL || !session->answered)
        return err_set(ERR_NOT_FOUND, "There is no such session (any more): ask for a challenge.");
    *out = session;
    return err_ok();
}

struct err session_count(struct session *session, uint64_t now_ms)
{
    const struct rate rate = {SESSION_STATEMENTS_MINUTE / 60.0, SESSION_STATEMENTS_BURST};
    if (!rate_take(&session->statements, rate, 1, now_ms))
        return err_set(ERR_BUSY, "This host has sent more than %d statements a minute: wait.",
                       SESSION_STATEMENTS_MINUTE);
    return err_ok();
}

struct err session_count_bytes(struct session *session, size_t n, uint64_t now_ms)
{
    const struct rate rate = {SESSION_BYTES_MINUTE / 60.0, SESSION_BYTES_BURST};
    if (!rate_take(&session->bytes, rate, (double)n, now_ms))
        return err_set(ERR_BUSY, "This host has sent more than %d bytes a minute: wait.",
                       SESSION_BYTES_MINUTE);
    return err_ok();
}
