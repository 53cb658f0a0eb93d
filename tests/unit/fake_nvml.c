/*
 * A libnvidia-ml.so.1 for tests, with two GPUs whose UUIDs end in 0 and 1. What it says lies in
 * files of the folder that BL_FAKE_NVML names, or its own, read at each call: `driver`, `vbios`,
 * `confidential` (environment, feature and debuggers as three digits), `fails` (NAME:CODE, a
 * function and how it fails), `chain-<n>.pem`, `key-<n>.pem`, `report` (what is XORed into the
 * nonce that a report is over, or how many bytes it has). Built with FAKE_LACKS_MOST it is a
 * library that is incomplete.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

int nvmlInit_v2(void);

#ifdef FAKE_LACKS_MOST

EXPORT int nvmlInit_v2(void)
{
    return 0;
}

#else

#include "tests/unit/gpu_make.h"

static void find_folder(char out[400])
{
    Dl_info self;
    const char *named = getenv("BL_FAKE_NVML");
    if (named == NULL && dladdr((void *)(size_t)nvmlInit_v2, &self) == 0)
        abort();
    snprintf(out, 400, "%s", named != NULL ? named : self.dli_fname);
    if (named == NULL)
        *strrchr(out, '/') = '\0';
}

/* The text of a file; "" where there is none. */
static char *read_text(char out[8192], const char *name)
{
    char folder[400], path[512];
    find_folder(folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    size_t len = f != NULL ? fread(out, 1, 8191, f) : 0;
    if (f != NULL)
        fclose(f);
    out[len] = '\0';
    return out;
}

static int result_of(const char *name)
{
    char text[8192];
    const char *fails = read_text(text, "fails");
    size_t len = strlen(name);
    if (strncmp(fails, name, len) == 0 && fails[len] == ':')
        return atoi(fails + len + 1);
    return 0;
}

EXPORT int nvmlInit_v2(void)
{
    return result_of("nvmlInit_v2");
}

int nvmlShutdown(void);
EXPORT int nvmlShutdown(void)
{
    return 0;
}

const char *nvmlErrorString(int result);
EXPORT const char *nvmlErrorString(int result)
{
    return result == 999 ? "Unknown Error" : "as the test wants it";
}

int nvmlSystemGetDriverVersion(char *out, unsigned len);
EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned len)
{
    char text[8192];
    snprintf(out, len, "%.79s", read_text(text, "driver"));
    return result_of("nvmlSystemGetDriverVersion");
}

int nvmlSystemGetConfComputeState(unsigned *out);
EXPORT int nvmlSystemGetConfComputeState(unsigned *out)
{
    char text[8192];
    read_text(text, "confidential");
    for (int i = 0; i < 3 && text[i] != '\0'; i++)
        out[i] = (unsigned)(text[i] - '0');
    return result_of("nvmlSystemGetConfComputeState");
}

/* A handle is the last digit's character, so never NULL. */
int nvmlDeviceGetHandleByUUID(const char *uuid, void **out);
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **out)
{
    char last = uuid[strlen(uuid) - 1];
    if (strncmp(uuid, "GPU-", 4) != 0 || (last != '0' && last != '1'))
        return 6; /* NVML_ERROR_NOT_FOUND */
    *out = (void *)(size_t)last;
    return result_of("nvmlDeviceGetHandleByUUID");
}

int nvmlDeviceGetName(void *d, char *out, unsigned len);
EXPORT int nvmlDeviceGetName(void *d, char *out, unsigned len)
{
    snprintf(out, len, "a GPU of a test, %c", (char)(size_t)d);
    return result_of("nvmlDeviceGetName");
}

int nvmlDeviceGetVbiosVersion(void *d, char *out, unsigned len);
EXPORT int nvmlDeviceGetVbiosVersion(void *d, char *out, unsigned len)
{
    char text[8192];
    (void)d;
    snprintf(out, len, "%.31s", read_text(text, "vbios"));
    return result_of("nvmlDeviceGetVbiosVersion");
}

/* Two lengths, then 0x1000 and 0x1400 bytes. */
int nvmlDeviceGetConfComputeGpuCertificate(void *d, uint8_t *out);
EXPORT int nvmlDeviceGetConfComputeGpuCertificate(void *d, uint8_t *out)
{
    char text[8192], name[32];
    snprintf(name, sizeof name, "chain-%c.pem", (char)(size_t)d);
    unsigned len = (unsigned)strlen(read_text(text, name));
    memcpy(out + 4, &len, sizeof len);
    if (len <= 0x1400)
        memcpy(out + 8 + 0x1000, text, len);
    return result_of("nvmlDeviceGetConfComputeGpuCertificate");
}

static EVP_PKEY *read_key(void *d)
{
    char text[8192], name[32];
    snprintf(name, sizeof name, "key-%c.pem", (char)(size_t)d);
    read_text(text, name);
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return key;
}

/* Three unsigned, a nonce of 32 bytes, then 0x2000 and 0x1000 bytes. */
int nvmlDeviceGetConfComputeGpuAttestationReport(void *d, uint8_t *in_out);
EXPORT int nvmlDeviceGetConfComputeGpuAttestationReport(void *d, uint8_t *in_out)
{
    char text[8192], driver[8192];
    struct gpu_report_shape shape = {
        .driver = read_text(driver, "driver"), .vbios = GPU_VBIOS, .key = read_key(d)};
    int other = atoi(read_text(text, "report"));
    BUF_AUTO report = BUF_INIT;
    memcpy(shape.nonce, in_out + 12, sizeof shape.nonce);
    shape.nonce[0] ^= (uint8_t)(other < 256 ? other : 0);
    make_gpu_report(&report, &shape);
    unsigned len = other < 256 ? (unsigned)report.len : (unsigned)other;
    memcpy(in_out + 4, &len, sizeof len);
    memcpy(in_out + 44, report.data, report.len);
    EVP_PKEY_free(shape.key);
    return result_of("nvmlDeviceGetConfComputeGpuAttestationReport");
}

#endif
