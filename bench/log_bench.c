/*
 * How near the log comes to what bounds it. Each ratio is of two numbers measured in turn in one
 * run, the median of several rounds; the absolute numbers are this machine's alone.
 */
#include "bench/log_bench.h"

#include <string.h>
#include <unistd.h>

#include "bench/bench_model.h"
#include "common/file.h"

void log_bench_entry(uint8_t out[ENTRY_LEN], uint64_t i)
{
    memset(out, 'e', ENTRY_LEN);
    memcpy(out, &i, sizeof i);
}

void log_bench_make(struct store **out, const struct log_bench *b, const char *name)
{
    BUF_AUTO path = BUF_INIT;
    path_join(&path, b->folder, name);
    must(store_create(buf_str(&path), &b->signer));
    must(store_open(out, buf_str(&path), &b->signer));
}

void log_bench_append(struct store *s, uint64_t first, unsigned batch, unsigned n_commits)
{
    static uint8_t data[LOG_BATCH_MAX][ENTRY_LEN];
    struct store_entry entries[LOG_BATCH_MAX];
    uint64_t index;
    for (unsigned i = 0; i < n_commits; i++) {
        for (unsigned k = 0; k < batch; k++) {
            log_bench_entry(data[k], first++);
            entries[k] = (struct store_entry){.bytes = bytes_of(data[k], ENTRY_LEN)};
        }
        must(store_append(s, &index, entries, batch));
        if (index + batch != first)
            must(err_set(ERR_UNTRUE, "the log put entry %llu at another index",
                         (unsigned long long)(first - batch)));
    }
}

struct merkle_hash log_bench_root(uint64_t n)
{
    uint8_t data[ENTRY_LEN];
    struct merkle_edge edge = MERKLE_EDGE_INIT;
    for (uint64_t i = 0; i < n; i++) {
        log_bench_entry(data, i);
        struct merkle_hash leaf = merkle_leaf(bytes_of(data, ENTRY_LEN));
        merkle_edge_append(&edge, &leaf);
    }
    return merkle_edge_root(&edge);
}

void log_bench_check(struct store *s, uint64_t n, const char *what)
{
    struct checkpoint newest;
    struct merkle_hash root = log_bench_root(n);
    must(store_checkpoint(s, NULL, &newest));
    if (newest.size != n || !merkle_equal(&newest.root, &root))
        must(err_set(ERR_UNTRUE, "%s does not hold the %llu entries that were appended", what,
                     (unsigned long long)n));
    struct note_key key;
    must(note_vkey_parse(&key, bytes_of_str(store_vkey(s))));
    must(store_fsck(s, &key, NULL, NULL));
}

void log_bench_remove(const struct log_bench *b, const char *name)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        BUF_AUTO path = BUF_INIT;
        buf_printf(&path, "%s/%s%s", b->folder, name, suffixes[i]);
        unlink(buf_str(&path));
    }
}

void log_bench_root_text(char out[17], const struct merkle_hash *root)
{
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(root, 8));
    memcpy(out, buf_str(&hex), 17);
}

static const struct {
    const char *name;
    void (*run)(struct results *r, const struct log_bench *b);
} parts[] = {{"append", log_bench_appends},
             {"large", log_bench_large},
             {"serve", log_bench_serve},
             {"quotes", log_bench_quotes},
             {"replay", log_bench_replay}};
enum { N_PARTS = sizeof parts / sizeof parts[0] };

struct err bench_log_part_check(const char *name)
{
    BUF_AUTO names = BUF_INIT;
    for (size_t i = 0; i < N_PARTS; i++) {
        if (name == NULL || strcmp(name, parts[i].name) == 0)
            return err_ok();
        buf_printf(&names, " %s", parts[i].name);
    }
    return err_set(ERR_USAGE, "the log's benchmark has no part \"%s\"; there are:%s", name,
                   buf_str(&names));
}

void bench_log(struct results *r, const struct bench_options *o)
{
    static const uint8_t seed[ED25519_SEED_LEN] = {1};
    struct log_bench b = {.o = o};
    must(bench_folder_make(b.folder, o->folder));
    must(note_signer_init(&b.signer, "bench.example/log", NOTE_ED25519, seed));
    for (size_t i = 0; i < N_PARTS; i++)
        if (o->part == NULL || strcmp(o->part, parts[i].name) == 0)
            parts[i].run(r, &b);
    bench_folder_remove(b.folder);
}
