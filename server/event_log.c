#include "server/event_log.h"

#include <stdio.h>
#include <string.h>

#include "attest/eventlog.h"
#include "attest/statement.h"
#include "common/file.h"
#include "common/text.h"

/* "device", "device:", "device:/dev/tpm<N>" or "device:/dev/tpmrm<N>"; the first two mean TPM 0. */
static bool device_number(uint64_t *out, const char *tcti)
{
    static const char *const prefixes[] = {"device:/dev/tpmrm", "device:/dev/tpm"};
    const uint64_t max = 255;
    *out = 0;
    if (strcmp(tcti, "device") == 0 || strcmp(tcti, "device:") == 0)
        return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(tcti, prefixes[i], len) == 0 &&
            !is_err(decimal_decode(out, bytes_of_str(tcti + len), max)))
            return true;
    }
    return false;
}

bool event_log_path(char out[EVENT_LOG_PATH_MAX], const char *tcti)
{
    uint64_t number;
    if (!device_number(&number, tcti))
        return false;
    snprintf(out, EVENT_LOG_PATH_MAX, "/sys/kernel/security/tpm%u/binary_bios_measurements",
             (unsigned)number);
    return true;
}

struct err event_log_read(struct buf *out, const char *path)
{
    BUF_AUTO data = BUF_INIT;
    TRY(file_read(&data, path, BOOT_EVENT_LOG_MAX));
    __attribute__((cleanup(eventlog_cleanup))) struct eventlog log = EVENTLOG_INIT;
    TRY(err_context(eventlog_parse(&log, buf_bytes(&data)), "%s", path));
    buf_append_bytes(out, buf_bytes(&data));
    return err_ok();
}
