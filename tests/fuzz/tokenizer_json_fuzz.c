/* Any bytes as tokenizer.json: loaded or refused; what is loaded encodes and decodes. */
#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *t = NULL;
    if (is_err(tokenizer_new(&t, bytes_of(data, size))))
        return 0;
    BUF_AUTO ids = BUF_INIT, out = BUF_INIT;
    struct detokenizer d = {0};
    (void)is_err(tokenizer_encode(t, &ids, bytes_of_str("a <b> ab\n 1\xc3\xa9"), true, true));
    for (size_t i = 0; i < ids.len / 4; i++)
        (void)is_err(detokenizer_next(&d, t, ((const uint32_t *)(const void *)ids.data)[i], &out));
    detokenizer_finish(&d, &out);
    tokenizer_free(t);
    return 0;
}
