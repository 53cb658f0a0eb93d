#include "engine/model_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

enum { READ_CHUNK = 4 << 20 };

struct err model_files_init(struct model_files *f, const char *dir)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return err_errno("cannot open the model folder %s", dir);
    if (!S_ISDIR(st.st_mode))
        return err_set(ERR_USAGE, "%s is not a folder; name the folder that holds config.json",
                       dir);
    struct model_file *items = calloc(MODEL_FILES_MAX, sizeof *items);
    char *copy = strdup(dir);
    if (items == NULL || copy == NULL) {
        free(items);
        free(copy);
        return err_set(ERR_MEMORY, "no memory for the model's list of files");
    }
    *f = (struct model_files){.dir = copy, .items = items};
    return err_ok();
}

void model_files_cleanup(struct model_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->items[i].data.data != NULL)
            munmap((void *)(uintptr_t)f->items[i].data.data, f->items[i].data.len);
    free(f->items);
    free(f->dir);
    *f = (struct model_files){0};
}

bool model_file_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > 255 || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] == '/' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

static struct err open_file(const struct model_files *f, const char *name, int *fd, uint64_t *size)
{
    BUF_AUTO path = BUF_INIT;
    FD_AUTO opened = open(path_join(&path, f->dir, name), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0)
        return err_errno("cannot open %s", buf_str(&path));
    struct stat st;
    if (fstat(opened, &st) != 0)
        return err_errno("cannot look at %s", buf_str(&path));
    if (!S_ISREG(st.st_mode))
        return err_set(ERR_UNSUPPORTED, "%s is not a regular file", buf_str(&path));
    *size = (uint64_t)st.st_size;
    *fd = opened;
    opened = -1;
    return err_ok();
}

struct err model_files_size(const struct model_files *f, const char *name, uint64_t *size)
{
    FD_AUTO fd = -1;
    return open_file(f, name, &fd, size);
}

/* Exactly `size` bytes and then the end. */
static struct err read_hashed(int fd, uint8_t *data, size_t size, uint8_t hash[SHA256_LEN])
{
    struct sha256_stream *stream = sha256_new();
    size_t done = 0;
    struct err e = err_ok();
    while (done < size && !is_err(e)) {
        size_t want = size - done < READ_CHUNK ? size - done : READ_CHUNK;
        e = fd_read_exact(fd, data + done, want);
        if (!is_err(e))
            sha256_update(stream, bytes_of(data + done, want));
        done += want;
    }
    sha256_final(stream, hash);
    sha256_free(stream);
    if (is_err(e))
        return err_set(ERR_IO, "it shrank or failed while it was read (%s); copy it again",
                       err_message());
    uint8_t more;
    e = fd_read_exact(fd, &more, 1);
    if (e.code == ERR_NOT_FOUND) /* the end, as it should be */
        return err_ok();
    TRY(e);
    return err_set(ERR_IO, "it grew while it was read; wait until it is complete");
}

static struct err map_file(const struct model_files *f, const char *name, uint64_t max,
                           struct model_file *file)
{
    FD_AUTO fd = -1;
    uint64_t size = 0;
    TRY(open_file(f, name, &fd, &size));
    if (size > max)
        return err_set(ERR_LIMIT, "it holds %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
                       size, max);
    uint8_t *data = NULL;
    if (size > 0) {
        void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            return err_errno("cannot have %" PRIu64 " bytes of memory", size);
        madvise(map, size, MADV_HUGEPAGE); /* advice: without it everything still works */
        data = map;
    }
    struct err e = read_hashed(fd, data, size, file->info.sha256);
    if (!is_err(e) && size > 0 && mprotect(data, size, PROT_READ) != 0)
        e = err_errno("cannot make the memory read-only");
    if (is_err(e)) {
        if (size > 0)
            munmap(data, size);
        return e;
    }
    file->info.size = size;
    file->data = bytes_of(data, size);
    return err_ok();
}

/* As above for the whole, or for the one folder and for what is in it. */
static bool path_valid(const char *path)
{
    char folder[256];
    const char *slash = strchr(path, '/');
    if (slash == NULL || strlen(path) > 255)
        return model_file_name_valid(path);
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return model_file_name_valid(folder) && model_file_name_valid(slash + 1);
}

struct err model_files_read(struct model_files *f, const char *name, uint64_t max,
                            struct bytes *out)
{
    if (!path_valid(name))
        return err_set(ERR_MALFORMED, "\"%.80s\" is not the name of a file in the model folder",
                       name);
    if (f->n == MODEL_FILES_MAX)
        return err_set(ERR_LIMIT, "the model has more than %d files", MODEL_FILES_MAX);
    struct model_file *file = &f->items[f->n];
    struct err e = map_file(f, name, max, file);
    if (is_err(e))
        return err_context(e, "%s/%s", f->dir, name);
    memcpy(file->info.name, name, strlen(name) + 1);
    f->n++;
    *out = file->data;
    return err_ok();
}

struct err model_files_read_optional(struct model_files *f, const char *name, uint64_t max,
                                     struct bytes *out)
{
    struct err e = model_files_read(f, name, max, out);
    if (e.code == ERR_NOT_FOUND) {
        *out = bytes_of(NULL, 0);
        return err_ok();
    }
    if (!is_err(e) && out->data == NULL)
        *out = bytes_of("", 0); /* it is there, and empty */
    return e;
}

static int compare_names(const void *a, const void *b)
{
    const struct model_file *x = a, *y = b;
    return strcmp(x->info.name, y->info.name); /* compares as unsigned bytes */
}

void model_files_sort(struct model_files *f)
{
    qsort(f->items, f->n, sizeof *f->items, compare_names);
}
