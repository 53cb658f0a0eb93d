/*
 * What attester and publisher say to each other about a log that somebody else keeps: the payloads
 * of CHANNEL_SUBMIT, CHANNEL_LOOK and CHANNEL_PROVEN. Lengths are u32, counts u8, all bounded.
 */
#ifndef SERVER_PUBLISH_FRAMES_H
#define SERVER_PUBLISH_FRAMES_H

#include "publish/log_client.h"
#include "server/channel.h"

enum { WANTED_MAX = 4 };

/* Which proofs the attester needs under the checkpoint that comes back. */
struct wanted {
    uint64_t sizes[WANTED_MAX]; /* consistency from each */
    size_t n_sizes;
    uint64_t indices[WANTED_MAX]; /* inclusion of each */
    size_t n_indices;
};
void wanted_encode(struct buf *out, const struct wanted *w);
struct err wanted_decode(struct wanted *out, struct bytes payload) MUST_USE;

#define SEARCH_NOT UINT64_MAX

struct submit_request {
    struct wanted wanted;
    uint64_t search_from; /* it may be in the log already, from there on; or SEARCH_NOT */
    struct log_submission submission;
    /* what the submission's lists borrow, once decoded */
    struct bytes host_blobs[LOG_CLIENT_BLOBS_MAX], blobs[LOG_CLIENT_BLOBS_MAX];
};
void submit_request_encode(struct buf *out, const struct submit_request *r);
/* `out` borrows from the payload, and from itself: it is not to be moved. */
struct err submit_request_decode(struct submit_request *out, struct bytes payload) MUST_USE;

/* The answer to both: a checkpoint and the proofs that were asked for, in their order; for a
 * submission also its index and inclusion. */
struct proven {
    struct bytes note; /* borrowed */
    struct merkle_proof consistency[WANTED_MAX], inclusion[WANTED_MAX];
    size_t n_consistency, n_inclusion;
    bool submitted;
    uint64_t index;
    struct merkle_proof own;
};
void proven_encode(struct buf *out, const struct proven *p);
struct err proven_decode(struct proven *out, struct bytes payload) MUST_USE;

#endif
