/*
 * The text form that crosses the channel, key lines as in docs/FORMATS.md:
 *
 *     blindllama-measurement/v1
 *     model-id <id>
 *     files <n>
 *     file <hex sha256> <size> <name>      n times, sorted
 *     server-binary <hex>
 *     numerics <name>
 *     fatbin <hex> | fatbin none
 *     sandbox <hex>
 *     profile <name>
 *     gpus <n>
 *     gpu <UUID>                           n times, sorted
 *     quote-interval <s> / max-context <n> / max-requests <n>
 *     spki-sha256 <hex>
 */
#include "server/measurement.h"

#include <stdlib.h>
#include <string.h>

#include "attest/key_lines.h"
#include "common/text.h"

static const char HEADER[] = "blindllama-measurement/v1";

enum { N_FILES_MAX = 2048 }; /* leaves room in a runtime log of 4,096 records */

void measurement_cleanup(struct measurement *m)
{
    free(m->files);
    *m = (struct measurement){0};
}

static void append_hex_line(struct buf *out, const char *key, const uint8_t hash[SHA256_LEN])
{
    buf_printf(out, "%s ", key);
    buf_append_hex(out, bytes_of(hash, SHA256_LEN));
    buf_append_str(out, "\n");
}

/* `<hex sha256> <size> <name>`: the data of a `model-file` event. */
static void append_file(struct buf *out, const struct measured_file *file)
{
    buf_append_hex(out, bytes_of(file->sha256, SHA256_LEN));
    buf_printf(out, " %llu %s", (unsigned long long)file->size, file->name);
}

void measurement_config(struct buf *out, const struct measurement *m)
{
    buf_printf(out, "quote-interval %llu\nmax-context %llu\nmax-requests %llu\n",
               (unsigned long long)m->quote_interval_s, (unsigned long long)m->max_context,
               (unsigned long long)m->max_requests);
}

void measurement_encode(struct buf *out, const struct measurement *m)
{
    buf_printf(out, "%s\nmodel-id %s\nfiles %zu\n", HEADER, m->model_id, m->n_files);
    for (size_t i = 0; i < m->n_files; i++) {
        buf_append_str(out, "file ");
        append_file(out, &m->files[i]);
        buf_append_str(out, "\n");
    }
    append_hex_line(out, "server-binary", m->server_binary);
    buf_printf(out, "numerics %s\n", m->numerics);
    if (m->has_fatbin)
        append_hex_line(out, "fatbin", m->fatbin);
    else
        buf_append_str(out, "fatbin none\n");
    append_hex_line(out, "sandbox", m->sandbox);
    buf_printf(out, "profile %s\n", m->profile);
    buf_printf(out, "gpus %zu\n", m->n_gpus);
    for (size_t i = 0; i < m->n_gpus; i++)
        buf_printf(out, "gpu %s\n", m->gpus[i]);
    measurement_config(out, m);
    append_hex_line(out, "spki-sha256", m->spki_sha256);
}

/* A value that becomes a C string: a plain name, shorter than `size`. */
static struct err line_name(struct key_lines *l, char *out, size_t size, const char *key)
{
    struct bytes value;
    TRY(line_value(l, &value, key));
    if (!plain_name_valid(value) || value.len >= size)
        return line_context(
            l, err_set(ERR_MALFORMED, "'%s' is not a name of 1 to %zu bytes", key, size - 1));
    memcpy(out, value.data, value.len);
    out[value.len] = 0;
    return err_ok();
}

/* A name without a space. */
static struct err line_word(struct key_lines *l, char *out, size_t size, const char *key)
{
    TRY(line_name(l, out, size, key));
    if (strchr(out, ' '))
        return line_context(l, err_set(ERR_MALFORMED, "'%s' is one word", key));
    return err_ok();
}

/* `<hex sha256> <size> <name>` */
static struct err parse_file(struct measured_file *out, struct bytes text)
{
    struct reader r = reader_of(text);
    TRY(hex_decode(out->sha256, SHA256_LEN, read_bytes(&r, 2 * (size_t)SHA256_LEN)));
    const uint8_t *size_end =
        read_literal(&r, " ") && reader_left(&r) > 0 ? memchr(r.at, ' ', reader_left(&r)) : NULL;
    if (!size_end)
        return err_set(ERR_MALFORMED, "a file is '<sha256> <size> <name>'");
    TRY(decimal_decode(&out->size, read_bytes(&r, (size_t)(size_end - r.at)), UINT64_MAX));
    read_literal(&r, " ");
    struct bytes name = read_bytes(&r, reader_left(&r));
    if (!plain_name_valid(name) || name.len >= sizeof out->name)
        return err_set(ERR_MALFORMED, "a file's name is no plain name of 1 to 255 bytes");
    memcpy(out->name, name.data, name.len);
    out->name[name.len] = 0;
    return err_ok();
}

static struct err decode_files(struct measurement *m, struct key_lines *l)
{
    uint64_t n_files;
    TRY(line_decimal(l, &n_files, N_FILES_MAX, "files"));
    if (n_files == 0)
        return line_context(l, err_set(ERR_MALFORMED, "a model has at least one file"));
    m->files = calloc(n_files, sizeof *m->files);
    if (!m->files)
        return err_set(ERR_MEMORY, "out of memory for a measurement");
    for (; m->n_files < n_files; m->n_files++) {
        struct bytes value;
        struct measured_file *file = &m->files[m->n_files];
        TRY(line_value(l, &value, "file"));
        struct err e = parse_file(file, value);
        if (!is_err(e) && m->n_files > 0 && strcmp(file[-1].name, file->name) >= 0)
            e = err_set(ERR_MALFORMED, "files are not sorted, or one is there twice");
        if (is_err(e))
            return line_context(l, e);
    }
    return err_ok();
}

