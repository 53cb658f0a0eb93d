/*
 * The front process: TLS, HTTP, the API and the engine. It sees prompts, and so it has no TPM,
 * makes no connection, starts no program and opens no file for writing (sandbox.h).
 */
#ifndef SERVER_FRONT_H
#define SERVER_FRONT_H

#include "common/buf.h"

enum { FRONT_CACHE_IDLE_MAX_S = 300 };

enum { FRONT_CONNECTIONS_MIN = 16, FRONT_CONNECTIONS_MAX = 16384, FRONT_OTHER_FILES = 128 };

struct front_options {
    const char *model_dir;
    const char *state_dir; /* the log is read from here */
    const char *profile;
    const char *backend;      /* "auto", "cpu" or "cuda" */
    unsigned n_threads;       /* 0: all CPUs */
    unsigned max_requests;    /* at least 1 */
    unsigned max_connections; /* FRONT_CONNECTIONS_MIN to _MAX; one address has half of them */
    unsigned max_context;     /* 0: the model's own */
    bool no_prefix_cache;
    unsigned cache_idle_s; /* 1 to FRONT_CACHE_IDLE_MAX_S: clients are promised no more */
    uint64_t quote_interval_s;
    uint32_t max_stop_duration_s; /* stated in the log when stopping */
    const char *log_url;          /* of the service that keeps the log; NULL: it is ours */
    bool serve_without_tpm;       /* else a TPM that fails ends the front */
    const unsigned *gpus; /* which of several; n_gpus 0: the first, where `backend` takes one */
    size_t n_gpus;
    bool all_gpus;
    bool serve_without_gpu; /* else a GPU that fails ends the front, with others left or not */
};

/* What the front inherits; it takes all three. */
struct front_fds {
    int listen;  /* bound, not yet listening */
    int channel; /* to the attester */
    int ready;   /* one byte is written when clients are served */
};

/* Reads and measures, then serves until SIGTERM; success is a clean stop that the log knows of.
 * *attester_ended: the error is only that the attester is gone, whose own reason counts. */
struct err front_run(const struct front_options *options, struct front_fds fds,
                     bool *attester_ended) MUST_USE;

/* Raises this process's limit of open files, which its children inherit, to what so many
 * connections take. ERR_LIMIT where the hard limit is less. */
struct err front_raise_open_files(unsigned max_connections) MUST_USE;

/* Reads and hashes model and program as a start would; appends the policy's lines about them, and
 * remarks on what was read. */
struct err front_policy_lines(struct buf *out, const struct front_options *options) MUST_USE;

#endif
