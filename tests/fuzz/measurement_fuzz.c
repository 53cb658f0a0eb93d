/* Measurements: one text each; what decodes becomes lanes that are valid. */
#include <stdlib.h>

#include "server/measurement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct measurement m;
    if (is_err(measurement_decode(&m, bytes_of(data, size))))
        return 0;
    BUF_AUTO again = BUF_INIT;
    measurement_encode(&again, &m);
    if (!bytes_equal(buf_bytes(&again), bytes_of(data, size)))
        abort();
    struct runtime_log log = RUNTIME_LOG_INIT;
    struct lanes lanes;
    if (is_err(measurement_model_lane(&log, &m)) || is_err(measurement_code_lane(&log, &m)) ||
        is_err(lanes_check(&lanes, &log, false)))
        abort();
    runtime_log_cleanup(&log);
    measurement_cleanup(&m);
    return 0;
}
