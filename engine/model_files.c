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
#include "common/text.h"
#include "engine/read_hashed.h"
#include "engine/safetensors.h"

#define WEIGHTS_SUFFIX ".safetensors"
enum { CACHE_LINE = 64 };

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

/* The mapping in which a file lies: from the page where it begins; where it does not begin a page,
 * with one more than it needs (read_hashed.h). */
struct mapping {
    void *at;
    size_t len;
};

static size_t mapping_len(size_t size, size_t skew)
{
    return size + (skew > 0 ? READ_HASHED_PAGE : 0);
}

static struct mapping mapping_of(const uint8_t *data, size_t size)
{
    size_t skew = (uintptr_t)data % READ_HASHED_PAGE;
    return (struct mapping){(void *)((uintptr_t)data - skew), mapping_len(size, skew)};
}

static void unmap(const uint8_t *data, size_t size)
{
    const struct mapping m = mapping_of(data, size);
    if (data != NULL)
        munmap(m.at, m.len);
}

/* Forgets the files from place `first` on. */
static void drop_from(struct model_files *f, size_t first)
{
    for (size_t i = first; i < f->n; i++)
        unmap(f->items[i].data.data, f->items[i].data.len);
    f->n = first < f->n ? first : f->n;
}

void model_files_cleanup(struct model_files *f)
{
    drop_from(f, 0);
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

/* How far behind a cache line a safetensors file must begin for its data to begin one: its header
 * ends at any multiple of 8, and vectors of weights that lie across two lines cost two reads. A
 * guess that is checked by nobody: what the file holds is read after it. */
static size_t skew_of(int fd, const char *name)
{
    uint8_t prefix[SAFETENSORS_PREFIX_LEN];
    size_t header_len = 0, len = strlen(name), suffix = strlen(WEIGHTS_SUFFIX);
    if (len < suffix || strcmp(name + len - suffix, WEIGHTS_SUFFIX) != 0 ||
        pread(fd, prefix, sizeof prefix, 0) != sizeof prefix ||
        is_err(safetensors_header_len(&header_len, bytes_of(prefix, sizeof prefix))))
        return 0;
    return (CACHE_LINE - (sizeof prefix + header_len) % CACHE_LINE) % CACHE_LINE;
}

/* Memory for one file, and the file opened. */
static struct err prepare(const struct model_files *f, const char *name, uint64_t max,
                          struct hashed_file *file)
{
    FD_AUTO fd = -1;
    uint64_t size = 0;
    TRY(open_file(f, name, &fd, &size));
    if (size > max)
        return err_set(ERR_LIMIT, "it holds %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
                       size, max);
    if (size > 0) {
        size_t skew = skew_of(fd, name), len = mapping_len(size, skew);
        uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            return err_errno("cannot have %" PRIu64 " bytes of memory", size);
        madvise(map, len, MADV_HUGEPAGE); /* advice: without it everything still works */
        file->data = map + skew;
    }
    file->size = size;
    file->fd = fd;
    fd = -1;
    return err_ok();
}

/* What was prepared and not handed over. */
struct jobs {
    struct hashed_file *at;
    size_t n;
};

static void jobs_cleanup(struct jobs *j)
{
    for (size_t i = 0; i < j->n; i++) {
        if (j->at[i].fd >= 0)
            close(j->at[i].fd);
        unmap(j->at[i].data, j->at[i].size);
    }
    free(j->at);
}

/* The file's memory becomes read-only and the list's. */
static struct err hand_over(struct model_file *to, const char *name, struct hashed_file *from)
{
    const struct mapping m = mapping_of(from->data, from->size);
    if (from->size > 0 && mprotect(m.at, m.len, PROT_READ) != 0)
        return err_errno("cannot make the memory read-only");
    memcpy(to->info.name, name, strlen(name) + 1);
    memcpy(to->info.sha256, from->sha256, SHA256_LEN);
    to->info.size = from->size;
    to->data = bytes_of(from->data, from->size);
    from->data = NULL;
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

static struct err check_name(const char *name)
{
    char shown[84];
    return path_valid(name)
               ? err_ok()
               : err_set(ERR_MALFORMED, "\"%s\" is not the name of a file in the model folder",
                         printable(shown, bytes_of_str(name)));
}

static struct err in_folder(const struct model_files *f, struct err e, const char *name)
{
    return is_err(e) ? err_context(e, "%s/%s", f->dir, name) : e;
}

struct err model_files_read_all(struct model_files *f, const char *const *names, size_t n,
                                uint64_t max, unsigned n_threads)
{
    struct jobs jobs __attribute__((cleanup(jobs_cleanup))) = {calloc(n, sizeof *jobs.at), 0};
    size_t failed = 0;
    if (jobs.at == NULL && n > 0)
        return err_set(ERR_MEMORY, "no memory to read %zu files", n);
    if (n > MODEL_FILES_MAX - f->n)
        return err_set(ERR_LIMIT, "the model has more than %d files", MODEL_FILES_MAX);
    for (; jobs.n < n; jobs.n++) {
        jobs.at[jobs.n].fd = -1;
        TRY(check_name(names[jobs.n]));
        TRY(in_folder(f, prepare(f, names[jobs.n], max, &jobs.at[jobs.n]), names[jobs.n]));
    }
    struct err e = read_hashed(jobs.at, n, n_threads, &failed);
    if (is_err(e))
        return in_folder(f, e, names[failed]);
    size_t before = f->n;
    for (size_t i = 0; i < n; i++) {
        e = hand_over(&f->items[f->n], names[i], &jobs.at[i]);
        if (is_err(e)) {
            drop_from(f, before);
            return in_folder(f, e, names[i]);
        }
        f->n++;
    }
    return err_ok();
}

struct err model_files_read(struct model_files *f, const char *name, uint64_t max,
                            struct bytes *out)
{
    TRY(model_files_read_all(f, &name, 1, max, 1));
    *out = f->items[f->n - 1].data;
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

struct err model_files_open(struct model_files *f, const char *name, struct parted_file *out)
{
    FD_AUTO fd = -1;
    uint64_t size = 0;
    void *map = NULL;
    struct model_file *to = &f->items[f->n];
    TRY(check_name(name));
    if (f->n == MODEL_FILES_MAX)
        return err_set(ERR_LIMIT, "the model has more than %d files", MODEL_FILES_MAX);
    TRY(in_folder(f, open_file(f, name, &fd, &size), name));
    if (size > 0)
        map = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return in_folder(f, err_errno("cannot have addresses for %" PRIu64 " bytes", size), name);
    *to = (struct model_file){.info.size = size, .data = bytes_of(map, size)};
    memcpy(to->info.name, name, strlen(name) + 1);
    f->n++;
    parted_file_init(out, fd, size);
    fd = -1;
    return err_ok();
}

struct err model_files_reopen(const struct model_files *f, const char *name,
                              struct parted_file *out)
{
    FD_AUTO fd = -1;
    uint64_t size = 0;
    const struct model_file *before = model_files_find(f, name);
    TRY(in_folder(f, open_file(f, name, &fd, &size), name));
    if (before == NULL || before->info.size != size)
        return err_set(ERR_UNTRUE, "%s/%s is not the file that was measured: its size has changed",
                       f->dir, name);
    parted_file_init(out, fd, size);
    fd = -1;
    return err_ok();
}

void model_files_drop(struct model_files *f, size_t n)
{
    drop_from(f, f->n - n);
}

struct model_file *model_files_find(const struct model_files *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->items[i].info.name, name) == 0)
            return &f->items[i];
    return NULL;
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
