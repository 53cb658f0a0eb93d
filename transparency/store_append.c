/*
 * The write path: one transaction for blobs, entries, nodes and the signed checkpoint. What is
 * signed is what was read back; what is told is what COMMIT made durable.
 *
 * Any failure after BEGIN is final for the store. After a failed fsync the page cache may hold what
 * the disk does not, so only a new start, from the disk, can know.
 */
#include "transparency/store_db.h"

#include <stdlib.h>
#include <string.h>

static struct err check_arguments(const struct store *s, const struct store_entry *entries,
                                  size_t n_entries)
{
    if (!s->writer)
        return err_set(ERR_USAGE, "%s is open for reading only", s->path);
    if (n_entries == 0 || n_entries > STORE_APPEND_MAX)
        return err_set(ERR_USAGE, "%zu entries in one append, not 1 to %d", n_entries,
                       STORE_APPEND_MAX);
    for (size_t i = 0; i < n_entries; i++) {
        if (entries[i].bytes.len == 0 || entries[i].bytes.len > STORE_ENTRY_MAX)
            return err_set(ERR_LIMIT, "an entry of %zu bytes, not 1 to %d: larger things are blobs",
                           entries[i].bytes.len, STORE_ENTRY_MAX);
        for (size_t j = 0; j < entries[i].n_blobs; j++)
            if (entries[i].blobs[j].len > STORE_BLOB_MAX)
                return err_set(ERR_LIMIT, "a blob of %zu bytes, more than %d",
                               entries[i].blobs[j].len, STORE_BLOB_MAX);
    }
    if (s->edge.size > MERKLE_SIZE_MAX - n_entries)
        return err_set(ERR_LIMIT, "%s is full", s->path);
    return err_ok();
}

static struct err blob_is_stored(struct store *s, const uint8_t digest[SHA256_LEN], bool *row)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BLOB));
    TRY(store_bind_blob(s, st, 1, bytes_of(digest, SHA256_LEN)));
    return store_step(s, st, row);
}

static struct err insert_blob(struct store *s, const uint8_t digest[SHA256_LEN], struct bytes bytes)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BLOB_INSERT));
    TRY(store_bind_blob(s, st, 1, bytes_of(digest, SHA256_LEN)));
    TRY(store_bind_blob(s, st, 2, bytes));
    return store_run(s, st);
}

static struct err append_blob(struct store *s, struct bytes bytes)
{
    uint8_t digest[SHA256_LEN];
    sha256(digest, bytes);
    bool stored = false;
    TRY(blob_is_stored(s, digest, &stored));
    if (!stored)
        TRY(insert_blob(s, digest, bytes));
    BUF_AUTO again = BUF_INIT; /* reading checks the hash, of an old blob too */
    return store_blob_read(s, digest, &again);
}

/* How many rows one statement inserts. Many: SQLite's care around each statement that a trigger may
 * refuse costs more than a row. Few: the table that it gathers them in costs more than they do. */
static const struct insert {
    size_t n_rows;
    enum store_sql entry, node;
} inserts[] = {{STORE_ROWS_WIDE, SQL_ENTRY_INSERT_WIDE, SQL_NODE_INSERT_WIDE},
               {1, SQL_ENTRY_INSERT, SQL_NODE_INSERT}};

static const struct insert *choose_insert(size_t n_left)
{
    return &inserts[n_left >= STORE_ROWS_WIDE ? 0 : 1];
}

static struct err insert_entries(struct store *s, uint64_t first, const struct store_entry *entries,
                                 size_t n)
{
    for (size_t done = 0; done < n;) {
        const struct insert *insert = choose_insert(n - done);
        STORE_STATEMENT *st = NULL;
        TRY(store_statement(&st, s, insert->entry));
        for (size_t i = 0; i < insert->n_rows; i++, done++) {
            TRY(store_bind_int(s, st, 2 * (int)i + 1, first + done));
            TRY(store_bind_blob(s, st, 2 * (int)i + 2, entries[done].bytes));
        }
        TRY(store_run(s, st));
    }
    return err_ok();
}

/* The nodes that an append adds: at each level those behind the ones that were there. */
struct growth {
    uint64_t old_size, new_size;
    struct merkle_hash *levels[64]; /* into `memory` */
    struct merkle_hash *memory;
};

