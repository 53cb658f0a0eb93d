/* For tests: logs, lists and quotes of real machines, with what each must give, below
 * BL_SHARED_DIR.
 */
#ifndef TESTS_TPM_DATA_H
#define TESTS_TPM_DATA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/file.h"

static inline const char *tpm_data_path(struct buf *out, const char *name)
{
    buf_clear(out);
    buf_printf(out, "%s/tpmdata/%s", BL_SHARED_DIR, name);
    return buf_str(out);
}

static inline bool tpm_data_there(void)
{
    BUF_AUTO path = BUF_INIT;
    return access(tpm_data_path(&path, "EXPECTED.json"), R_OK) == 0;
}

/* What the data must give; data that is there must be readable. */
static inline json_t *tpm_data_expected(void)
{
    BUF_AUTO path = BUF_INIT;
    json_error_t error;
    json_t *root = json_load_file(tpm_data_path(&path, "EXPECTED.json"), 0, &error);
    if (root == NULL)
        fail_msg("%s: %s", buf_str(&path), error.text);
    return root;
}

static inline void tpm_data_file(struct buf *out, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    if (is_err(file_read(out, tpm_data_path(&path, name), 1 << 24)))
        fail_msg("%s", err_message());
}

#endif
