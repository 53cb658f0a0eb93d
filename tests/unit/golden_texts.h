/* For tests: one text of each format of docs/FORMATS.md sections 2 and 3, and ways to spoil it. */
#ifndef TESTS_GOLDEN_TEXTS_H
#define TESTS_GOLDEN_TEXTS_H

#include <string.h>

#include "common/buf.h"

#define HEX_16(byte) byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte
#define HEX_32(byte) HEX_16(byte) HEX_16(byte)
#define AK_NAME "ak-name 000b5ff6652b7ad16f467a9d5cea2208847cd42c8ed38dea6f369e4d380604c028fb\n"
#define BOOT_ID "boot-id " HEX_16("0f") "\n"

#define CONTEXT_HEAD(kind)                                                                         \
    "blindllama-quote-context/v1\n"                                                                \
    "kind " kind "\n" AK_NAME BOOT_ID "origin example.com/log\n"                                   \
    "head 7 " HEX_32("33") "\n"                                                                    \
                           "head-note " HEX_32("44") "\n"

static const char golden_demand[] = CONTEXT_HEAD("demand") "previous 6 " HEX_32(
    "55") "\n"
          "spki-sha256 " HEX_32("66") "\n"
                                      "nonces 3 " HEX_32("77") "\n"
                                                               "period 4\n"
                                                               "time 1750000000\n";
#define CONTEXT_WITHOUT_NONCES(kind)                                                               \
    CONTEXT_HEAD(kind)                                                                             \
    "previous none\n"                                                                              \
    "spki-sha256 " HEX_32("66") "\n"                                                               \
                                "nonces none\n"                                                    \
                                "period 0\n"                                                       \
                                "time 1750000000\n"
static const char golden_periodic[] = CONTEXT_WITHOUT_NONCES("periodic");

static const char golden_host[] = "blindllama-host/v1\n" AK_NAME "ak-public 88 " HEX_32(
    "11") "\n"
          "ek-certificate 1016 " HEX_32(
              "22") "\n"
                    "ek-chain 1100 " HEX_32("33") "\n"
                                                  "ek-chain 1200 " HEX_32(
                                                      "44") "\n"
                                                            "activation 300 " HEX_32("55") "\n";
#define BOOT_LINES                                                                                 \
    AK_NAME BOOT_ID "reset-count 2\n"                                                              \
                    "restart-count 0\n"                                                            \
                    "counter-index 0180b11d\n"                                                     \
                    "counter-attest /1RDRw==\n"                                                    \
                    "counter-signature ABgACw==\n"
static const char golden_boot[] = "blindllama-boot/v1\n" BOOT_LINES;
static const char golden_boot_v2[] =
    "blindllama-boot/v2\n" BOOT_LINES "event-log 2611 " HEX_32("88") "\n";
#define GPU_0 "gpu GPU-00000000-0000-0000-0000-0000000000aa 96.00.9F.00.01 "
#define GPU_1 "gpu GPU-00000000-0000-0000-0000-0000000000bb 96.00.9F.00.01 "
static const char golden_boot_v3[] = "blindllama-boot/v3\n" BOOT_LINES "event-log 2611 " HEX_32(
    "88") "\n"
          "gpu-driver 580.95.05\n" GPU_0 "protected NVIDIA H100 80GB HBM3\n"
          "gpu-chain 3000 " HEX_32("a1") "\n" GPU_1 "open NVIDIA H100 80GB HBM3\n";
static const char golden_identity[] =
    "blindllama-identity/v1\n" AK_NAME BOOT_ID
    "spki-sha256 " HEX_32("66") "\n"
                                "runtime-log 2048 " HEX_32("99") "\n";

#define A_16 "AAAAAAAAAAAAAAAA"
#define A_64 A_16 A_16 A_16 A_16
#define A_640 A_64 A_64 A_64 A_64 A_64 A_64 A_64 A_64 A_64 A_64
/* 512 bytes of zeros: 683 characters and "=". */
#define ZERO_PCRS A_640 A_16 A_16 "AAAAAAAAAAA="
#define QUOTE_LINES_BEFORE                                                                         \
    AK_NAME "pcrs " ZERO_PCRS "\n"                                                                 \
            "attest /1RDRw==\n"                                                                    \
            "signature ABgACw==\n"
#define QUOTE_LINES QUOTE_LINES_BEFORE "context\n"
static const char golden_quote[] =
    "blindllama-quote/v1\n" QUOTE_LINES CONTEXT_WITHOUT_NONCES("periodic");
static const char golden_quote_v2[] =
    "blindllama-quote/v2\n" QUOTE_LINES_BEFORE
    "gpu-report 4117 " HEX_32("a2") "\n"
                                    "context\n" CONTEXT_WITHOUT_NONCES("periodic");
static const char golden_stop[] =
    "blindllama-stop/v1\nmax-duration 600\n" QUOTE_LINES CONTEXT_WITHOUT_NONCES("stop");

/* The first `from` of a text becomes `to`; `reason` is a part of the error's message. */
struct flaw {
    const char *from, *to, *reason;
};

static inline void replace_once(struct buf *out, const char *text, const struct flaw *flaw)
{
    const char *at = strstr(text, flaw->from);
    if (at == NULL)
        return; /* an empty text: the test that expects a reason fails */
    buf_append(out, text, (size_t)(at - text));
    buf_append_str(out, flaw->to);
    buf_append_str(out, at + strlen(flaw->from));
}

#endif
