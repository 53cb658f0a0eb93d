/* The GPUs of fake hosts: two that are protected, what is said of them, and their reports. */
#include "fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/gpu_make.h"

static struct gpu_keys keys;

static void free_keys(void)
{
    gpu_keys_cleanup(&keys);
}

const struct gpu_keys *fake_gpu_keys(void)
{
    if (keys.root == NULL) {
        gpu_keys_init(&keys);
        atexit(free_keys);
    }
    return &keys;
}

static void refer(struct fake_world *w, struct blob_ref *out, struct bytes blob)
{
    blob_ref_of(out, blob);
    fake_add_blob(w, blob);
}

void fake_say_gpus(struct fake_world *w, struct statement_boot *b)
{
    b->n_gpus = w->n_gpus;
    strcpy(b->gpu_driver, "580.95.05");
    for (size_t i = 0; i < w->n_gpus; i++) {
        struct statement_gpu *gpu = &b->gpus[i];
        BUF_AUTO chain = BUF_INIT;
        snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%08x-0000-0000-0000-000000000000",
                 (unsigned)i & 0xff);
        strcpy(gpu->vbios, "96.00.9f.00.01"); /* reports say it in capitals */
        strcpy(gpu->name, "NVIDIA H100 80GB HBM3");
        gpu->memory = GPU_MEMORY_PROTECTED;
        make_gpu_chain(&chain, fake_gpu_keys(), i);
        fake_run(w, FAKE_GPU_CHAIN, FAKE_BOOT, &chain);
        refer(w, &gpu->chain, buf_bytes(&chain));
    }
}

void fake_add_reports(struct fake_world *w, enum fake_what what, struct statement_quote *q,
                      const uint8_t extra[SHA256_LEN])
{
    for (size_t i = 0; i < w->n_gpus; i++) {
        struct gpu_report_shape shape = {
            .driver = "580.95.05", .vbios = GPU_VBIOS, .key = fake_gpu_keys()->gpus[i]};
        BUF_AUTO report = BUF_INIT;
        memcpy(shape.nonce, extra, sizeof shape.nonce);
        fake_run(w, FAKE_GPU_SHAPE, what, &shape);
        make_gpu_report(&report, &shape);
        fake_run(w, FAKE_GPU_REPORT, what, &report);
        refer(w, &q->gpu_reports[q->n_gpu_reports++], buf_bytes(&report));
    }
}

void fake_gpu_policy(struct fake_world *w, struct buf *out)
{
    uint8_t root[SHA256_LEN];
    (void)w;
    sha256(root, buf_bytes(&fake_gpu_keys()->root_certificate));
    buf_append_str(out, "gpu-driver 580.95.05\ngpu-vbios 96.00.9f.00.01\ngpu-root ");
    buf_append_hex(out, bytes_of(root, sizeof root));
    buf_append_str(out, "\n");
}
