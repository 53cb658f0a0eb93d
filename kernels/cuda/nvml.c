/*
 * Names, values and layouts are those of nvml.h, part of the CUDA toolkit (NVML API reference,
 * "Device Queries" and "Confidential Compute"); structures and constants since R535.
 */
#include "kernels/cuda/nvml.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUCCESS = 0,
    ERROR_NOT_SUPPORTED = 3,
    ERROR_NOT_FOUND = 6,
    CERTIFICATES_MAX = 0x1400,
    OTHER_CERTIFICATES_MAX = 0x1000,
    REPORT_MAX = 0x2000,
    CEC_REPORT_MAX = 0x1000,
};

struct device; /* NVML's handle of a GPU points to one */

struct state { /* nvmlConfComputeSystemState_t */
    unsigned environment, feature, devtools;
};

struct certificates { /* nvmlConfComputeGpuCertificate_t */
    unsigned other_len, len;
    uint8_t other[OTHER_CERTIFICATES_MAX]; /* of the session's key, not of the reports' */
    uint8_t pem[CERTIFICATES_MAX];
};

struct report { /* nvmlConfComputeGpuAttestationReport_t */
    unsigned cec_is_there, len, cec_len;
    uint8_t nonce[NVML_NONCE_LEN];
    uint8_t bytes[REPORT_MAX];
    uint8_t cec[CEC_REPORT_MAX]; /* of a controller that some boards have; not asked for here */
};

/* The library's functions, by their names there. */
struct nvml {
    void *library;
    int (*nvmlInit_v2)(void);
    int (*nvmlShutdown)(void);
    const char *(*nvmlErrorString)(int result);
    int (*nvmlSystemGetDriverVersion)(char *out, unsigned len);
    int (*nvmlSystemGetConfComputeState)(struct state *out);
    int (*nvmlDeviceGetHandleByUUID)(const char *uuid, struct device **out);
    int (*nvmlDeviceGetName)(struct device *d, char *out, unsigned len);
    int (*nvmlDeviceGetVbiosVersion)(struct device *d, char *out, unsigned len);
    int (*nvmlDeviceGetConfComputeGpuCertificate)(struct device *d, struct certificates *out);
    int (*nvmlDeviceGetConfComputeGpuAttestationReport)(struct device *d, struct report *in_out);
};

static struct err find(void *library, const char *name, void *out)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        return err_set(ERR_UNSUPPORTED,
                       "the NVIDIA driver's libnvidia-ml.so.1 lacks %s: it is too old; install the "
                       "one of the driver that CUDA uses",
                       name);
    memcpy(out, &symbol, sizeof symbol);
    return err_ok();
}

static struct err find_all(struct nvml *n)
{
#define FIND(name) TRY(find(n->library, #name, &n->name))
    FIND(nvmlInit_v2);
    FIND(nvmlShutdown);
    FIND(nvmlErrorString);
    FIND(nvmlSystemGetDriverVersion);
    FIND(nvmlSystemGetConfComputeState);
    FIND(nvmlDeviceGetHandleByUUID);
    FIND(nvmlDeviceGetName);
    FIND(nvmlDeviceGetVbiosVersion);
    FIND(nvmlDeviceGetConfComputeGpuCertificate);
    FIND(nvmlDeviceGetConfComputeGpuAttestationReport);
#undef FIND
    return err_ok();
}

static struct err check(const struct nvml *n, int result, const char *what)
{
    if (result == SUCCESS)
        return err_ok();
    const char *text = n->nvmlErrorString(result);
    return err_set(result == ERROR_NOT_FOUND ? ERR_NOT_FOUND : ERR_IO, "NVML cannot %s: %s (%d)",
                   what, text != NULL ? text : "no reason given", result);
}

static struct err open_library(struct nvml *n)
{
    n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (n->library == NULL)
        return err_set(
            ERR_NOT_FOUND,
            "there is no NVML here (%s): install libnvidia-ml.so.1, which belongs to the "
            "NVIDIA driver",
            dlerror());
    TRY(find_all(n));
    return check(n, n->nvmlInit_v2(), "start");
}

