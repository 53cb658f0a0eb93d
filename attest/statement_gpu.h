/*
 * The lines of boot and quote statements that speak of GPUs (docs/FORMATS.md sections 2.2 and 2.4).
 * For statement.c and statement_gpu.c only.
 */
#ifndef ATTEST_STATEMENT_GPU_H
#define ATTEST_STATEMENT_GPU_H

#include "attest/key_lines.h"
#include "attest/statement.h"

/* "<size> <hex SHA-256>" */
struct err line_blob(struct key_lines *l, struct blob_ref *out, const char *key) MUST_USE;

/* `gpu-driver`, then 1 to STATEMENT_GPUS_MAX GPUs. */
struct err read_gpus(struct key_lines *l, struct statement_boot *b) MUST_USE;
/* 1 to STATEMENT_GPUS_MAX lines `gpu-report`. */
struct err read_gpu_reports(struct key_lines *l, struct statement_quote *q) MUST_USE;

#endif
