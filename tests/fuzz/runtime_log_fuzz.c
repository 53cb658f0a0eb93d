/* Any text as a runtime log: what is accepted is written back as it was, and its lanes are judged.
 */
#include <stdlib.h>

#include "attest/runtime_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct runtime_log log;
    if (is_err(runtime_log_parse(&log, bytes_of(data, len))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    runtime_log_format_header(&again);
    for (size_t i = 0; i < log.n_records; i++)
        runtime_log_format_record(&again, log.records[i].pcr, log.records[i].kind,
                                  log.records[i].data);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, len)))
        abort();
    struct lanes lanes;
    uint8_t pcrs[3][SHA256_LEN];
    struct err e = lanes_check(&lanes, &log, false);
    (void)e;
    runtime_log_replay(pcrs, &log, log.n_records);
    runtime_log_cleanup(&log);
    return 0;
}
