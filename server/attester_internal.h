/*
 * The attester's state and its parts, in the order in which they come into play. Only the
 * attester_*.c files include this.
 *
 * What is on disk, and why a kill at any moment leaves a state that the next start continues from:
 *
 *   log.key      made before log.db; never made anew while log.db is there
 *   log.db       an append is one COMMIT; log.head is written after it, and before anybody is told
 *   log.head     the newest checkpoint that may have been told; log.db must continue it
 *   log.queue    in place of log.db where somebody else keeps the log (attester_queue.c)
 *   runtime.log  a record is on disk before its PCR is extended: so PCRs fit it, or all but its
 * last
 *
 * Each statement of a boot is logged if the log lacks it, so a start may stop between any two. An
 * identity event is extended only after the statements of the one before are in the log.
 */
#ifndef SERVER_ATTESTER_INTERNAL_H
#define SERVER_ATTESTER_INTERNAL_H

#include "attest/ek_cert.h"
#include "attest/evidence.h"
#include "attest/statement.h"
#include "attest/tpm.h"
#include "server/attester.h"
#include "server/channel.h"
#include "server/measurement.h"
#include "server/publish_frames.h"
#include "server/queue_file.h"
#include "transparency/store.h"

enum {
    BOOT_COUNTER_INDEX = 0x0180b11a, /* in the owner's range of NV handles (Part 2, 13.1) */
    VKEY_MAX = 512,
    QUOTE_INTERVAL_MAX_S = 86400,
    STATEMENT_BLOBS_MAX = 2 + EK_CHAIN_MAX + STATEMENT_ACTIVATIONS_MAX, /* that one names */
};
#define INDEX_UNKNOWN UINT64_MAX /* of a statement that is not in the log yet */

/* This host's newest statements, as the log has them. */
struct history {
    bool has_host, has_boot, has_identity, has_quote;
    uint64_t host_index, boot_index, identity_index, quote_index;
    struct statement_host host;
    struct statement_boot boot;
    struct statement_identity identity;
    struct merkle_hash quote_leaf; /* the last quote or stop */
    bool quote_stop;
    uint64_t quote_period;
    uint8_t quote_boot_id[BOOT_ID_LEN];
    uint64_t quote_head_size;
};

/* What a bundle shows, and the live quote beside it names: the log as of one checkpoint. */
struct shown {
    struct history history; /* of the entries under it */
    struct checkpoint head;
    struct buf note;      /* with the cosignatures there are */
    struct buf head_note; /* as the log signed it */
};
void shown_cleanup(struct shown *s);

/* Of a log that somebody else keeps: this host's newest statements there, one of each kind, those
 * that it refused for good, and those that wait. */
struct queued {
    struct buf text;
    struct statement *statement;
    uint64_t index;                    /* logged */
    uint64_t since_s;                  /* refused or waiting: wall clock */
    char reason[QUEUE_REASON_MAX + 1]; /* refused */
};
struct queue {
    struct queued logged[QUEUE_LOGGED_MAX];
    size_t n_logged;
    struct queued refused[QUEUE_REFUSED_MAX];
    size_t n_refused;
    struct queued waiting[QUEUE_WAITING_MAX];
    size_t n_waiting;
};
void queue_cleanup(struct queue *q);

/* What is asked of the log service. */
struct remote {
    bool on;        /* the log is somebody else's */
    uint64_t asked; /* the request that is out; 0: none */
    uint64_t next_id;
    struct wanted wanted; /* the proofs that it asked for */
    bool uncertain;       /* the first that waits may be in the log already */
    uint64_t retry_ms;    /* nothing is asked before */
    unsigned pause_s;
    unsigned n_refusals; /* of the first that waits */
    unsigned host_try;   /* which host statement a session begins with, of those there are */
    bool has_head;
    uint64_t fresh_ms;  /* when the head was seen to be the newest */
    bool stopping;      /* a quote of kind stop is wanted */
    uint64_t accept_id; /* the front's request that the waiting host statement answers; 0: none */
};

/* What is said of the GPUs that the front computes with, and what says it; none on the CPU. */
struct nvml;
struct attester_gpus {
    struct nvml *nvml;
    struct statement_boot facts;            /* of a boot statement its GPUs alone */
    struct buf chains[STATEMENT_GPUS_MAX];  /* DER; where memory is protected */
    struct buf reports[STATEMENT_GPUS_MAX]; /* for the newest quote */
};

