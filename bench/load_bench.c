/*
 * Loading weights, which hashes every byte that will be used: against the lower of what SHA-256 can
 * do on as many cores as there are files (or cores), and what reading the files into memory of
 * their own can do. One file, and four; with the files in the page cache, and from the disk. Before
 * each measurement as much memory is used and given back: a virtual machine's host takes back
 * what has been free for two seconds, and then its price, up to forty times that of other new
 * memory, would be what is measured.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/bench_model.h"
#include "common/file.h"
#include "engine/shards.h"
#include "kernels/pool.h"

enum { N_SHARDS = 4, BUFFER = 1 << 20, HASHED = 256 << 20 };

struct folder {
    char path[200];
    char names[N_SHARDS][64];
    size_t n_files;
    uint64_t len; /* of all files */
};

/* What the threads of one probe share; each takes the next file. */
struct probe {
    const struct folder *folder;
    uint8_t *data; /* a BUFFER for each thread */
    uint64_t hash_len;
};

static int open_at(const struct folder *f, size_t i)
{
    BUF_AUTO path = BUF_INIT;
    int fd = open(path_join(&path, f->path, f->names[i]), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        must(err_errno("cannot open %s", buf_str(&path)));
    return fd;
}

/* Into new memory of the kind that weights have, a file after the other. */
static void read_files(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    const struct probe *p = context;
    for (size_t i = begin; i < end; i++) {
        FD_AUTO fd = open_at(p->folder, i);
        struct stat st;
        must(fstat(fd, &st) == 0 ? err_ok() : err_errno("cannot look at a file"));
        size_t len = (size_t)st.st_size;
        uint8_t *data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(data != MAP_FAILED ? err_ok() : err_errno("no memory for a file"));
        madvise(data, len, MADV_HUGEPAGE);
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        for (size_t at = 0; at < len; at += BUFFER)
            must(fd_read_exact(fd, data + at, len - at < BUFFER ? len - at : BUFFER));
        munmap(data, len);
    }
}

static void hash_buffers(void *context, size_t begin, size_t end, unsigned thread)
{
    const struct probe *p = context;
    uint8_t hash[SHA256_LEN];
    for (size_t i = begin; i < end; i++) {
        struct sha256_stream *s = sha256_new();
        for (uint64_t done = 0; done < p->hash_len; done += BUFFER)
            sha256_update(s, bytes_of(p->data + (size_t)thread * BUFFER, BUFFER));
        sha256_final(s, hash);
        sha256_free(s);
    }
}

/* Out of the page cache; the files were written to the disk before. */
static void forget(const struct folder *f)
{
    for (size_t i = 0; i < f->n_files; i++) {
        FD_AUTO fd = open_at(f, i);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
}

/* Makes the host give memory for the files, once more for the page cache. */
static void use_memory(uint64_t len)
{
    uint8_t *data = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(data != MAP_FAILED ? err_ok() : err_errno("no memory for the files"));
    madvise(data, 2 * len, MADV_HUGEPAGE);
    for (uint64_t at = 0; at < 2 * len; at += 4096)
        data[at] = 1;
    munmap(data, 2 * len);
}

static double read_rate(const struct probe *p, struct pool *pool)
{
    double start = seconds_now();
    pool_run(pool, p->folder->n_files, 1, read_files, (void *)(uintptr_t)p);
    return (double)p->folder->len / (seconds_now() - start);
}

static double hash_rate(const struct probe *p, struct pool *pool)
{
    double start = seconds_now();
    pool_run(pool, pool_n_threads(pool), 1, hash_buffers, (void *)(uintptr_t)p);
    return (double)p->hash_len * pool_n_threads(pool) / (seconds_now() - start);
}

static double load_rate(const struct folder *f, char hash[17])
{
    struct model_files files = {0};
    struct shards shards = {0};
    double start = seconds_now();
    must(model_files_init(&files, f->path));
    must(shards_find(&shards, &files));
    must(shards_read(&shards, &files));
    double seconds = seconds_now() - start;
    struct sha256_stream *all = sha256_new();
    for (size_t i = 0; i < files.n; i++)
        sha256_update(all, bytes_of(files.items[i].info.sha256, SHA256_LEN));
    hash_text(hash, all);
    shards_cleanup(&shards);
    model_files_cleanup(&files);
    return (double)f->len / seconds;
}

struct rates {
    struct series sha, read, bound, load;
    char hash[17];
};

/* Reading and loading take turns at being first. */
static void measure_round(struct rates *r, const struct probe *p, struct pool *pool, bool cold,
                          bool read_first)
{
    double sha = hash_rate(p, pool), read = 0, load = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (cold)
            forget(p->folder);
        use_memory(p->folder->len);
        if ((i == 0) == read_first)
            read = read_rate(p, pool);
        else
            load = load_rate(p->folder, r->hash);
    }
    series_add(&r->sha, sha);
    series_add(&r->read, read);
    series_add(&r->bound, sha < read ? sha : read);
    series_add(&r->load, load);
}

static void report(struct results *r, const char *where, const struct rates *rates)
{
    char name[80];
    if (strcmp(where, "page cache") == 0)
        results_add_series(r, "SHA-256 of memory", &rates->sha, 1e-9, "GB/s", NULL, NULL, NULL);
    snprintf(name, sizeof name, "reading, %s", where);
    results_add_series(r, name, &rates->read, 1e-9, "GB/s", NULL, NULL, NULL);
    snprintf(name, sizeof name, "loading, %s", where);
    results_add_series(r, name, &rates->load, 1e-9, "GB/s", "the lower of SHA-256 and reading",
                       &rates->bound, rates->hash);
}

static void measure(struct results *r, const struct bench_options *o, const struct folder *f)
{
    unsigned n = pool_cpus() < f->n_files ? pool_cpus() : (unsigned)f->n_files;
    struct pool *pool = NULL;
    struct rates warm = {0}, cold = {0};
    must(pool_new(&pool, n));
    struct probe p = {f, calloc(n, BUFFER), o->tiny ? BUFFER : HASHED};
    if (p.data == NULL)
        must(err_set(ERR_MEMORY, "no memory for buffers"));
    for (unsigned round = 0; round < o->n_rounds; round++) {
        measure_round(&cold, &p, pool, true, round % 2 == 0);
        (void)read_rate(&p, pool); /* now the files are in the page cache */
        measure_round(&warm, &p, pool, false, round % 2 == 0);
    }
    results_group(r, "loading %.2f GB in %zu file%s, %u core%s hash", (double)f->len / 1e9,
                  f->n_files, f->n_files > 1 ? "s" : "", n, n > 1 ? "s" : "");
    report(r, "page cache", &warm);
    report(r, "disk", &cold);
    free(p.data);
    pool_free(pool);
}

static void make(struct folder *f, const struct bench_options *o, size_t n_files, uint64_t len)
{
    must(bench_folder_make(f->path, o->folder));
    f->n_files = n_files;
    for (size_t i = 0; i < n_files; i++) {
        if (n_files == 1)
            snprintf(f->names[i], sizeof f->names[i], "model.safetensors");
        else
            snprintf(f->names[i], sizeof f->names[i], "model-%05zu-of-%05zu.safetensors", i + 1,
                     n_files);
    }
    must(bench_shards_write(f->path, f->names, n_files, len / n_files));
    f->len = len;
}

void bench_load(struct results *r, const struct bench_options *o)
{
    uint64_t len = o->tiny ? 4 << 20 : (uint64_t)1 << 30;
    must(bench_room_check(o->folder, len, 2 * len));
    for (size_t n_files = 1; n_files <= N_SHARDS; n_files *= N_SHARDS) {
        struct folder f = {0};
        make(&f, o, n_files, len);
        measure(r, o, &f);
        bench_folder_remove(f.path);
    }
}