static void growth_cleanup(struct growth *g)
{
    free(g->memory);
}

static uint64_t growth_first(const struct growth *g, unsigned level)
{
    return g->old_size >> level;
}

static size_t growth_count(const struct growth *g, unsigned level)
{
    return (size_t)((g->new_size >> level) - (g->old_size >> level));
}

static struct err growth_init(struct growth *g, uint64_t old_size, size_t n_entries)
{
    *g = (struct growth){.old_size = old_size, .new_size = old_size + n_entries};
    size_t n = 0;
    for (unsigned level = 0; level < 63; level++)
        n += growth_count(g, level);
    g->memory = calloc(n, sizeof *g->memory);
    if (g->memory == NULL)
        return err_set(ERR_MEMORY, "out of memory for a tree over %zu entries", n_entries);
    n = 0;
    for (unsigned level = 0; level < 63; level++) {
        g->levels[level] = g->memory + n;
        n += growth_count(g, level);
    }
    return err_ok();
}

/* The subtree (level, index): of the new ones, or the one that ended the old tree at that level. */
static const struct merkle_hash *growth_node(const struct growth *g, const struct merkle_edge *old,
                                             unsigned level, uint64_t index)
{
    if (index >= growth_first(g, level))
        return &g->levels[level][index - growth_first(g, level)];
    return &old->subtrees[__builtin_popcountll(g->old_size >> level) - 1];
}

/* From the leaves up. */
static void growth_fill(struct growth *g, const struct merkle_edge *old)
{
    for (unsigned level = 1; level < 63; level++)
        for (size_t i = 0; i < growth_count(g, level); i++) {
            uint64_t left = 2 * (growth_first(g, level) + i);
            g->levels[level][i] = merkle_node(growth_node(g, old, level - 1, left),
                                              growth_node(g, old, level - 1, left + 1));
        }
}

static struct merkle_edge growth_edge(const struct growth *g, const struct merkle_edge *old)
{
    struct merkle_edge edge = {.size = g->new_size};
    for (unsigned level = 63; level-- > 0;)
        if ((edge.size >> level & 1) != 0)
            edge.subtrees[edge.n_subtrees++] =
                *growth_node(g, old, level, (edge.size >> level) - 1);
    return edge;
}

static struct err differs(const struct store *s, const char *what, uint64_t index)
{
    return err_set(ERR_IO, "%s: %s %llu reads back differently: memory or disk is failing", s->path,
                   what, (unsigned long long)index);
}

/* The index and bytes of the next row; ERR_IO unless it is `index`. */
static struct err next_row(struct store *s, sqlite3_stmt *st, const char *what, uint64_t index,
                           struct bytes *bytes)
{
    bool row = false;
    uint64_t found = 0;
    TRY(store_step(s, st, &row));
    if (row)
        TRY(store_column_u64(&found, st, 0, what));
    if (!row || found != index)
        return differs(s, what, index);
    return store_column_blob(bytes, st, 1, STORE_ENTRY_MAX, what);
}

static struct err no_more_rows(struct store *s, sqlite3_stmt *st, const char *what, uint64_t index)
{
    bool row = false;
    TRY(store_step(s, st, &row));
    return row ? differs(s, what, index) : err_ok();
}

/* The leaves are of the bytes as the database gives them back, not as they came in; the entries
 * are the log's last, without gaps. */
static struct err read_back_entries(struct store *s, struct growth *g,
                                    const struct store_entry *entries)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_ENTRY_FROM));
    TRY(store_bind_int(s, st, 1, g->old_size));
    for (size_t i = 0; i < growth_count(g, 0); i++) {
        struct bytes again;
        TRY(next_row(s, st, "entry", g->old_size + i, &again));
        if (!bytes_equal(again, entries[i].bytes))
            return differs(s, "entry", g->old_size + i);
        g->levels[0][i] = merkle_leaf(again);
    }
    return no_more_rows(s, st, "entry", g->new_size);
}