struct attester {
    const struct attester_options *options;
    int channel;   /* to the front */
    int publisher; /* to the publisher, or -1 */

    /* the log */
    struct note_signer signer;
    char vkey[VKEY_MAX];
    struct store *log;      /* NULL: somebody else keeps it */
    struct checkpoint head; /* newest */
    struct buf head_note;

    /* the host */
    struct tpm *tpm;
    struct buf ak_public, ek_certificate; /* TPMT_PUBLIC, DER */
    struct buf ak_certificate; /* DER; in place of ek_certificate where options->ak_certified */
    struct tpm_name ak_name;
    struct buf chain[EK_CHAIN_MAX]; /* DER */
    size_t n_chain;
    struct buf activations[STATEMENT_ACTIVATIONS_MAX]; /* of the newest host statement */
    size_t n_activations;

    /* the lanes */
    struct runtime_log runtime;
    int runtime_fd;
    struct lanes lanes; /* a prefix of each until measured */

    struct attester_gpus gpus;
    struct history history;
    struct shown shown; /* what `evidence` was put together from */
    bool measured;
    bool tpm_lost;            /* it ends because of the TPM alone */
    struct buf measurement;   /* as the front sent it; once measured */
    uint64_t next_quote_ms;   /* CLOCK_BOOTTIME */
    struct evidence evidence; /* all but quote and nonce; empty after each commit */
    struct activation_bucket {
        uint64_t tokens, since_ms;
    } activations_by[2]; /* clients, the log service */

    /* a log that somebody else keeps */
    struct queue queue;
    struct remote remote;
    int lock_fd; /* of the state folder */

    /* the witnesses */
    uint64_t witnessed_size;      /* of the newest checkpoint with their quorum; 0: none has it */
    struct publishing publishing; /* as the front was told last */
    struct buf from_publisher;    /* not yet decoded */
};

/* attester_state.c: the state folder with key and log, the options. */
struct err attester_check_options(const struct attester_options *o) MUST_USE;
/* The log's key. It is made where neither it nor a log is there. */
struct err attester_load_key(struct attester *a) MUST_USE;
/* Opens or makes log.db; refuses one that lacks what log.head says was there. */
struct err attester_open_log(struct attester *a) MUST_USE;
/* The same for a log that somebody else keeps: the queue and the newest checkpoint believed. */
struct err attester_open_remote(struct attester *a) MUST_USE;
/* The newest checkpoint becomes `head` and is written to log.head. */
struct err attester_take_head(struct attester *a) MUST_USE;

/* attester_host.c: TPM, keys, certificate and its chain. */
/* The one of the two certificates that this host has. */
struct bytes attester_certificate(const struct attester *a);
struct err attester_load_chain(struct attester *a) MUST_USE;
/* Disturbs no other user of the TPM. */
struct err attester_open_tpm(struct attester *a) MUST_USE;
/* Without a resource manager, ends what other programs hold in the TPM: only once
 * attester_open_runtime has found that this boot is ours. */
struct err attester_load_tpm_keys(struct attester *a) MUST_USE;

/* attester_runtime.c: runtime.log against PCRs 13 to 15. */
/* Loads it; begins a new file when the TPM was reset. ERR_UNTRUE when the PCRs fit neither all of
 * it nor all but its last record. Only reads the TPM. */
struct err attester_open_runtime(struct attester *a) MUST_USE;
/* Completes a last extend. After attester_load_tpm_keys. */
struct err attester_complete_runtime(struct attester *a) MUST_USE;
/* One record: on disk, then extended. */
struct err attester_extend(struct attester *a, unsigned pcr, const char *kind,
                           struct bytes data) MUST_USE;
/* ERR_UNTRUE unless PCRs 13 to 15 are what the runtime log gives. */
struct err attester_check_pcrs(const struct attester *a, const struct pcr_values *pcrs) MUST_USE;
/* The text up to and including the n-th identity event, n from 1. */
void attester_runtime_text(struct buf *out, const struct attester *a, size_t n_identities);

/* attester_lanes.c: the measurement becomes lanes, once in a boot. */
/* ERR_UNTRUE, naming the first difference, if what was measured in this boot is another. */
struct err attester_compare_lanes(struct attester *a, const struct measurement *m) MUST_USE;
/* Completes the lanes and adds the identity event. After attester_compare_lanes. */
struct err attester_write_lanes(struct attester *a, const struct measurement *m) MUST_USE;

