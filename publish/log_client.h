/*
 * A host's side of a log service (docs/FORMATS.md section 10): a session after credential
 * activation, statements, proofs. One connection, made anew when it broke off; one request at a
 * time, each with a deadline. The service's certificate is not believed, unless somebody asks for
 * that: what counts is signed, and what comes back is verified by the caller.
 */
#ifndef PUBLISH_LOG_CLIENT_H
#define PUBLISH_LOG_CLIENT_H

#include "publish/tile_proofs.h"

enum { LOG_CLIENT_BLOBS_MAX = 64, LOG_CLIENT_NONCE_LEN = 32 };

struct log_client;
struct tls_trust;

/* ERR_USAGE for a URL that is none. Connects with the first request. `trust` (borrowed): what the
 * service's TLS key must be; NULL: any. */
struct err log_client_open(struct log_client **out, const char *url,
                           const struct tls_trust *trust) MUST_USE;
void log_client_close(struct log_client *c);

/* The newest checkpoint that the service shows; appended. */
struct err log_client_checkpoint(struct log_client *c, struct buf *note) MUST_USE;
/* A tile_fetch whose context is the client. */
struct err log_client_tile(void *client, const struct tile *tile, struct buf *out);

/* Has the TPM answer a challenge. */
struct log_client_tpm {
    void *context;
    /* TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, each with its length in front */
    struct err (*activate)(void *context, uint8_t answer[SHA256_LEN], struct bytes credential,
                           struct bytes secret);
    /* a nonce, for a key with a certificate of its own: a quote; both are appended */
    struct err (*possess)(void *context, struct buf *attest, struct buf *signature,
                          const uint8_t nonce[LOG_CLIENT_NONCE_LEN]);
};

struct log_submission {
    struct bytes host; /* the statement that says who submits */
    const struct bytes *host_blobs;
    size_t n_host_blobs;
    uint8_t spki_sha256[SHA256_LEN];
    bool has_boot, has_identity; /* the log has them already */
    uint64_t boot, identity;     /* there */
    struct bytes statement;
    const struct bytes *blobs;
    size_t n_blobs;
};

/* What the service does not take, however often it is asked: 400, 413, 422. */
enum log_refused {
    LOG_REFUSED_NOTHING,
    LOG_REFUSED_HOST, /* nothing of this host, as its host statement presents it */
    LOG_REFUSED_STATEMENT,
};

/* Appends the tlog-proof@v1. Takes a session first where there is none, or where the service has
 * forgotten it. Where the service no longer takes what its log has of the host (`boot`,
 * `identity`), the session does without: a new boot needs neither. ERR_UNTRUE: refused, *refused
 * tells what; LOG_REFUSED_NOTHING for 403, of a log that takes no statements now. ERR_BUSY: asked
 * to wait (429, 503); ERR_IO, ERR_NOT_FOUND: not reached; ERR_MALFORMED: an answer that is none. */
struct err log_client_submit(struct log_client *c, struct buf *proof, enum log_refused *refused,
                             const struct log_submission *s,
                             const struct log_client_tpm *tpm) MUST_USE;

/* The answer to a challenge: a credential, or a nonce. For log_challenge.c and its fuzz target. */
struct log_challenge {
    char session[65]; /* 64 digits */
    bool certified;   /* then `nonce` is there, and no credential */
    uint8_t nonce[LOG_CLIENT_NONCE_LEN];
    struct buf credential, secret;
};
void log_challenge_cleanup(struct log_challenge *c);
/* Strictly. ERR_MALFORMED, ERR_LIMIT; `out` is then untouched. */
struct err log_challenge_parse(struct log_challenge *out, struct bytes body) MUST_USE;

#endif
