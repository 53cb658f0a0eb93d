#include "server/front_start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <unistd.h>

#include "attest/evidence.h"
#include "common/file.h"
#include "kernels/cuda/gpu_backend.h"
#include "server/attester.h"
#include "server/sandbox.h"

static struct err hash_program(uint8_t out[SHA256_LEN])
{
    FD_AUTO fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno("cannot open this program by /proc/self/exe (is /proc mounted?)");
    struct sha256_stream *stream = sha256_new();
    uint8_t chunk[65536];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        sha256_update(stream, bytes_of(chunk, (size_t)n));
    struct err e = n < 0 ? err_errno("cannot read /proc/self/exe") : err_ok();
    if (!is_err(e))
        sha256_final(stream, out);
    sha256_free(stream);
    return e;
}

static void measure_files(struct measurement *m, const struct engine_info *model)
{
    m->files = calloc(model->n_files, sizeof *m->files);
    if (m->files == NULL)
        abort();
    m->n_files = model->n_files;
    for (size_t i = 0; i < m->n_files; i++) {
        snprintf(m->files[i].name, sizeof m->files[i].name, "%s", model->files[i].name);
        m->files[i].size = model->files[i].size;
        memcpy(m->files[i].sha256, model->files[i].sha256, SHA256_LEN);
    }
}

