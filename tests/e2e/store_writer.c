/*
 * Drives a log store for tests in other languages, one command a process:
 *
 *   store_writer make DIR              the key and an empty log
 *   store_writer append DIR TEXT N     N entries "TEXT 0", "TEXT 1", ..., a commit each; a line
 *                                    "<index> <size> <hex root>" for each that is durable
 *   store_writer check DIR             the whole log, checked; "entry <index> <text>" and
 *                                    "checkpoint <size> <hex root>" for all that there are
 *   store_writer vkey DIR, checkpoint DIR, proof DIR INDEX
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "transparency/store.h"
#include "transparency/tlog_proof.h"

static const char name[] = "faults.example/log";

struct place {
    char key[256], log[256];
    struct note_signer signer;
};

static void say_root(const char *before, uint64_t n, const struct merkle_hash *root)
{
    BUF_AUTO line = BUF_INIT;
    buf_printf(&line, "%s%llu ", before, (unsigned long long)n);
    buf_append_hex(&line, bytes_of(root->bytes, SHA256_LEN));
    buf_append_str(&line, "\n");
    struct err e = fd_write_all(STDOUT_FILENO, buf_bytes(&line));
    if (is_err(e))
        exit(3);
}

static struct err append(struct store *s, const char *text, unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) {
        BUF_AUTO bytes = BUF_INIT;
        uint64_t index;
        struct checkpoint c;
        char before[32];
        buf_printf(&bytes, "%s %lu", text, i);
        struct bytes blob = bytes_of_str("a blob");
        const struct store_entry entry = {.bytes = buf_bytes(&bytes), .blobs = &blob, .n_blobs = 1};
        TRY(store_append(s, &index, &entry, 1));
        TRY(store_checkpoint(s, NULL, &c));
        snprintf(before, sizeof before, "%llu ", (unsigned long long)index);
        say_root(before, c.size, &c.root);
    }
    return err_ok();
}

static struct err say_entry(void *context, uint64_t index, struct bytes entry,
                            const struct merkle_hash *leaf, const uint8_t *head)
{
    (void)context, (void)leaf, (void)head;
    printf("entry %llu %.*s\n", (unsigned long long)index, (int)entry.len,
           (const char *)entry.data);
    return err_ok();
}

static struct err check(struct store *s, const struct note_signer *signer)
{
    struct checkpoint newest;
    TRY(store_fsck(s, &signer->key, say_entry, NULL));
    fflush(stdout);
    TRY(store_checkpoint(s, NULL, &newest));
    for (uint64_t size = 0; size <= newest.size; size++) {
        BUF_AUTO note = BUF_INIT;
        struct checkpoint c;
        struct err e = store_checkpoint_at(s, size, &note);
        if (e.code == ERR_NOT_FOUND)
            continue;
        TRY(e);
        TRY(checkpoint_verify(&c, buf_bytes(&note), name, &signer->key));
        say_root("checkpoint ", c.size, &c.root);
    }
    return err_ok();
}

static struct err say_proof(struct store *s, uint64_t index)
{
    BUF_AUTO note = BUF_INIT, text = BUF_INIT;
    struct checkpoint c;
    TRY(store_checkpoint(s, &note, &c));
    struct tlog_proof p = {.index = index, .checkpoint = buf_bytes(&note)};
    TRY(store_prove_inclusion(s, &p.proof, index, c.size));
    tlog_proof_format(&text, &p);
    return fd_write_all(STDOUT_FILENO, buf_bytes(&text));
}

static struct err say_checkpoint(struct store *s)
{
    BUF_AUTO note = BUF_INIT;
    TRY(store_checkpoint(s, &note, NULL));
    return fd_write_all(STDOUT_FILENO, buf_bytes(&note));
}

static struct err on_store(const struct place *p, int argc, char **argv)
{
    struct store *s = NULL;
    TRY(store_open(&s, p->log, &p->signer));
    struct err e = err_set(ERR_USAGE, "no such command: %s", argv[1]);
    if (strcmp(argv[1], "append") == 0 && argc == 5)
        e = append(s, argv[3], strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[1], "check") == 0)
        e = check(s, &p->signer);
    else if (strcmp(argv[1], "checkpoint") == 0)
        e = say_checkpoint(s);
    else if (strcmp(argv[1], "vkey") == 0)
        e = printf("%s\n", store_vkey(s)) > 0 ? err_ok() : err_errno("stdout");
    else if (strcmp(argv[1], "proof") == 0 && argc == 4)
        e = say_proof(s, strtoull(argv[3], NULL, 10));
    store_close(s);
    return e;
}

static struct err run(struct place *p, int argc, char **argv)
{
    bool make = strcmp(argv[1], "make") == 0;
    snprintf(p->key, sizeof p->key, "%s/log.key", argv[2]);
    snprintf(p->log, sizeof p->log, "%s/log.db", argv[2]);
    TRY(note_signer_load(&p->signer, p->key, name, make));
    return make ? store_create(p->log, &p->signer) : on_store(p, argc, argv);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "store_writer COMMAND DIR ...\n");
        return 2;
    }
    struct place p = {0};
    struct err e = run(&p, argc, argv);
    note_signer_cleanup(&p.signer);
    if (is_err(e))
        fprintf(stderr, "store_writer: %s\n", err_message());
    return is_err(e) || fflush(stdout) != 0;
}
