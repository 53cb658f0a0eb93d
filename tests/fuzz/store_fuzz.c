/* Any file handed to an auditor: opened and checked without harm. Whatever passes the check holds
 * exactly the entries that the key signed.
 *
 * The first byte chooses: 0, the rest is the file; else the rest changes a real log, four bytes
 * (place, value) at a time, since chance alone makes no SQLite file. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/file.h"
#include "transparency/store.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf real_log;
static struct note_signer signer;
enum { N_ENTRIES = 260 }; /* more than a full tile */
static char texts[N_ENTRIES][12];

static void must(struct err e)
{
    if (!is_err(e))
        return;
    fprintf(stderr, "%s\n", err_message());
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    char folder[] = "/tmp/store_fuzz.XXXXXX", path[64], lock[80];
    uint8_t seed[ED25519_SEED_LEN] = {1};
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/log.db", folder);
    snprintf(lock, sizeof lock, "%s.lock", path);
    must(note_signer_init(&signer, "example.org/log", NOTE_ED25519, seed));
    must(store_create(path, &signer));
    struct store *s;
    must(store_open(&s, path, &signer));
    for (unsigned i = 0; i < N_ENTRIES; i++) {
        snprintf(texts[i], sizeof texts[i], "entry %u", i);
        struct bytes blob = bytes_of_str(texts[i]);
        struct store_entry entry = {.bytes = blob, .blobs = &blob, .n_blobs = 1};
        uint64_t index;
        must(store_append(s, &index, &entry, 1));
    }
    store_close(s);
    must(file_read(&real_log, path, 1 << 20));
    unlink(path);
    unlink(lock);
    rmdir(folder);
    return 0;
}

static struct err visit(void *context, uint64_t index, struct bytes entry,
                        const struct merkle_hash *leaf, const uint8_t *head)
{
    (void)leaf, (void)head;
    *(uint64_t *)context = index + 1;
    if (index >= N_ENTRIES || !bytes_equal(entry, bytes_of_str(texts[index])))
        *(uint64_t *)context = UINT64_MAX;
    return err_ok();
}

static void check(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct store *s;
    if (is_err(store_open_readonly(&s, path)))
        return;
    uint64_t n = 0;
    bool good = !is_err(store_fsck(s, &signer.key, visit, &n));
    if (good && n > N_ENTRIES)
        abort(); /* an entry that was never logged was accepted */
    BUF_AUTO out = BUF_INIT;
    for (uint64_t i = 0; i < N_ENTRIES; i++)
        if (!is_err(store_entry_read(s, i, &out)) && good && out.len == 0)
            abort();
    store_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    BUF_AUTO file = BUF_INIT;
    if (data[0] == 0)
        buf_append(&file, data + 1, size - 1);
    else
        buf_append_bytes(&file, buf_bytes(&real_log));
    struct reader r = reader_of(bytes_of(data + 1, size - 1));
    while (data[0] != 0 && reader_left(&r) >= 4) {
        uint32_t change = read_u32be(&r);
        file.data[(change >> 8) % file.len] = (uint8_t)change;
    }
    int fd = memfd_create("log", MFD_CLOEXEC);
    if (fd < 0 || is_err(fd_write_all(fd, buf_bytes(&file))))
        abort();
    check(fd);
    close(fd);
    return 0;
}