static struct err decode_code(struct measurement *m, struct key_lines *l)
{
    struct bytes fatbin;
    TRY(line_hex(l, m->server_binary, SHA256_LEN, "server-binary"));
    TRY(line_word(l, m->numerics, sizeof m->numerics, "numerics"));
    TRY(line_value(l, &fatbin, "fatbin"));
    m->has_fatbin = !bytes_equal(fatbin, bytes_of_str("none"));
    if (m->has_fatbin) {
        struct err e = hex_decode(m->fatbin, SHA256_LEN, fatbin);
        if (is_err(e))
            return line_context(l, e);
    }
    TRY(line_hex(l, m->sandbox, SHA256_LEN, "sandbox"));
    return line_word(l, m->profile, sizeof m->profile, "profile");
}

static struct err decode_gpus(struct measurement *m, struct key_lines *l)
{
    uint64_t n;
    TRY(line_decimal(l, &n, STATEMENT_GPUS_MAX, "gpus"));
    for (; m->n_gpus < n; m->n_gpus++) {
        struct bytes uuid;
        char *out = m->gpus[m->n_gpus];
        TRY(line_value(l, &uuid, "gpu"));
        if (!gpu_uuid_valid(uuid))
            return line_context(l, err_set(ERR_MALFORMED, "not the UUID of a GPU"));
        memcpy(out, uuid.data, uuid.len);
        if (m->n_gpus > 0 && strcmp(m->gpus[m->n_gpus - 1], out) >= 0)
            return line_context(
                l, err_set(ERR_MALFORMED, "GPUs are not sorted, or one is there twice"));
    }
    return err_ok();
}

static struct err decode(struct measurement *m, struct bytes data)
{
    struct key_lines l = key_lines_of(data);
    TRY(line_literal(&l, HEADER, ERR_UNSUPPORTED));
    TRY(line_name(&l, m->model_id, sizeof m->model_id, "model-id"));
    TRY(decode_files(m, &l));
    TRY(decode_code(m, &l));
    TRY(decode_gpus(m, &l));
    TRY(line_decimal(&l, &m->quote_interval_s, 86400, "quote-interval"));
    if (m->quote_interval_s == 0)
        return line_context(&l, err_set(ERR_MALFORMED, "a quote interval of 0 seconds"));
    TRY(line_decimal(&l, &m->max_context, UINT64_MAX, "max-context"));
    TRY(line_decimal(&l, &m->max_requests, UINT64_MAX, "max-requests"));
    TRY(line_hex(&l, m->spki_sha256, SHA256_LEN, "spki-sha256"));
    return lines_done(&l);
}

struct err measurement_decode(struct measurement *out, struct bytes data)
{
    struct measurement m = {0};
    struct err e = decode(&m, data);
    if (is_err(e)) {
        measurement_cleanup(&m);
        return err_context(e, "measurement");
    }
    *out = m;
    return err_ok();
}

struct err measurement_model_lane(struct runtime_log *log, const struct measurement *m)
{
    TRY(runtime_log_append(log, PCR_MODEL, "model-id", bytes_of_str(m->model_id)));
    for (size_t i = 0; i < m->n_files; i++) {
        BUF_AUTO data = BUF_INIT;
        append_file(&data, &m->files[i]);
        TRY(runtime_log_append(log, PCR_MODEL, "model-file", buf_bytes(&data)));
    }
    return runtime_log_append(log, PCR_MODEL, "cap", (struct bytes){0});
}

static struct err append_hash(struct runtime_log *log, const char *kind,
                              const uint8_t hash[SHA256_LEN])
{
    BUF_AUTO data = BUF_INIT;
    buf_append_hex(&data, bytes_of(hash, SHA256_LEN));
    return runtime_log_append(log, PCR_CODE, kind, buf_bytes(&data));
}

struct err measurement_code_lane(struct runtime_log *log, const struct measurement *m)
{
    TRY(append_hash(log, "server-binary", m->server_binary));
    BUF_AUTO kernels = BUF_INIT;
    buf_printf(&kernels, "%s ", m->numerics);
    if (m->has_fatbin)
        buf_append_hex(&kernels, bytes_of(m->fatbin, SHA256_LEN));
    else
        buf_append_str(&kernels, "none");
    TRY(runtime_log_append(log, PCR_CODE, "kernels", buf_bytes(&kernels)));
    TRY(append_hash(log, "sandbox", m->sandbox));
    TRY(runtime_log_append(log, PCR_CODE, "profile", bytes_of_str(m->profile)));
    return runtime_log_append(log, PCR_CODE, "cap", (struct bytes){0});
}

static void append_policy_line(struct buf *out, const char *key, const char *name,
                               const struct runtime_log *log, unsigned pcr)
{
    BUF_AUTO manifest = BUF_INIT;
    uint8_t hash[SHA256_LEN];
    lane_manifest(&manifest, log, pcr);
    sha256(hash, buf_bytes(&manifest));
    buf_printf(out, "%s %s ", key, name);
    buf_append_hex(out, bytes_of(hash, SHA256_LEN));
    buf_append_str(out, "\n");
}

struct err measurement_policy_lines(struct buf *out, const struct measurement *m)
{
    __attribute__((cleanup(runtime_log_cleanup))) struct runtime_log log = RUNTIME_LOG_INIT;
    TRY(measurement_model_lane(&log, m));
    TRY(measurement_code_lane(&log, m));
    append_policy_line(out, "model", m->model_id, &log, PCR_MODEL);
    append_policy_line(out, "code", m->profile, &log, PCR_CODE);
    return err_ok();
}
