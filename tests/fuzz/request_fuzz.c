/* Any bytes as a request to the log service: keys, texts, numbers and blobs are taken as they are
 * stated or refused; what a blob's name is, its bytes hash to. */
#include <stdlib.h>
#include <string.h>

#include "logservice/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_blobs(struct request_blobs *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct blob_ref ref;
        BUF_AUTO again = BUF_INIT;
        blob_ref_of(&ref, buf_bytes(&b->blobs[i]));
        if (is_err(request_blobs_get(b, &ref, &again)) ||
            !bytes_equal(buf_bytes(&again), buf_bytes(&b->blobs[i])))
            abort();
    }
    if (is_err(request_blobs_check(b)))
        abort();
    uint8_t other[SHA256_LEN] = {0};
    struct blob_ref missing = {.size = 1};
    BUF_AUTO none = BUF_INIT;
    memcpy(missing.sha256, other, SHA256_LEN);
    if (!is_err(request_blobs_get(b, &missing, &none)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"session", "statement", "blobs", "boot", NULL};
    REQUEST_JSON_AUTO *request = NULL;
    if (is_err(request_parse(&request, bytes_of(data, size), keys)))
        return 0;
    struct bytes text;
    uint8_t session[32];
    uint64_t index = 0;
    bool there = false;
    if (!is_err(request_text(&text, request, "statement")) && text.len > size)
        abort();
    if (!is_err(request_hex(session, sizeof session, request, "session")) && size < 64)
        abort();
    if (!is_err(request_index(&index, &there, request, "boot")) && index > INT64_MAX)
        abort();
    struct request_blobs *blobs = NULL;
    if (!is_err(request_blobs_take(&blobs, request, NULL)))
        check_blobs(blobs);
    request_blobs_free(blobs);
    return 0;
}