static struct err insert_level(struct store *s, const struct growth *g, unsigned level)
{
    for (size_t done = 0; done < growth_count(g, level);) {
        const struct insert *insert = choose_insert(growth_count(g, level) - done);
        STORE_STATEMENT *st = NULL;
        TRY(store_statement(&st, s, insert->node));
        for (size_t i = 0; i < insert->n_rows; i++, done++) {
            const struct merkle_hash *h = &g->levels[level][done];
            TRY(store_bind_int(s, st, 3 * (int)i + 1, level));
            TRY(store_bind_int(s, st, 3 * (int)i + 2, growth_first(g, level) + done));
            TRY(store_bind_blob(s, st, 3 * (int)i + 3, bytes_of(h->bytes, SHA256_LEN)));
        }
        TRY(store_run(s, st));
    }
    return err_ok();
}

static struct err read_back_level(struct store *s, const struct growth *g, unsigned level)
{
    uint64_t first = growth_first(g, level);
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_NODE_FROM));
    TRY(store_bind_int(s, st, 1, level));
    TRY(store_bind_int(s, st, 2, first));
    for (size_t i = 0; i < growth_count(g, level); i++) {
        struct bytes again;
        TRY(next_row(s, st, "node", first + i, &again));
        if (!bytes_equal(again, bytes_of(g->levels[level][i].bytes, SHA256_LEN)))
            return differs(s, "node", first + i);
    }
    return no_more_rows(s, st, "node", first + growth_count(g, level));
}

static struct err append_entries(struct store *s, struct merkle_edge *edge,
                                 const struct store_entry *entries, size_t n_entries)
{
    __attribute__((cleanup(growth_cleanup))) struct growth g = {0};
    TRY(growth_init(&g, edge->size, n_entries));
    TRY(insert_entries(s, edge->size, entries, n_entries));
    TRY(read_back_entries(s, &g, entries));
    growth_fill(&g, edge);
    for (unsigned level = 0; growth_count(&g, level) > 0; level++) {
        TRY(insert_level(s, &g, level));
        TRY(read_back_level(s, &g, level));
    }
    *edge = growth_edge(&g, edge);
    return err_ok();
}

/* Signs the new head and looks at it as a verifier will. */
static struct err insert_checkpoint(struct store *s, const struct merkle_edge *edge,
                                    struct checkpoint *head, struct buf *note)
{
    struct checkpoint c = {.size = edge->size, .root = merkle_edge_root(edge)};
    memcpy(c.origin, s->key.name, sizeof c.origin);
    TRY(checkpoint_sign_with(note, &c, &s->key, s->secret));
    TRY(store_check_note(s, head, c.size, buf_bytes(note)));
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_CHECKPOINT_INSERT));
    TRY(store_bind_int(s, st, 1, c.size));
    TRY(store_bind_blob(s, st, 2, buf_bytes(note)));
    return store_run(s, st);
}

struct pending {
    struct merkle_edge edge;
    struct checkpoint head;
    struct buf note;
};

static struct err append_all(struct store *s, struct pending *p, const struct store_entry *entries,
                             size_t n_entries)
{
    for (size_t i = 0; i < n_entries; i++)
        for (size_t j = 0; j < entries[i].n_blobs; j++)
            TRY(append_blob(s, entries[i].blobs[j]));
    TRY(append_entries(s, &p->edge, entries, n_entries));
    TRY(insert_checkpoint(s, &p->edge, &p->head, &p->note));
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_COMMIT));
    return store_run(s, st);
}

static struct err begin(struct store *s)
{
    STORE_STATEMENT *st = NULL;
    TRY(store_statement(&st, s, SQL_BEGIN_WRITE));
    return store_run(s, st);
}

/* The failure that err_message() tells of is final. A ROLLBACK that fails adds nothing to that. */
static struct err give_up(struct store *s)
{
    store_fail(s);
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return err_set(ERR_IO,
                   "%s could not take what was to be appended; nothing that was told to anybody is "
                   "lost. If the disk is full, free space; then start again: %s",
                   s->path, s->failed);
}

struct err store_append(struct store *s, uint64_t *first_index, const struct store_entry *entries,
                        size_t n_entries)
{
    TRY(store_usable(s));
    TRY(check_arguments(s, entries, n_entries));
    TRY(begin(s));
    struct pending p = {.edge = s->edge};
    struct err e = append_all(s, &p, entries, n_entries);
    if (is_err(e)) {
        buf_cleanup(&p.note);
        return give_up(s);
    }
    *first_index = s->edge.size;
    s->edge = p.edge;
    s->newest = p.head;
    buf_cleanup(&s->newest_note);
    s->newest_note = p.note;
    return err_ok();
}
