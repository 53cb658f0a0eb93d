/*
 * Parsing of witness policies, strictly: one keyword a line, each handled by one function of the
 * table below. What a line would change is checked before anything is changed.
 */
#include "transparency/tlog_policy.h"

#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"

enum { WORDS_MAX = TLOG_POLICY_NODES_MAX + 3 };

struct words {
    struct bytes at[WORDS_MAX];
    size_t n;
};

void tlog_policy_cleanup(struct tlog_policy *p)
{
    for (size_t i = 0; i < p->n_logs; i++)
        free(p->logs[i].url);
    for (size_t i = 0; i < p->n_witnesses; i++)
        free(p->witnesses[i].url);
    free(p->logs);
    free(p->witnesses);
    free(p->nodes);
    *p = TLOG_POLICY_INIT;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct err split(struct words *out, struct bytes line)
{
    out->n = 0;
    for (size_t i = 0; i < line.len;) {
        if (is_blank(line.data[i])) {
            i++;
            continue;
        }
        size_t start = i;
        while (i < line.len && !is_blank(line.data[i]))
            i++;
        if (out->n == WORDS_MAX)
            return err_set(ERR_LIMIT, "a line of more than %d words", WORDS_MAX);
        out->at[out->n++] = bytes_of(line.data + start, i - start);
    }
    return err_ok();
}

static struct err grow(void **list, size_t n, size_t size, size_t max, const char *what)
{
    if (n == max)
        return err_set(ERR_LIMIT, "more than %zu %s", max, what);
    void *grown = realloc(*list, (n + 1) * size);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a policy");
    *list = grown;
    return err_ok();
}

static struct err copy_url(char **out, const struct words *w, size_t at)
{
    *out = NULL;
    if (w->n <= at)
        return err_ok();
    if (w->at[at].len > TLOG_POLICY_URL_MAX)
        return err_set(ERR_LIMIT, "a URL of %zu bytes, more than %d", w->at[at].len,
                       TLOG_POLICY_URL_MAX);
    *out = strndup((const char *)w->at[at].data, w->at[at].len);
    return *out != NULL ? err_ok() : err_set(ERR_MEMORY, "out of memory for a policy");
}

static struct err word_count(const struct words *w, size_t min, size_t max, const char *form)
{
    if (w->n < min || w->n > max)
        return err_set(ERR_MALFORMED, "%zu words where the line is '%s'", w->n, form);
    return err_ok();
}

static size_t find_node(const struct tlog_policy *p, struct bytes name)
{
    for (size_t i = 0; i < p->n_nodes; i++)
        if (bytes_equal(bytes_of_str(p->nodes[i].name), name))
            return i;
    return TLOG_POLICY_NONE;
}

static struct err check_new_name(const struct tlog_policy *p, struct bytes name)
{
    char shown[84];
    if (name.len > TLOG_POLICY_NAME_MAX)
        return err_set(ERR_LIMIT, "a name of %zu bytes, more than %d", name.len,
                       TLOG_POLICY_NAME_MAX);
    if (bytes_equal(name, bytes_of_str("none")))
        return err_set(ERR_MALFORMED, "'none' names no witness and no group: choose another name");
    if (find_node(p, name) != TLOG_POLICY_NONE)
        return err_set(ERR_MALFORMED, "the name '%s' a second time", printable(shown, name));
    return err_ok();
}

static struct err find_defined(size_t *out, const struct tlog_policy *p, struct bytes name)
{
    char shown[84];
    *out = find_node(p, name);
    if (*out == TLOG_POLICY_NONE)
        return err_set(ERR_MALFORMED, "no line before this one defines '%s'",
                       printable(shown, name));
    return err_ok();
}

static struct err parse_key(struct note_key *out, struct bytes text, uint8_t type,
                            const char *wanted)
{
    struct note_key key;
    TRY(note_vkey_parse(&key, text));
    if (key.type != type)
        return err_set(ERR_MALFORMED, "a key of type 0x%02x where %s (0x%02x) is needed", key.type,
                       wanted, type);
    *out = key;
    return err_ok();
}

static bool same_key(const struct note_key *a, const struct note_key *b)
{
    return memcmp(a->public_key, b->public_key, ED25519_PUBLIC_LEN) == 0;
}

static struct err on_log(struct tlog_policy *p, const struct words *w)
{
    TRY(word_count(w, 2, 3, "log <vkey> [<url>]"));
    struct tlog_policy_log log = {0};
    TRY(parse_key(&log.key, w->at[1], NOTE_ED25519, "a log's"));
    for (size_t i = 0; i < p->n_logs; i++)
        if (same_key(&p->logs[i].key, &log.key))
            return err_set(ERR_MALFORMED, "the public key of log '%s' a second time",
                           p->logs[i].key.name);
    TRY(grow((void **)&p->logs, p->n_logs, sizeof log, TLOG_POLICY_LOGS_MAX, "logs"));
    TRY(copy_url(&log.url, w, 2));
    p->logs[p->n_logs++] = log;
    return err_ok();
}

static void add_node(struct tlog_policy *p, struct bytes name, size_t witness, unsigned threshold)
{
    struct tlog_policy_node *node = &p->nodes[p->n_nodes++];
    *node = (struct tlog_policy_node){
        .witness = witness, .threshold = threshold, .parent = TLOG_POLICY_NONE};
    memcpy(node->name, name.data, name.len);
}

/* Two lines that wrap one key would let one witness count twice: a cosignature names no cosigner.
 */
static struct err on_witness(struct tlog_policy *p, const struct words *w)
{
    TRY(word_count(w, 3, 4, "witness <name> <vkey> [<url>]"));
    TRY(check_new_name(p, w->at[1]));
    struct tlog_policy_witness witness = {0};
    TRY(parse_key(&witness.key, w->at[2], NOTE_COSIGNATURE, "a witness's"));
    for (size_t i = 0; i < p->n_witnesses; i++)
        if (same_key(&p->witnesses[i].key, &witness.key))
            return err_set(ERR_MALFORMED, "the public key of witness '%s' a second time",
                           p->witnesses[i].key.name);
    memcpy(witness.name, w->at[1].data, w->at[1].len);
    TRY(grow((void **)&p->witnesses, p->n_witnesses, sizeof witness, TLOG_POLICY_WITNESSES_MAX,
             "witnesses"));
    TRY(grow((void **)&p->nodes, p->n_nodes, sizeof *p->nodes, TLOG_POLICY_NODES_MAX, "names"));
    TRY(copy_url(&witness.url, w, 3));
    add_node(p, w->at[1], p->n_witnesses, 1);
    p->witnesses[p->n_witnesses++] = witness;
    return err_ok();
}

static struct err parse_threshold(unsigned *out, struct bytes text, size_t n_members)
{
    uint64_t k = n_members;
    if (bytes_equal(text, bytes_of_str("any")))
        k = 1;
    else if (!bytes_equal(text, bytes_of_str("all")))
        TRY(err_context(decimal_decode(&k, text, UINT32_MAX), "all, any or a number"));
    if (k == 0 || k > n_members)
        return err_set(ERR_MALFORMED, "%llu of %zu members: from 1 to all of them make sense",
                       (unsigned long long)k, n_members);
    *out = (unsigned)k;
    return err_ok();
}

static struct err find_members(size_t *members, const struct tlog_policy *p, const struct words *w)
{
    char shown[84];
    for (size_t i = 3; i < w->n; i++) {
        size_t node;
        TRY(find_defined(&node, p, w->at[i]));
        bool taken = p->nodes[node].parent != TLOG_POLICY_NONE;
        for (size_t j = 3; j < i; j++)
            taken |= members[j - 3] == node;
        if (taken)
            return err_set(ERR_MALFORMED, "'%s' is a member already: each counts in one group once",
                           printable(shown, w->at[i]));
        members[i - 3] = node;
    }
    return err_ok();
}

static struct err on_group(struct tlog_policy *p, const struct words *w)
{
    TRY(word_count(w, 4, WORDS_MAX, "group <name> all|any|<k> <name>..."));
    TRY(check_new_name(p, w->at[1]));
    unsigned threshold;
    size_t members[TLOG_POLICY_NODES_MAX];
    TRY(parse_threshold(&threshold, w->at[2], w->n - 3));
    TRY(find_members(members, p, w));
    if (p->n_groups == TLOG_POLICY_GROUPS_MAX)
        return err_set(ERR_LIMIT, "more than %d groups", TLOG_POLICY_GROUPS_MAX);
    TRY(grow((void **)&p->nodes, p->n_nodes, sizeof *p->nodes, TLOG_POLICY_NODES_MAX, "names"));
    for (size_t i = 0; i < w->n - 3; i++)
        p->nodes[members[i]].parent = p->n_nodes;
    add_node(p, w->at[1], TLOG_POLICY_NONE, threshold);
    p->n_groups++;
    return err_ok();
}

static struct err on_quorum(struct tlog_policy *p, const struct words *w)
{
    TRY(word_count(w, 2, 2, "quorum <name>|none"));
    if (p->quorum_stated)
        return err_set(ERR_MALFORMED, "a second quorum");
    size_t node = TLOG_POLICY_NONE;
    if (!bytes_equal(w->at[1], bytes_of_str("none")))
        TRY(find_defined(&node, p, w->at[1]));
    p->quorum = node;
    p->quorum_stated = true;
    return err_ok();
}

static const struct {
    const char *keyword;
    struct err (*handle)(struct tlog_policy *p, const struct words *w);
} keywords[] = {
    {"log", on_log},
    {"witness", on_witness},
    {"group", on_group},
    {"quorum", on_quorum},
};

static struct err check_characters(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++)
        if ((line.data[i] < 0x20 && line.data[i] != '\t') || line.data[i] == 0x7f)
            return err_set(ERR_MALFORMED, "the control character 0x%02x", line.data[i]);
    return err_ok();
}