static int by_uuid(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void measure_gpus(struct measurement *m, const struct engine_group *engines)
{
    for (size_t i = 0; i < engine_group_count(engines); i++) {
        const char *uuid = engine_info(engine_group_at(engines, i))->gpu_uuid;
        if (uuid[0] != '\0')
            memcpy(m->gpus[m->n_gpus++], uuid, sizeof m->gpus[0]);
    }
    qsort(m->gpus, m->n_gpus, sizeof m->gpus[0], by_uuid);
}

static struct err fill_measurement(struct front *f)
{
    struct measurement *m = &f->measurement;
    snprintf(m->model_id, sizeof m->model_id, "%s", f->model->model_id);
    measure_files(m, f->model);
    TRY(hash_program(m->server_binary));
    snprintf(m->numerics, sizeof m->numerics, "%s", f->model->numerics);
    m->has_fatbin = f->model->has_device_code;
    memcpy(m->fatbin, f->model->device_code, SHA256_LEN);
    measure_gpus(m, f->engines);
    BUF_AUTO sandbox = BUF_INIT;
    sandbox_text(&sandbox);
    sha256(m->sandbox, buf_bytes(&sandbox));
    snprintf(m->profile, sizeof m->profile, "%s", f->options->profile);
    m->quote_interval_s = f->options->quote_interval_s;
    m->max_context = f->model->max_context;
    m->max_requests = f->options->max_requests;
    return err_ok();
}

/* Short, for clients that compare answers: the measured model and code. */
static struct err fill_fingerprint(struct front *f)
{
    BUF_AUTO lines = BUF_INIT, hex = BUF_INIT;
    TRY(measurement_policy_lines(&lines, &f->measurement));
    uint8_t hash[SHA256_LEN];
    sha256(hash, buf_bytes(&lines));
    buf_append_hex(&hex, bytes_of(hash, 6));
    snprintf(f->fingerprint, sizeof f->fingerprint, "fp_%s", buf_str(&hex));
    return err_ok();
}

static void log_model(const struct front *f)
{
    const struct engine_info *model = f->model;
    uint64_t size = 0;
    for (size_t i = 0; i < model->n_files; i++)
        size += model->files[i].size;
    if (model->device[0] != '\0')
        fprintf(stderr, "backend %s on %s, %zu GPUs, numerics %s\n", model->backend, model->device,
                engine_group_count(f->engines), model->numerics);
    else
        fprintf(stderr, "backend cpu, numerics %s%s%s\n", model->numerics,
                model->why_cpu[0] != '\0' ? "; no GPU: " : "", model->why_cpu);
    fprintf(stderr,
            "model %s: %s, %llu parameters, %zu files, %llu bytes, at most %u tokens of context\n",
            model->model_id, model->architecture, (unsigned long long)model->n_parameters,
            model->n_files, (unsigned long long)size, model->max_context);
    if (f->options->no_prefix_cache)
        fprintf(stderr, "prefix cache off\n");
    else
        fprintf(stderr, "prefix cache: prompts with a cache_salt, zeroed after %u idle seconds\n",
                f->options->cache_idle_s);
}

/* The GPUs that the options name; none: one engine, where the backend takes it. */
static struct err choose_gpus(unsigned out[ENGINE_GROUP_MAX], size_t *n,
                              const struct front_options *o, const struct gpu_backend *backend)
{
    unsigned all = 0;
    *n = o->n_gpus;
    if (o->n_gpus > 0)
        memcpy(out, o->gpus, o->n_gpus * sizeof *out);
    if (!o->all_gpus)
        return err_ok();
    if (backend == NULL)
        return err_set(ERR_USAGE, "--gpus all: this program was built without the CUDA backend");
    TRY(backend->driver->count(&all));
    if (all == 0 || all > ENGINE_GROUP_MAX)
        return err_set(ERR_USAGE, "--gpus all: this machine has %u GPUs, not 1 to %d; name them",
                       all, ENGINE_GROUP_MAX);
    for (unsigned i = 0; i < all; i++)
        out[i] = i;
    *n = all;
    return err_ok();
}

/* Profilers that trace a whole machine name a library there, for the driver to load into every
 * program: it would see prompts. The driver looks there whatever the environment says. */
static struct err check_no_tool(const struct engine_options *o)
{
    static const char path[] = "/dev/shm/cuda_injection_path_shm";
    if (o->gpu == NULL || strcmp(o->backend, "cpu") == 0 || access(path, F_OK) != 0)
        return err_ok();
    return err_set(ERR_UNSUPPORTED,
                   "%s asks every program that uses the GPU to load a tool: end the profiler that "
                   "made it, or remove it",
                   path);
}

struct err front_load(struct front *f)
{
    const struct front_options *o = f->options;
    struct engine_options options = {.n_threads = o->n_threads,
                                     .max_requests = o->max_requests,
                                     .max_context = o->max_context,
                                     .no_prefix_cache = o->no_prefix_cache,
                                     .cache_idle_s = o->cache_idle_s,
                                     .backend = o->backend,
                                     .gpu = gpu_backend_built()};
    unsigned gpus[ENGINE_GROUP_MAX];
    size_t n_gpus = 0;
    TRY(check_no_tool(&options));
    TRY(choose_gpus(gpus, &n_gpus, o, options.gpu));
    TRY(engine_group_open(&f->engines, o->model_dir, &options, gpus, n_gpus));
    f->engine = engine_group_at(f->engines, 0);
    f->model = engine_info(f->engine);
    log_model(f);
    TRY(fill_measurement(f));
    return fill_fingerprint(f);
}

/* The next frame that answers something. */
static struct err receive_answer(struct front *f, int channel, struct channel_frame *frame,
                                 struct buf *memory)
{
    for (;;) {
        TRY(channel_receive(channel, frame, memory));
        if (frame->type == CHANNEL_PUBLISHING)
            TRY(publishing_decode(&f->publishing, frame->payload));
        else if (frame->type != CHANNEL_QUOTED)
            return err_ok();
    }
}

/* Sends one request and waits for its answer, which must be of type `expected`. */
static struct err ask(struct front *f, int channel, uint32_t type, struct bytes payload,
                      uint32_t expected, struct buf *answer)
{
    TRY(channel_send(channel, type, 0, payload));
    struct channel_frame frame;
    TRY(receive_answer(f, channel, &frame, answer));
    if (frame.type == CHANNEL_ERROR)
        return channel_error_decode(frame.payload);
    if (frame.type != expected)
        return err_set(ERR_MALFORMED, "the attester answered with a frame of type %u", frame.type);
    return err_ok();
}

static void evidence_auto(struct evidence *e)
{
    evidence_cleanup(e);
}

static struct err log_quote(struct bytes json)
{
    __attribute__((cleanup(evidence_auto))) struct evidence evidence = EVIDENCE_INIT;
    TRY(err_context(evidence_parse(&evidence, json), "the attester's own evidence"));
    struct statement *quote = malloc(sizeof *quote);
    if (quote == NULL)
        abort();
    struct err e = statement_parse(quote, buf_bytes(&evidence.quote));
    if (!is_err(e)) {
        BUF_AUTO name = BUF_INIT;
        buf_append_hex(&name, bytes_of(quote->ak_name.bytes, quote->ak_name.len));
        fprintf(stderr, "attestation key %s, quotes answer\n", buf_str(&name));
    }
    free(quote);
    return e;
}

struct err front_measure(struct front *f, int channel)
{
    TRY(tls_identity_init(&f->tls));
    memcpy(f->measurement.spki_sha256, f->tls.spki_sha256, SHA256_LEN);
    BUF_AUTO spki = BUF_INIT, measurement = BUF_INIT, answer = BUF_INIT, evidence = BUF_INIT;
    buf_append_hex(&spki, bytes_of(f->tls.spki_sha256, SHA256_LEN));
    fprintf(stderr, "TLS key SPKI sha256 %s, in memory only\n", buf_str(&spki));
    measurement_encode(&measurement, &f->measurement);
    TRY(ask(f, channel, CHANNEL_MEASURE, buf_bytes(&measurement), CHANNEL_MEASURED, &answer));
    if (f->options->log_url != NULL)
        return err_ok(); /* quotes answer once its service has taken what we say */
    uint8_t nonce[32];
    random_bytes(nonce, sizeof nonce);
    TRY(ask(f, channel, CHANNEL_QUOTE, bytes_of(nonce, sizeof nonce), CHANNEL_EVIDENCE, &evidence));
    return log_quote(buf_bytes(&evidence));
}

static void append_remarks(struct buf *out, const struct measurement *m)
{
    buf_append_str(out, "# The model, as its files were read:\n");
    for (size_t i = 0; i < m->n_files; i++) {
        buf_append_str(out, "#   ");
        buf_append_hex(out, bytes_of(m->files[i].sha256, SHA256_LEN));
        buf_printf(out, " %llu %s\n", (unsigned long long)m->files[i].size, m->files[i].name);
    }
    buf_append_str(out, "# The code: server binary ");
    buf_append_hex(out, bytes_of(m->server_binary, SHA256_LEN));
    buf_printf(out, ", kernels %s ", m->numerics);
    if (m->has_fatbin)
        buf_append_hex(out, bytes_of(m->fatbin, SHA256_LEN));
    buf_append_str(out, m->has_fatbin ? ", sandbox " : "none, sandbox ");
    buf_append_hex(out, bytes_of(m->sandbox, SHA256_LEN));
    buf_append_str(out, "\n# Compare both with what you built and downloaded yourself.\n");
}

struct err front_policy_lines(struct buf *out, const struct front_options *options)
{
    struct front f = {.options = options};
    struct err e = front_load(&f);
    if (!is_err(e)) {
        append_remarks(out, &f.measurement);
        e = measurement_policy_lines(out, &f.measurement);
    }
    if (!is_err(e)) {
        buf_append_str(out, f.measurement.n_gpus > 0 ? "# The GPUs, as NVML sees them:\n" : "");
        e = attester_gpu_policy_lines(out, &f.measurement);
    }
    measurement_cleanup(&f.measurement);
    engine_group_free(f.engines);
    return e;
}
