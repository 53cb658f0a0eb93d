/*
 * An SQLite VFS over the ordinary one, for tests of what the store does when the disk fails: it
 * counts the calls that change files, makes one of them fail, and keeps what a power cut would
 * leave of each file: its bytes at the last sync, and the writes since.
 */
#ifndef TESTS_FAULT_VFS_H
#define TESTS_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

/* A write (or, with data NULL, a cut to `offset` bytes) that no sync has made durable yet. */
struct fault_write {
    uint8_t *data;
    size_t len, offset;
};

/* What the disk is sure to hold of a file, and what it may hold. */
struct fault_image {
    char path[256];
    uint8_t *durable;
    size_t durable_len;
    struct fault_write *writes;
    size_t n_writes;
};

static struct {
    sqlite3_vfs vfs, *real;
    sqlite3_io_methods methods;
    unsigned n_calls; /* changing calls so far */
    unsigned fail_at; /* which of them fails, from 1; 0: none */
    bool persists;    /* it fails, but its work is done all the same */
    bool sticky;      /* every later one fails, too: the disk is full, or gone */
    bool fired;
    void (*before_call)(void); /* or NULL */
    bool recording;            /* keep images */
    struct fault_image images[8];
    size_t n_images;
} fault;

struct fault_file {
    sqlite3_file base;
    struct fault_image *image; /* NULL if not recorded */
    sqlite3_file real[];       /* the ordinary VFS' file, of its own size */
};

static inline sqlite3_file *fault_real(sqlite3_file *f)
{
    return ((struct fault_file *)f)->real;
}

/* True if this call is to fail. */
static inline bool fault_now(void)
{
    if (fault.before_call != NULL)
        fault.before_call();
    fault.n_calls++;
    if (fault.fail_at == 0 || fault.n_calls < fault.fail_at ||
        (!fault.sticky && fault.n_calls > fault.fail_at))
        return false;
    fault.fired = true;
    return true;
}

static inline void fault_image_apply(uint8_t **data, size_t *len, const struct fault_write *w,
                                     size_t part)
{
    size_t end = w->data == NULL ? w->offset : w->offset + part;
    if (w->data == NULL ? true : end > *len) {
        uint8_t *grown = calloc(1, end + 1);
        if (*len > 0)
            memcpy(grown, *data, *len < end ? *len : end);
        free(*data);
        *data = grown;
        *len = end;
    }
    if (w->data != NULL)
        memcpy(*data + w->offset, w->data, part);
}

static inline void fault_record(struct fault_file *f, const void *data, size_t len, size_t offset)
{
    struct fault_image *image = f->image;
    if (image == NULL)
        return;
    image->writes = realloc(image->writes, (image->n_writes + 1) * sizeof image->writes[0]);
    struct fault_write *w = &image->writes[image->n_writes++];
    *w = (struct fault_write){.len = len, .offset = offset};
    if (data != NULL) {
        w->data = malloc(len + 1);
        memcpy(w->data, data, len);
    }
}

static inline void fault_image_sync(struct fault_image *image)
{
    for (size_t i = 0; i < image->n_writes; i++) {
        struct fault_write *w = &image->writes[i];
        fault_image_apply(&image->durable, &image->durable_len, w, w->len);
        free(w->data);
    }
    image->n_writes = 0;
}

static inline int fault_close(sqlite3_file *f)
{
    return fault_real(f)->pMethods->xClose(fault_real(f));
}

static inline int fault_read(sqlite3_file *f, void *data, int len, sqlite3_int64 at)
{
    return fault_real(f)->pMethods->xRead(fault_real(f), data, len, at);
}

static inline int fault_write(sqlite3_file *f, const void *data, int len, sqlite3_int64 at)
{
    bool fails = fault_now();
    if (!fails || fault.persists) {
        fault_record((struct fault_file *)f, data, (size_t)len, (size_t)at);
        int code = fault_real(f)->pMethods->xWrite(fault_real(f), data, len, at);
        if (!fails)
            return code;
    }
    return SQLITE_FULL;
}

static inline int fault_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    bool fails = fault_now();
    if (!fails || fault.persists) {
        fault_record((struct fault_file *)f, NULL, 0, (size_t)size);
        int code = fault_real(f)->pMethods->xTruncate(fault_real(f), size);
        if (!fails)
            return code;
    }
    return SQLITE_IOERR_TRUNCATE;
}

static inline int fault_sync(sqlite3_file *f, int flags)
{
    struct fault_file *file = (struct fault_file *)f;
    bool fails = fault_now();
    if ((!fails || fault.persists) && file->image != NULL)
        fault_image_sync(file->image);
    return fails ? SQLITE_IOERR_FSYNC : fault_real(f)->pMethods->xSync(fault_real(f), flags);
}

static inline int fault_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return fault_real(f)->pMethods->xFileSize(fault_real(f), size);
}

static inline int fault_lock(sqlite3_file *f, int level)
{
    return fault_real(f)->pMethods->xLock(fault_real(f), level);
}

static inline int fault_unlock(sqlite3_file *f, int level)
{
    return fault_real(f)->pMethods->xUnlock(fault_real(f), level);
}

