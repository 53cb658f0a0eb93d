/*
 * A main for fuzz targets without libFuzzer: runs every file of the folders that are named, in the
 * order of their names, so that each test run goes through the kept corpora.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

enum { INPUT_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* How many files were run. */
static int replay(const char *folder)
{
    struct dirent **names = NULL;
    int n = scandir(folder, &names, is_visible, alphasort);
    for (int i = 0; i < n; i++) {
        BUF_AUTO path = BUF_INIT, data = BUF_INIT;
        if (is_err(file_read(&data, path_join(&path, folder, names[i]->d_name), INPUT_MAX))) {
            fprintf(stderr, "%s\n", err_message());
            exit(2);
        }
        printf("%s\n", buf_str(&path)); /* the last one printed is the one that failed */
        fflush(stdout);
        uint8_t *exact = malloc(data.len + (data.len == 0)); /* so that reading past it is seen */
        if (exact == NULL)
            exit(2);
        if (data.len > 0)
            memcpy(exact, data.data, data.len);
        LLVMFuzzerTestOneInput(exact, data.len);
        free(exact);
        free(names[i]);
    }
    free(names);
    return n;
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]) <= 0) {
            fprintf(stderr, "%s: no inputs there\n", argv[i]);
            return 2;
        }
    return argc > 1 ? 0 : 2;
}
