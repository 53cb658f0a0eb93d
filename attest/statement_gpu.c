#include "attest/statement_gpu.h"

#include <string.h>

static const char *const memories[N_GPU_MEMORIES] = {"protected", "devtools", "open"};

const char *gpu_memory_name(enum gpu_memory memory)
{
    return (size_t)memory < N_GPU_MEMORIES ? memories[memory] : "unknown";
}

bool gpu_word_valid(struct bytes word)
{
    for (size_t i = 0; i < word.len; i++)
        if (word.data[i] <= 0x20 || word.data[i] >= 0x7f)
            return false;
    return word.len > 0;
}

/* "GPU-" and a UUID in lower case: 8, 4, 4, 4 and 12 hex digits. */
bool gpu_uuid_valid(struct bytes uuid)
{
    static const char form[] = "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (uuid.len != GPU_UUID_LEN)
        return false;
    for (size_t i = 0; i < GPU_UUID_LEN; i++) {
        uint8_t c = uuid.data[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (form[i] == 'x' ? !hex : c != (uint8_t)form[i])
            return false;
    }
    return true;
}

static struct err malformed(const struct key_lines *l, const char *what)
{
    return line_context(l, err_set(ERR_MALFORMED, "%s", what));
}

/* A word shorter than `size`, as a C string. */
static bool take_word(char *out, size_t size, struct bytes word)
{
    if (!gpu_word_valid(word) || word.len >= size)
        return false;
    memcpy(out, word.data, word.len);
    out[word.len] = '\0';
    return true;
}

/* Up to the first space, which is consumed. */
static struct bytes next_word(struct reader *r)
{
    const uint8_t *space = reader_left(r) > 0 ? memchr(r->at, ' ', reader_left(r)) : NULL;
    if (space == NULL) {
        r->failed = true;
        return bytes_of("", 0);
    }
    struct bytes word = read_bytes(r, (size_t)(space - r->at));
    read_u8(r);
    return word;
}

static bool take_memory(enum gpu_memory *out, struct bytes word)
{
    for (size_t i = 0; i < N_GPU_MEMORIES; i++)
        if (bytes_equal(word, bytes_of_str(memories[i]))) {
            *out = (enum gpu_memory)i;
            return true;
        }
    return false;
}

/* "<uuid> <vbios> <memory> <name>" */
static struct err read_gpu(struct key_lines *l, struct statement_gpu *gpu)
{
    struct bytes value;
    TRY(line_value(l, &value, "gpu"));
    struct reader r = reader_of(value);
    struct bytes uuid = next_word(&r), vbios = next_word(&r), memory = next_word(&r);
    struct bytes name = read_bytes(&r, reader_left(&r));
    if (r.failed)
        return malformed(l, "a GPU is '<uuid> <VBIOS version> <memory> <name>'");
    if (!gpu_uuid_valid(uuid))
        return malformed(l, "a GPU's UUID is 'GPU-' and 36 characters in lower case");
    memcpy(gpu->uuid, uuid.data, uuid.len);
    if (!take_word(gpu->vbios, sizeof gpu->vbios, vbios))
        return malformed(l, "a VBIOS version is a word of 1 to 31 bytes");
    if (!take_memory(&gpu->memory, memory))
        return malformed(l, "a GPU's memory is 'protected', 'devtools' or 'open'");
    if (!plain_name_valid(name) || name.len >= sizeof gpu->name)
        return malformed(l, "a GPU's name has 1 to 95 bytes");
    memcpy(gpu->name, name.data, name.len);
    if (gpu->memory != GPU_MEMORY_PROTECTED)
        return err_ok();
    TRY(line_blob(l, &gpu->chain, "gpu-chain"));
    return gpu->chain.size <= GPU_CHAIN_MAX
               ? err_ok()
               : malformed(l, "a GPU's certificates have at most 32768 bytes");
}

struct err read_gpus(struct key_lines *l, struct statement_boot *b)
{
    struct bytes driver;
    TRY(line_value(l, &driver, "gpu-driver"));
    if (!take_word(b->gpu_driver, sizeof b->gpu_driver, driver))
        return malformed(l, "a driver's version is a word of 1 to 79 bytes");
    do {
        if (b->n_gpus == STATEMENT_GPUS_MAX)
            return malformed(l, "more than 16 GPUs");
        struct statement_gpu *gpu = &b->gpus[b->n_gpus];
        TRY(read_gpu(l, gpu));
        if (b->n_gpus > 0 && strcmp(gpu[-1].uuid, gpu->uuid) >= 0)
            return malformed(l, "GPUs are not sorted by UUID, or one is there twice");
        b->n_gpus++;
    } while (line_is_next(l, "gpu"));
    return err_ok();
}

struct err read_gpu_reports(struct key_lines *l, struct statement_quote *q)
{
    do {
        if (q->n_gpu_reports == STATEMENT_GPUS_MAX)
            return malformed(l, "more than 16 lines 'gpu-report'");
        struct blob_ref *ref = &q->gpu_reports[q->n_gpu_reports];
        TRY(line_blob(l, ref, "gpu-report"));
        if (ref->size == 0 || ref->size > GPU_REPORT_MAX)
            return malformed(l, "a GPU's report has 1 to 8192 bytes");
        q->n_gpu_reports++;
    } while (line_is_next(l, "gpu-report"));
    return err_ok();
}