/* attester_history.c: what the log knows of this host. */
/* This host's newest statements among the first `size` entries; what `out` has is kept. */
struct err attester_read_history(const struct attester *a, struct history *out,
                                 uint64_t size) MUST_USE;
/* ERR_UNTRUE if the log lacks statements that must have been there before the last identity. */
struct err attester_check_history(const struct attester *a) MUST_USE;
/* Takes note of a statement that was logged or found at `index`. */
void history_take(struct history *h, const struct statement *s, uint64_t index, struct bytes text);
/* The value that a boot statement certifies. */
struct err boot_counter_value(uint64_t *out, const struct statement_boot *boot) MUST_USE;

/* attester_statements.c: host, boot and identity, each logged where the log lacks it. */
/* Logs one statement durably with its blobs; updates head and history. */
struct err attester_commit(struct attester *a, const struct statement *s, const struct bytes *blobs,
                           size_t n_blobs) MUST_USE;
struct err attester_log_host(struct attester *a) MUST_USE; /* unconditionally */
struct err attester_ensure_host(struct attester *a) MUST_USE;
struct err attester_ensure_boot(struct attester *a) MUST_USE;
struct err attester_ensure_identity(struct attester *a) MUST_USE;

/* attester_gpu.c */
/* What NVML says of the measured GPUs. ERR_UNTRUE if this boot's statement says otherwise. */
struct err attester_find_gpus(struct attester *a, const struct measurement *m) MUST_USE;
void attester_close_gpus(struct attester *a);
/* The lines of a boot statement; `blobs` gets what they name. Returns how many. */
size_t attester_say_gpus(const struct attester *a, struct statement_boot *boot,
                         struct bytes blobs[STATEMENT_GPUS_MAX]);
/* A report of each GPU whose memory is protected, over the quote's extraData: into gpus.reports. */
struct err attester_add_reports(struct attester *a, struct statement_quote *q,
                                const uint8_t nonce[SHA256_LEN]) MUST_USE;

/* attester_quote.c */
/* A quote of the kind over the newest head, as a statement; nonces only for QUOTE_DEMAND, which is
 * over the head that is shown. */
struct err attester_make_quote(struct attester *a, struct statement *out, enum quote_kind kind,
                               uint64_t n_nonces, const struct merkle_hash *nonce_root) MUST_USE;
/* Periodic; sets the next one's time and tells the front. */
struct err attester_log_quote(struct attester *a) MUST_USE;
struct err attester_log_stop(struct attester *a, uint32_t max_duration_s) MUST_USE;

/* attester_evidence.c */
struct nonce_request {
    uint64_t id; /* the frame's */
    uint8_t nonce[NONCE_LEN];
};
/* One demand quote over all nonces; a bundle for each is sent. */
struct err attester_answer_nonces(struct attester *a, const struct nonce_request *requests,
                                  size_t n) MUST_USE;

/* attester_shown.c: which checkpoint is shown. The newest that the witnesses' quorum has cosigned,
 * if it covers a quote of this identity; else the newest, and clients who ask for the quorum see
 * that it is missing. */
struct err attester_choose_shown(struct attester *a) MUST_USE;
/* Whether a verifier would take what this history shows, for the boot and identity that hold now.
 */
bool attester_covers_quote(const struct attester *a, const struct history *h);

/* attester_queue.c: the files of a log that somebody else keeps. */
struct err attester_load_queue(struct attester *a, bool *there) MUST_USE;
struct err attester_save_queue(const struct attester *a) MUST_USE;
/* What this host has said, by its queue. */
void attester_take_history(struct attester *a);
/* One statement more waits, durably. ERR_LIMIT when too many do. */
struct err attester_enqueue(struct attester *a, struct bytes text, const struct bytes *blobs,
                            size_t n_blobs) MUST_USE;
/* The first that waits is in the log, at `index`. */
struct err attester_dequeue(struct attester *a, uint64_t index) MUST_USE;
/* The first that waits is set aside for `reason`; there is room for it. */
struct err attester_set_aside(struct attester *a, const char *reason) MUST_USE;
/* The newest that the log has of a kind, or NULL. */
const struct queued *attester_logged_of(const struct queue *q, enum statement_kind kind);
/* A blob that a statement of this host names, from the log or the queue; appended. */
struct err attester_blob(const struct attester *a, const uint8_t name[SHA256_LEN],
                         struct buf *out) MUST_USE;