static inline int fault_check_lock(sqlite3_file *f, int *out)
{
    return fault_real(f)->pMethods->xCheckReservedLock(fault_real(f), out);
}

static inline int fault_control(sqlite3_file *f, int what, void *argument)
{
    return fault_real(f)->pMethods->xFileControl(fault_real(f), what, argument);
}

static inline int fault_sector(sqlite3_file *f)
{
    return fault_real(f)->pMethods->xSectorSize(fault_real(f));
}

static inline int fault_traits(sqlite3_file *f)
{
    return fault_real(f)->pMethods->xDeviceCharacteristics(fault_real(f));
}

static inline int fault_shm_map(sqlite3_file *f, int page, int size, int extend,
                                void volatile **out)
{
    return fault_real(f)->pMethods->xShmMap(fault_real(f), page, size, extend, out);
}

static inline int fault_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return fault_real(f)->pMethods->xShmLock(fault_real(f), offset, n, flags);
}

static inline void fault_shm_barrier(sqlite3_file *f)
{
    fault_real(f)->pMethods->xShmBarrier(fault_real(f));
}

static inline int fault_shm_unmap(sqlite3_file *f, int remove)
{
    return fault_real(f)->pMethods->xShmUnmap(fault_real(f), remove);
}

/* The image of `path`, made from the file as it is if it is met for the first time. */
static inline struct fault_image *fault_image_of(const char *path)
{
    for (size_t i = 0; i < fault.n_images; i++)
        if (strcmp(fault.images[i].path, path) == 0)
            return &fault.images[i];
    struct fault_image *image = &fault.images[fault.n_images++];
    snprintf(image->path, sizeof image->path, "%s", path);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return image;
    image->durable = malloc(1 << 20);
    image->durable_len = fread(image->durable, 1, 1 << 20, f);
    fclose(f);
    return image;
}

static inline int fault_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *f, int flags,
                             int *out_flags)
{
    (void)vfs;
    struct fault_file *file = (struct fault_file *)f;
    bool kept = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0;
    file->image = fault.recording && kept ? fault_image_of(path) : NULL;
    int code = fault.real->xOpen(fault.real, path, fault_real(f), flags, out_flags);
    f->pMethods = code == SQLITE_OK ? &fault.methods : NULL;
    return code;
}

static inline int fault_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
    (void)vfs;
    bool fails = fault_now();
    int code = SQLITE_IOERR_DELETE;
    if (!fails || fault.persists)
        code = fault.real->xDelete(fault.real, path, sync_folder);
    return fails ? SQLITE_IOERR_DELETE : code;
}

/* Makes this the VFS of every connection opened from now on. */
static inline void fault_install(void)
{
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.zName = "fault";
    fault.vfs.szOsFile = (int)sizeof(struct fault_file) + fault.real->szOsFile;
    fault.vfs.xOpen = fault_open;
    fault.vfs.xDelete = fault_delete;
    fault.methods = (sqlite3_io_methods){2,
                                         fault_close,
                                         fault_read,
                                         fault_write,
                                         fault_truncate,
                                         fault_sync,
                                         fault_size,
                                         fault_lock,
                                         fault_unlock,
                                         fault_check_lock,
                                         fault_control,
                                         fault_sector,
                                         fault_traits,
                                         fault_shm_map,
                                         fault_shm_lock,
                                         fault_shm_barrier,
                                         fault_shm_unmap,
                                         NULL,
                                         NULL};
    sqlite3_vfs_register(&fault.vfs, 1);
}

enum fault_kind { FAULT_LOST, FAULT_PERSISTS, FAULT_STICKY };

/* From now on, call number `n` (from 1) fails; 0: none. */
static inline void fault_arm(unsigned n, enum fault_kind kind)
{
    fault.n_calls = 0;
    fault.fail_at = n;
    fault.persists = kind == FAULT_PERSISTS;
    fault.sticky = kind == FAULT_STICKY;
    fault.fired = false;
}

static inline void fault_forget(void)
{
    for (size_t i = 0; i < fault.n_images; i++) {
        fault_image_sync(&fault.images[i]);
        free(fault.images[i].writes);
        free(fault.images[i].durable);
        fault.images[i] = (struct fault_image){.n_writes = 0};
    }
    fault.n_images = 0;
}

/* Writes to `path` what a power cut could leave of the image: its durable bytes and some of the
 * writes since, each whole or torn at a sector. */
static inline void fault_leave(const struct fault_image *image, const char *path)
{
    uint8_t *data = malloc(image->durable_len + 1);
    size_t len = image->durable_len;
    if (len > 0)
        memcpy(data, image->durable, len);
    for (size_t i = 0; i < image->n_writes; i++) {
        const struct fault_write *w = &image->writes[i];
        size_t part = w->len;
        if (rand() % 4 == 0)
            part = part / 512 * (size_t)(rand() % 512) / 512 * 512;
        if (rand() % 3 != 0)
            fault_image_apply(&data, &len, w, part);
    }
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        abort();
    free(data);
}

#endif
