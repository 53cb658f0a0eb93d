/*
 * Sessions of hosts: a challenge that only a TPM with both keys answers, or, for a key with a
 * certificate of its own, that only a TPM with that key does; and behind a right answer what has
 * been admitted of that host. In memory alone: after a new start a host is challenged anew.
 */
#ifndef LOGSERVICE_SESSION_H
#define LOGSERVICE_SESSION_H

#include "attest/admission.h"
#include "attest/credential.h"
#include "http/http_rates.h"

enum {
    SESSION_ID_LEN = 32,
    SESSION_NONCE_LEN = 32,
    SESSIONS_MAX = 1024,
    SESSION_ANSWER_S = 60,      /* for the answer to a challenge */
    SESSION_LIFE_S = 24 * 3600, /* after it */
    SESSION_STATEMENTS_MINUTE = 120,
    SESSION_STATEMENTS_BURST = 30,
    SESSION_BYTES_MINUTE = 1024 * 1024, /* of statements and blobs */
    SESSION_BYTES_BURST = 16 * 1024 * 1024,
    SESSION_CHALLENGES_SECOND = 20, /* of all hosts together */
    SESSION_ADDRESS_MINUTE = 60,    /* challenges of one address (http_address.h) */
    SESSION_ADDRESS_BURST = 10,
};

struct session {
    uint8_t id[SESSION_ID_LEN];
    bool used, answered;
    uint64_t ends_ms;
    struct admission *admission;
    struct activation_target target;  /* its EK is gone once the credential is made */
    bool certified;                   /* its key has a certificate of its own: a quote shows it */
    uint8_t nonce[SESSION_NONCE_LEN]; /* then */
    uint8_t wanted[SHA256_LEN];       /* the answer; if certified, the extraData of that quote */
    struct rate_bucket statements, bytes;
};

struct sessions;
/* `origin` goes into answers; borrowed. */
struct err sessions_new(struct sessions **out, const char *origin) MUST_USE;
void sessions_free(struct sessions *s);

/* Counts a challenge before anything is done for it; ERR_BUSY over the rate of its address, then of
 * all hosts. `now_ms` is a steady clock. */
struct err sessions_count(struct sessions *s, const struct http_address *from,
                          uint64_t now_ms) MUST_USE;
/* A new session for an admission, which it takes in any case, with the credential to be answered,
 * or none where the session is `certified`. ERR_BUSY when there are too many. */
struct err sessions_challenge(struct sessions *s, struct session **out,
                              struct credential *credential, struct admission *takes,
                              const uint8_t spki_sha256[SHA256_LEN], uint64_t now_ms) MUST_USE;
/* Compares the one answer. ERR_NOT_FOUND for a session that is none or has its answer; ERR_UNTRUE
 * ends the session. A right one ends every other session of that TPM that had its answer, whose
 * rate it goes on with. */
struct err sessions_answer(struct sessions *s, struct session **out,
                           const uint8_t id[SESSION_ID_LEN], const uint8_t answer[SHA256_LEN],
                           uint64_t now_ms) MUST_USE;
/* The same for a session that is `certified`: the answer is a quote (TPMS_ATTEST, TPMT_SIGNATURE).
 */
struct err sessions_answer_quote(struct sessions *s, struct session **out,
                                 const uint8_t id[SESSION_ID_LEN], struct bytes attest,
                                 struct bytes signature, uint64_t now_ms) MUST_USE;
/* A session that was answered. ERR_NOT_FOUND. */
struct err sessions_find(struct sessions *s, struct session **out, const uint8_t id[SESSION_ID_LEN],
                         uint64_t now_ms) MUST_USE;
/* Counts a statement; ERR_BUSY over the host's rate. */
struct err session_count(struct session *session, uint64_t now_ms) MUST_USE;
/* Counts what would be kept of it for good, blobs included; ERR_BUSY over the host's rate. */
struct err session_count_bytes(struct session *session, size_t n, uint64_t now_ms) MUST_USE;
void sessions_end(struct session *session);

#endif
