#include "engine/file_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/file.h"

/* What is copied and then hashed should still be in the core's own cache; what is read past the
 * page cache should keep a disk busy. */
enum {
    COPIED = 256 << 10,
    PART = FILE_READER_PIECE_MAX, /* read in one way or the other */
    BLOCK = 4096,                 /* reads past the page cache begin and end at multiples of it */
    HINT = 32 << 20,
    SAMPLES = 16,
    LINE = 64,
};

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Looks at some pages of what is to be read. They are mapped, but never touched. */
static bool is_cold(int fd, size_t at, size_t len)
{
    size_t n_pages = (len + BLOCK - 1) / BLOCK, n = min(n_pages, SAMPLES), n_missing = 0;
    if (len == 0)
        return false;
    uint8_t *map = mmap(NULL, len, PROT_NONE, MAP_SHARED, fd, (off_t)at);
    if (map == MAP_FAILED)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char there = 1;
        if (mincore(map + n_pages * i / n * BLOCK, 1, &there) == 0 && (there & 1) == 0)
            n_missing++;
    }
    munmap(map, len);
    return 2 * n_missing > n;
}

bool file_reader_is_cold(int fd, size_t size)
{
    return is_cold(fd, 0, size);
}

/* Advice: without it everything still works. Where parts are chosen, the system must not fetch more
 * than it is asked for, or the next part would look as if it had been cached. */
static void advise(const struct file_reader *r, size_t len, int advice)
{
    (void)posix_fadvise(r->fd, (off_t)r->at, (off_t)len, advice);
}

struct file_reader file_reader_of(int fd, size_t size, bool ahead)
{
    struct file_reader r = {.fd = fd, .size = size, .selective = ahead};
    if (ahead)
        advise(&r, 0, POSIX_FADV_RANDOM);
    return r;
}

static bool set_direct(struct file_reader *r, bool direct)
{
    int flags = r->direct == direct ? 0 : fcntl(r->fd, F_GETFL);
    if (r->direct != direct &&
        (flags < 0 || fcntl(r->fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) != 0))
        return false;
    r->direct = direct;
    return true;
}

/* From here on all is read through the page cache. */
static void give_up_direct(struct file_reader *r)
{
    (void)set_direct(r, false);
    r->selective = false;
    advise(r, 0, POSIX_FADV_NORMAL);
    advise(r, 2 * HINT, POSIX_FADV_WILLNEED);
}

static void choose(struct file_reader *r, size_t len)
{
    bool cold = r->selective && is_cold(r->fd, r->at, len);
    if (r->selective && !set_direct(r, cold))
        give_up_direct(r);
    else if (r->selective && !cold)
        advise(r, len, POSIX_FADV_WILLNEED);
    else if (!r->selective && r->at % HINT == 0)
        advise(r, 2 * HINT, POSIX_FADV_WILLNEED);
}

/* False, and nothing read: the file's last, incomplete block is left, or this filesystem cannot do
 * it, or not to that address, or the file is shorter. Then the page cache has the last word. */
static bool next_direct(struct file_reader *r, uint8_t *data, size_t len)
{
    len -= len % BLOCK;
    if (len > 0 && !is_err(fd_read_exact(r->fd, data + r->at, len))) {
        r->at += len;
        return true;
    }
    if (len > 0)
        give_up_direct(r);
    (void)set_direct(r, false);
    (void)lseek(r->fd, (off_t)r->at, SEEK_SET);
    return false;
}

/* Copies are fastest to whole cache lines, also where that splits those of the file. */
static size_t copy_len(const struct file_reader *r, const uint8_t *data, size_t left)
{
    size_t len = COPIED - (uintptr_t)(data + r->at) % LINE;
    return min(len, min(left, PART - r->at % PART));
}

struct err file_reader_next(struct file_reader *r, uint8_t *data)
{
    size_t left = r->size - r->at;
    if (r->at % PART == 0)
        choose(r, min(left, PART));
    if (r->direct && next_direct(r, data, min(left, PART)))
        return err_ok();
    size_t len = copy_len(r, data, left);
    struct err e = fd_read_exact(r->fd, data + r->at, len);
    if (is_err(e))
        return err_set(ERR_IO, "it shrank or failed while it was read (%s); copy it again",
                       err_message());
    r->at += len;
    return err_ok();
}

struct err file_reader_end(struct file_reader *r)
{
    uint8_t more;
    (void)set_direct(r, false);
    struct err e = fd_read_exact(r->fd, &more, 1);
    if (e.code == ERR_NOT_FOUND) /* the end, as it should be */
        return err_ok();
    TRY(e);
    return err_set(ERR_IO, "it grew while it was read; wait until it is complete");
}
