/* Any bytes as the next statement of a host that is known: what nobody's TPM has signed is not
 * admitted, but for host and identity statements, which carry no signature. */
#include <stdlib.h>
#include <string.h>

#include "attest/admission.h"
#include "fake_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fake_world world;
static struct policy policy;

static struct err blobs(void *context, const struct blob_ref *ref, struct buf *out)
{
    BUF_AUTO bytes = BUF_INIT;
    TRY(fake_blob(context, ref->sha256, &bytes));
    if (ref->size != BLOB_SIZE_UNKNOWN)
        TRY(blob_ref_check(ref, buf_bytes(&bytes)));
    buf_append_bytes(out, buf_bytes(&bytes));
    return err_ok();
}

static void make_world(void)
{
    BUF_AUTO text = BUF_INIT;
    fake_world_init(&world, NULL);
    fake_start(&world, 0);
    fake_policy_text(&world, &text);
    if (is_err(policy_parse(&policy, buf_bytes(&text))))
        abort();
}

static bool is_logged(struct bytes statement)
{
    for (size_t i = 0; i < world.n_entries; i++)
        if (bytes_equal(buf_bytes(&world.entries[i]), statement))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (world.n_entries == 0)
        make_world();
    struct admission *a = NULL;
    if (is_err(admission_new(&a, &policy, buf_bytes(&world.entries[0]), blobs, &world)) ||
        is_err(admission_check(a, buf_bytes(&world.entries[1]), blobs, &world)) ||
        is_err(admission_check(a, buf_bytes(&world.entries[2]), blobs, &world)))
        abort();
    struct bytes text = bytes_of(data, size);
    static struct statement s;
    if (!is_err(admission_check(a, text, blobs, &world)) && !is_logged(text) &&
        (is_err(statement_parse(&s, text)) ||
         (s.kind != STATEMENT_HOST && s.kind != STATEMENT_IDENTITY && s.kind != STATEMENT_STOP)))
        abort();
    admission_free(a);
    return 0;
}
