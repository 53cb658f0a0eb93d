/* Golden data of tokenizer and chat templates: files of tests/golden, read and parsed. */
#ifndef TESTS_UNIT_TEXT_GOLDEN_H
#define TESTS_UNIT_TEXT_GOLDEN_H

#include <jansson.h>

#include "common/file.h"

static inline void golden_read(struct buf *out, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    assert_false(
        is_err(file_read(out, path_join(&path, BL_SOURCE_DIR "/tests/golden", name), 64 << 20)));
}

static inline json_t *golden_json(const char *name)
{
    BUF_AUTO text = BUF_INIT;
    json_error_t error;
    golden_read(&text, name);
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_ALLOW_NUL, &error);
    if (root == NULL)
        fail_msg("%s: %s, line %d", name, error.text, error.line);
    return root;
}

#endif
