/*
 * The channels between front and attester, and between attester and publisher: bounded frames over
 * a socketpair (SOCK_STREAM).
 *
 *     u32 type | u64 id | u32 length | payload
 *
 * A request carries an id chosen by the front; its answer carries the same. CHANNEL_QUOTED,
 * CHANNEL_PUBLISHING, CHANNEL_TPM_FAILED and CHANNEL_TPM_BACK answer nothing, have id 0 and may
 * come at any time, also between a request and its answer; what waits when the TPM fails gets no
 * other answer. Both sides treat a frame that breaks the limits as the end of the other side.
 */
#ifndef SERVER_CHANNEL_H
#define SERVER_CHANNEL_H

#include "common/buf.h"

enum { CHANNEL_PAYLOAD_MAX = 9 * 1024 * 1024, CHANNEL_HEADER_LEN = 16 };

enum channel_type {
    /* front to attester */
    CHANNEL_MEASURE = 1,    /* measurement_encode; once, before listening */
    CHANNEL_QUOTE = 2,      /* 32-byte nonce */
    CHANNEL_ACTIVATE = 3,   /* TPM2B_ID_OBJECT, then TPM2B_ENCRYPTED_SECRET */
    CHANNEL_ACTIVATION = 4, /* a signed activation note */
    CHANNEL_STOP = 5,       /* planned stop; payload: u32 seconds of maximum duration */
    /* attester to front */
    CHANNEL_MEASURED = 17,   /* empty: measured, extended, logged, quoted once */
    CHANNEL_EVIDENCE = 18,   /* evidence JSON */
    CHANNEL_ACTIVATED = 19,  /* 32-byte answer */
    CHANNEL_ACCEPTED = 20,   /* u64 index of the new host statement */
    CHANNEL_STOPPED = 21,    /* empty, or what the log lacks yet: the stop statement is durable */
    CHANNEL_QUOTED = 22,     /* empty, unasked: a quote is in the log, durable */
    CHANNEL_TPM_FAILED = 23, /* message, unasked: until CHANNEL_TPM_BACK nothing can be attested; if
                                the attester ends then, it is because of the TPM alone */
    CHANNEL_PUBLISHING = 24, /* publishing_encode, unasked: what others have not seen yet */
    CHANNEL_TPM_BACK = 25,   /* empty, unasked: measured again, and quoted once, or about to be */
    CHANNEL_POSSESSED =
        26,             /* to the publisher: TPMS_ATTEST, TPMT_SIGNATURE, each with a u16 length */
    CHANNEL_ERROR = 31, /* u32 err code, then the message */
    /* attester to publisher */
    CHANNEL_GROWN = 33,  /* u64 size: of the host's own log, which is there from the first one on */
    CHANNEL_END = 34,    /* empty: let go of everything and end */
    CHANNEL_SUBMIT = 35, /* submit_request_encode; answered with CHANNEL_PROVEN, CHANNEL_REFUSED or
                            CHANNEL_ERROR, and before that perhaps asked with CHANNEL_ACTIVATE or
                            CHANNEL_POSSESS */
    CHANNEL_LOOK = 36,   /* wanted_encode; answered likewise */
    /* publisher to attester */
    CHANNEL_COSIGNED = 49, /* u64 size, 32-byte key of the witness, its line */
    CHANNEL_PROVEN = 51,   /* proven_encode */
    CHANNEL_TROUBLE = 50,  /* u8: 1 for an alarm; what does not work, for people */
    CHANNEL_POSSESS = 53,  /* 32-byte nonce; answered with CHANNEL_POSSESSED or CHANNEL_ERROR */
    CHANNEL_REFUSED = 52,  /* in place of CHANNEL_PROVEN: u8 enum log_refused; the reason */
};

struct channel_frame {
    uint32_t type;
    uint64_t id;
    struct bytes payload; /* borrowed */
};

void channel_encode(struct buf *out, uint32_t type, uint64_t id, struct bytes payload);
/* The first whole frame in `data`: *used is its length, or 0 if more bytes are needed.
 * ERR_MALFORMED for an unknown type or a length over the limit. */
struct err channel_decode(struct channel_frame *out, size_t *used, struct bytes data) MUST_USE;

/* Everything that can be read without waiting, appended to `data`, which holds up to `max` bytes;
 * *closed when the other side has closed. */
struct err channel_read_available(int fd, struct buf *data, size_t max, bool *closed) MUST_USE;

/* Blocking, for start-up and tests: `payload` holds what the frame borrows. ERR_NOT_FOUND when the
 * other side closed. */
struct err channel_send(int fd, uint32_t type, uint64_t id, struct bytes payload) MUST_USE;
struct err channel_receive(int fd, struct channel_frame *out, struct buf *payload) MUST_USE;
void channel_error_payload(struct buf *out, struct err e);      /* code and err_message() */
struct err channel_error_decode(struct bytes payload) MUST_USE; /* as an error of this process */

/* How far others have seen what this host logs. */
struct publishing {
    bool on;            /* there is somebody who must see it */
    bool remote;        /* a log service; else the log's witnesses */
    bool alarm;         /* what the service shows does not continue what it showed before */
    uint64_t n_waiting; /* entries that they have not seen */
    uint64_t since_ms;  /* CLOCK_BOOTTIME: since when the oldest of them waits; 0: none does */
    uint64_t n_alarms;
    uint64_t n_refused; /* statements that the log refused for good, and that are set aside */
    char refused[400];  /* the last of them, and why; "" where there is none */
    char trouble[400];  /* the last reason; "" while all is well */
};
void publishing_encode(struct buf *out, const struct publishing *p);
struct err publishing_decode(struct publishing *out, struct bytes payload) MUST_USE;

#endif