size_t attester_statement_blobs(struct blob_ref out[STATEMENT_BLOBS_MAX],
                                const struct statement *s);

/* attester_remote.c: what is asked of the log service, and when. */
/* A quote can be made now that names the log's newest head, and all that this host has said is
 * under it. Always, where the log is this host's own. */
bool attester_may_quote(const struct attester *a);
/* Asks for the next thing, if there is one and nothing is out. */
struct err attester_drive(struct attester *a) MUST_USE;
/* When there is something to do next, unless a frame comes: CLOCK_BOOTTIME. */
uint64_t attester_next_ms(const struct attester *a);
struct err attester_tell_queue(struct attester *a) MUST_USE;
struct err attester_try_later(struct attester *a, struct err why) MUST_USE;
struct err attester_take_remote(struct attester *a, const struct channel_frame *f) MUST_USE;
/* attester_refused.c */
/* What the log refused for good, as the publisher says. */
struct err attester_take_refusal(struct attester *a, struct bytes payload) MUST_USE;
/* attester_proven.c */
struct err attester_take_proven(struct attester *a, struct bytes payload) MUST_USE;

/* attester_publisher.c: the log towards its witnesses. All of it does nothing without a publisher.
 */
/* The newest checkpoint that has the quorum already. After attester_open_log. */
struct err attester_find_witnessed(struct attester *a) MUST_USE;
/* The log has grown: tells the publisher and the front. */
struct err attester_tell_grown(struct attester *a) MUST_USE;
struct err attester_tell_front(struct attester *a) MUST_USE;
/* Frames of the publisher: all that can be read without waiting. ERR_IO when it has ended. */
struct err attester_hear_publisher(struct attester *a) MUST_USE;
/* Before the first quote of a start: a moment for the witnesses of this host's own log, so that the
 * head that is quoted has their quorum. Without it the start goes on, for clients to refuse;
 * ERR_UNTRUE where a witness knows another log. */
struct err attester_await_quorum(struct attester *a) MUST_USE;
/* Logs the stop, gives the service or the witnesses a moment for it, then ends the publisher.
 * Appends to `lacking` what is still missing. */
struct err attester_stop(struct attester *a, uint32_t max_duration_s, struct buf *lacking) MUST_USE;

/* attester_activation.c: answers go out as frames; what is returned ends the attester. */
/* `channel` asked, and is answered. */
struct err attester_activate(struct attester *a, int channel, uint64_t id,
                             struct bytes payload) MUST_USE;
/* The publisher asks with a nonce, for a key that has a certificate of its own. */
struct err attester_possess(struct attester *a, uint64_t id, struct bytes nonce) MUST_USE;
struct err attester_take_activation(struct attester *a, uint64_t id, struct bytes note) MUST_USE;
/* The index of the newest host statement, which is logged. */
struct err attester_send_accepted(struct attester *a, uint64_t id) MUST_USE;
/* Activations of the newest host statement, from the log's blobs. */
struct err attester_load_activations(struct attester *a) MUST_USE;

/* attester_measure.c: everything that CHANNEL_MEASURE asks for. */
struct err attester_measure(struct attester *a, const struct measurement *m) MUST_USE;

/* attester_recover.c: a TPM that failed. */
/* All that the attester needs of the TPM and of this boot, in the order of a start. */
struct err attester_begin_tpm(struct attester *a) MUST_USE;
/* Whether the error is the TPM's own: it is gone, in failure mode or in lockout. */
bool attester_tpm_is_to_blame(const struct attester *a, struct err e);
/* One more attempt with a new connection: it is measured again, as in a start in the same boot or,
 * where the TPM was reset, in a new one. On an error of the TPM's own it may be made again. */
struct err attester_try_again(struct attester *a) MUST_USE;
/* How long to wait before attempt `n`, from 0; 0: none is made any more. */
unsigned attester_pause_ms(unsigned n);

/* attester_serve.c */
enum { READ_AHEAD_MAX = 2 * CHANNEL_PAYLOAD_MAX }; /* bytes of a channel, before they are decoded */
uint64_t boottime_ms(void);
/* Tells the front of an error that does not end the attester. */
struct err attester_send_error(struct attester *a, uint64_t id, struct err e) MUST_USE;
/* Until CHANNEL_STOP, the end of the channel, or an error. */
struct err attester_serve(struct attester *a) MUST_USE;

#endif