struct err tlog_policy_line(struct tlog_policy *p, struct bytes line)
{
    struct words w;
    TRY(check_characters(line));
    size_t blanks = 0;
    while (blanks < line.len && is_blank(line.data[blanks]))
        blanks++;
    if (blanks == line.len || line.data[blanks] == '#')
        return err_ok();
    TRY(split(&w, line));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (bytes_equal(w.at[0], bytes_of_str(keywords[i].keyword)))
            return err_context(keywords[i].handle(p, &w), "%s", keywords[i].keyword);
    char shown[84];
    return err_set(ERR_MALFORMED, "'%s' is no keyword: log, witness, group or quorum are",
                   printable(shown, w.at[0]));
}

static struct err parse_lines(struct tlog_policy *p, struct bytes text)
{
    struct reader r = reader_of(text);
    for (size_t number = 1; reader_left(&r) > 0; number++) {
        struct bytes line = read_line(&r);
        if (r.failed)
            return err_set(ERR_MALFORMED, "line %zu: it does not end in a newline", number);
        if (number > TLOG_POLICY_LINES_MAX)
            return err_set(ERR_LIMIT, "line %zu: a policy has at most %d lines", number,
                           TLOG_POLICY_LINES_MAX);
        TRY(err_context(tlog_policy_line(p, line), "line %zu", number));
    }
    if (!p->quorum_stated)
        return err_set(ERR_MALFORMED, "the policy has no quorum line: without witnesses it must "
                                      "say 'quorum none'");
    return err_ok();
}

struct err tlog_policy_parse(struct tlog_policy *out, struct bytes text)
{
    if (text.len > TLOG_POLICY_MAX)
        return err_set(ERR_LIMIT, "the policy has %zu bytes; at most %d are allowed", text.len,
                       TLOG_POLICY_MAX);
    TLOG_POLICY_AUTO p = TLOG_POLICY_INIT;
    TRY(parse_lines(&p, text));
    *out = p;
    p = TLOG_POLICY_INIT;
    return err_ok();
}

struct err tlog_policy_load(struct tlog_policy *out, const char *path)
{
    BUF_AUTO text = BUF_INIT;
    TRY(file_read(&text, path, TLOG_POLICY_MAX));
    return err_context(tlog_policy_parse(out, buf_bytes(&text)), "%s", path);
}