struct err nvml_open(struct nvml **out)
{
    struct nvml *n = calloc(1, sizeof *n);
    if (n == NULL)
        return err_set(ERR_MEMORY, "no memory for NVML");
    struct err e = open_library(n);
    if (is_err(e)) {
        if (n->library != NULL)
            dlclose(n->library);
        free(n);
        return e;
    }
    *out = n;
    return err_ok();
}

void nvml_close(struct nvml *n)
{
    if (n == NULL)
        return;
    (void)n->nvmlShutdown();
    dlclose(n->library);
    free(n);
}

struct err nvml_driver_version(struct nvml *n, char out[80])
{
    char version[80] = "";
    TRY(check(n, n->nvmlSystemGetDriverVersion(version, sizeof version),
              "tell the driver's version"));
    version[sizeof version - 1] = '\0';
    memcpy(out, version, sizeof version);
    return err_ok();
}

struct err nvml_confidential(struct nvml *n, enum nvml_confidential *out)
{
    struct state state = {0};
    int result = n->nvmlSystemGetConfComputeState(&state);
    if (result != ERROR_NOT_SUPPORTED)
        TRY(check(n, result, "tell the state of confidential computing"));
    if (result == ERROR_NOT_SUPPORTED || state.feature == 0)
        *out = NVML_CONFIDENTIAL_OFF;
    else
        *out = state.devtools == 0 ? NVML_CONFIDENTIAL_ON : NVML_CONFIDENTIAL_DEVTOOLS;
    return err_ok();
}

static struct err find_device(struct nvml *n, struct device **out, const char *uuid)
{
    return err_context(check(n, n->nvmlDeviceGetHandleByUUID(uuid, out), "find the GPU"), "%s",
                       uuid);
}

struct err nvml_describe(struct nvml *n, struct nvml_gpu *out, const char *uuid)
{
    struct nvml_gpu gpu = {0};
    struct device *d = NULL;
    TRY(find_device(n, &d, uuid));
    TRY(check(n, n->nvmlDeviceGetName(d, gpu.name, sizeof gpu.name), "tell the GPU's name"));
    TRY(check(n, n->nvmlDeviceGetVbiosVersion(d, gpu.vbios, sizeof gpu.vbios),
              "tell the VBIOS version"));
    gpu.name[sizeof gpu.name - 1] = gpu.vbios[sizeof gpu.vbios - 1] = '\0';
    *out = gpu;
    return err_ok();
}

struct err nvml_certificates(struct nvml *n, struct buf *out, const char *uuid)
{
    struct certificates c = {0};
    struct device *d = NULL;
    TRY(find_device(n, &d, uuid));
    TRY(check(n, n->nvmlDeviceGetConfComputeGpuCertificate(d, &c), "give the GPU's certificates"));
    if (c.len == 0 || c.len > sizeof c.pem)
        return err_set(ERR_IO, "NVML gives %u bytes of certificates for %s, not 1 to %zu", c.len,
                       uuid, sizeof c.pem);
    buf_append(out, c.pem, c.len);
    return err_ok();
}

struct err nvml_report(struct nvml *n, struct buf *out, const char *uuid,
                       const uint8_t nonce[NVML_NONCE_LEN])
{
    struct report r = {0};
    struct device *d = NULL;
    memcpy(r.nonce, nonce, sizeof r.nonce);
    TRY(find_device(n, &d, uuid));
    TRY(check(n, n->nvmlDeviceGetConfComputeGpuAttestationReport(d, &r), "give the GPU's report"));
    if (r.len == 0 || r.len > sizeof r.bytes)
        return err_set(ERR_IO, "NVML gives a report of %u bytes for %s, not 1 to %zu", r.len, uuid,
                       sizeof r.bytes);
    buf_append(out, r.bytes, r.len);
    return err_ok();
}
