/* Any bytes as model.safetensors.index.json: refused, or names of files inside the folder, each
 * once and sorted. */
#include <stdlib.h>
#include <string.h>

#include "engine/shards.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct shards s = {0};
    if (!is_err(shards_parse_index(&s, bytes_of(data, len))))
        for (size_t i = 0; i < s.n; i++)
            if (!model_file_name_valid(s.names[i]) ||
                (i > 0 && strcmp(s.names[i - 1], s.names[i]) >= 0))
                abort();
    shards_cleanup(&s);
    return 0;
}
