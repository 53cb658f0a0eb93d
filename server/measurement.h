/*
 * What the front asks the attester to measure before it listens: the model as it was read, the
 * code, the TLS key. One text form, so that it crosses a socketpair; the same records become the
 * lanes of docs/FORMATS.md section 1.
 */
#ifndef SERVER_MEASUREMENT_H
#define SERVER_MEASUREMENT_H

#include "attest/runtime_log.h"
#include "attest/statement.h"

struct measured_file {
    char name[256];
    uint64_t size;
    uint8_t sha256[SHA256_LEN];
};

struct measurement {
    char model_id[256];
    struct measured_file *files; /* sorted bytewise by name */
    size_t n_files;
    uint8_t server_binary[SHA256_LEN]; /* of /proc/self/exe */
    char numerics[64];
    bool has_fatbin;
    uint8_t fatbin[SHA256_LEN];
    uint8_t sandbox[SHA256_LEN];
    char profile[64];
    size_t n_gpus; /* that compute, by UUID bytewise; not in the lanes: the boot statement names
                      them */
    char gpus[STATEMENT_GPUS_MAX][GPU_UUID_LEN + 1];
    uint64_t quote_interval_s, max_context, max_requests; /* section 1.1 */
    uint8_t spki_sha256[SHA256_LEN];
};
void measurement_cleanup(struct measurement *m);

void measurement_encode(struct buf *out, const struct measurement *m);
/* At most 2,048 files. ERR_MALFORMED with the line, ERR_UNSUPPORTED for another version. What
 * decodes makes lanes that lanes_check takes. */
struct err measurement_decode(struct measurement *out, struct bytes data) MUST_USE;

/* The records of lanes 13 and 14, capped, appended to `log`. */
struct err measurement_model_lane(struct runtime_log *log, const struct measurement *m) MUST_USE;
struct err measurement_code_lane(struct runtime_log *log, const struct measurement *m) MUST_USE;
/* The data of lane 15's `config` event. */
void measurement_config(struct buf *out, const struct measurement *m);
/* Policy lines `model <id> <hex>` and `code <name> <hex>` for this measurement. */
struct err measurement_policy_lines(struct buf *out, const struct measurement *m) MUST_USE;

#endif
