/*
 * What a replay remembers, for replay*.c only.
 */
#ifndef ATTEST_REPLAY_STATE_H
#define ATTEST_REPLAY_STATE_H

#include "attest/replay.h"
#include "attest/rules.h"

enum {
    REPLAY_HOSTS_MAX = 4096,     /* attestation keys with a true host statement */
    REPLAY_STRANGERS_MAX = 1024, /* further names in statements, told apart */
    REPLAY_AKS_MAX = 16,         /* attestation keys of one TPM: it can make any number */
    REPLAY_FINDINGS_MAX = 65536,
    REPLAY_HOST_FINDINGS_MAX = 1024,
    REPLAY_TEXT_MAX = 512
};

/* The boot that a host is in, by its last true boot statement. */
struct replay_boot {
    bool known, quoted; /* a true quote of it is in the log */
    uint64_t index;
    uint8_t boot_id[BOOT_ID_LEN];
    struct rule_counter counter;
    uint64_t clock_ms; /* of the last thing that the key signed in it */
    uint64_t n_quotes; /* made in it, by the last logged one: the next quote's period */
    bool unsafe;       /* an unsafe clock was reported */
    struct rule_boot_log log;
    struct rule_gpus gpus;
};

/* Its last true identity in that boot. */
struct replay_identity {
    bool known, quoted;
    uint64_t index;
    struct rule_lanes lanes;
};

/* The last quote or stop that the key signed, and the last true one. */
struct replay_quote {
    bool known;
    uint64_t index;
    struct merkle_hash leaf;
    bool is_true; /* what follows is of the last true one in this boot */
    uint64_t clock_ms;
    bool stop;
    uint64_t max_duration_s;
    struct pcr_values pcrs;
};

struct replay_host {
    struct rule_host facts;    /* by the entries so far */
    struct rule_host surveyed; /* by the whole log, where there was a survey */
    uint64_t index;            /* of the first true host statement */
    struct replay_boot boot;
    struct replay_identity identity;
    struct replay_quote quote;
    uint8_t (*boot_ids)[BOOT_ID_LEN];
    size_t n_boot_ids;
    uint64_t n_entries, n_boots, n_quotes; /* boots and quotes: true ones */
    uint64_t covered;                      /* size of the head that the last true quote names */
    uint16_t zero, ignored, explained;     /* boot PCRs of true quotes */
    bool gpu;                              /* a GPU computed at a true quote, */
    bool gpu_open;                         /* and its memory was not proven to be protected */
    size_t n_findings;
    char reason[REPLAY_TEXT_MAX]; /* the first thing that makes it false */
};

/* Entries of names beyond REPLAY_STRANGERS_MAX. */
struct replay_others {
    uint64_t n_entries;
    char reason[REPLAY_TEXT_MAX];
};

/* The history of one TPM, by what rule_host knows it by. */
struct replay_ek {
    uint8_t sha256[SHA256_LEN];
    struct tpm_name ak_name;
    bool booted;
    struct rule_counter counter; /* of its last boot statement */
};

/* A head whose note the caller has verified. */
struct replay_head {
    uint64_t size;
    uint8_t note_sha256[SHA256_LEN];
};

struct replay {
    const struct policy *policy;
    replay_blob *blob;
    void *blob_context;
    struct merkle_edge edge;
    struct merkle_hash *roots; /* (edge.size + 1): of the first n entries */
    int32_t *owners;           /* (edge.size): which host a true entry is of, or -1 */
    size_t capacity;           /* of both, in entries */
    struct replay_head *heads; /* by size */
    size_t n_heads, heads_capacity;
    struct replay_host *hosts;
    size_t n_hosts;
    struct replay_others others;
    struct replay_verdict *verdicts;
    struct replay_ek *eks;
    size_t n_eks;
    struct finding *findings;
    size_t n_findings;
    bool finished;        /* findings about the log's end were made */
    bool *models, *codes; /* (the policy's): seen in a true quote */
    uint64_t n_true, n_quotes, n_boots;
    struct tlog_witnessed witnessed;  /* the newest checkpoint */
    char reason[REPLAY_TEXT_MAX];     /* the first entry that is not true */
    char log_reason[REPLAY_TEXT_MAX]; /* what makes the log itself false */
};

/* One entry on its way. */
struct replay_entry_now {
    struct replay *r;
    uint64_t index;
    struct merkle_hash leaf;
    const struct statement *s;
    struct replay_host *host; /* NULL before its first true host statement */
    const char *code;         /* the rule that is being checked */
    char fact[REPLAY_TEXT_MAX];
};

void replay_fact(struct replay_entry_now *now, const char *format, ...) PRINTF_LIKE(2, 3);
/* `host` NULL: of the log. An error makes the host, or the log, false. */
void replay_find(struct replay *r, struct replay_host *host, enum finding_severity severity,
                 const char *code, uint64_t index, const char *format, ...) PRINTF_LIKE(6, 7);

/* A blob through the caller, checked against its reference. */
struct err replay_blob_read(struct replay *r, const struct blob_ref *ref, struct buf *out) MUST_USE;
bool replay_head_is_verified(const struct replay *r, uint64_t size,
                             const uint8_t note_sha256[SHA256_LEN]);
/* For rules.h: `context` is the replay. */
struct err replay_blob_source(void *context, const struct blob_ref *ref, struct buf *out);

struct replay_host *replay_host_of(struct replay *r, const struct tpm_name *ak_name);
/* As above, made if it is new, for whom a host statement is true: `alone` is what it says by
 * itself. ERR_LIMIT. */
struct err replay_host_make(struct replay *r, struct replay_host **out,
                            const struct rule_host *alone) MUST_USE;
/* The same for a name that no true host statement has; NULL where there are too many. Leaves
 * err_message() alone. */
struct err replay_stranger_make(struct replay *r, struct replay_host **out,
                                const struct tpm_name *ak_name) MUST_USE;
void replay_host_name(char out[24], const struct tpm_name *ak_name);

/* The kinds of entry: ok, or why the entry is not true; now->code names the rule. */
struct err replay_take_host(struct replay_entry_now *now) MUST_USE;
struct err replay_take_boot(struct replay_entry_now *now) MUST_USE;
struct err replay_take_identity(struct replay_entry_now *now) MUST_USE;
struct err replay_take_quote(struct replay_entry_now *now) MUST_USE;

/* Findings about the log's end, once. */
void replay_find_uncovered(struct replay *r);
/* The verdicts: of each host, of the log, of all. */
struct err replay_judge(struct replay_summary *out, struct replay *r,
                        struct bytes checkpoint) MUST_USE;
/* Sentences of the summary. */
void replay_report(struct replay_summary *out, const struct replay *r);

#endif
