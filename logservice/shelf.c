#include "logservice/shelf.h"

#include <stdlib.h>
#include <string.h>

enum { N_CHAINS = 1024 };

struct item {
    char key[SHELF_KEY_MAX + 1];
    struct shelved *value;
    struct item *chain;         /* the next one of the same hash */
    struct item *newer, *older; /* by last use */
};

struct shelf {
    struct item *chains[N_CHAINS];
    struct item *newest, *oldest;
    size_t len; /* bytes of all values */
};

struct err shelf_new(struct shelf **out)
{
    struct shelf *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "out of memory for a shelf");
    *out = s;
    return err_ok();
}

void shelved_let_go(struct shelved *v)
{
    if (v == NULL || --v->n_owners > 0)
        return;
    buf_cleanup(&v->bytes);
    free(v);
}

/* FNV-1a. The keys are paths of things that the log holds: nobody can choose many of one chain. */
static struct item **chain_of(struct shelf *s, const char *key)
{
    uint32_t hash = 2166136261u;
    for (; *key != 0; key++)
        hash = (hash ^ (uint8_t)*key) * 16777619u;
    return &s->chains[hash % N_CHAINS];
}

static void unlink_use(struct shelf *s, struct item *i)
{
    *(i->newer != NULL ? &i->newer->older : &s->newest) = i->older;
    *(i->older != NULL ? &i->older->newer : &s->oldest) = i->newer;
}

static void link_newest(struct shelf *s, struct item *i)
{
    i->newer = NULL;
    i->older = s->newest;
    *(s->newest != NULL ? &s->newest->newer : &s->oldest) = i;
    s->newest = i;
}

static void drop(struct shelf *s, struct item *i)
{
    struct item **at = chain_of(s, i->key);
    while (*at != i)
        at = &(*at)->chain;
    *at = i->chain;
    unlink_use(s, i);
    s->len -= i->value->bytes.len;
    shelved_let_go(i->value);
    free(i);
}

void shelf_free(struct shelf *s)
{
    while (s != NULL && s->oldest != NULL)
        drop(s, s->oldest);
    free(s);
}

static struct item *find(struct shelf *s, const char *key)
{
    struct item *i = *chain_of(s, key);
    while (i != NULL && strcmp(i->key, key) != 0)
        i = i->chain;
    return i;
}

struct shelved *shelf_find(struct shelf *s, const char *key)
{
    struct item *i = find(s, key);
    if (i == NULL)
        return NULL;
    unlink_use(s, i);
    link_newest(s, i);
    i->value->n_owners++;
    return i->value;
}

static void keep(struct shelf *s, const char *key, struct shelved *v)
{
    struct item *i = calloc(1, sizeof *i);
    if (i == NULL)
        return; /* it is answered all the same */
    strcpy(i->key, key);
    i->value = v;
    v->n_owners++;
    struct item **chain = chain_of(s, key);
    i->chain = *chain;
    *chain = i;
    link_newest(s, i);
    s->len += v->bytes.len;
    while (s->len > SHELF_BYTES)
        drop(s, s->oldest);
}

struct shelved *shelf_put(struct shelf *s, const char *key, struct buf *takes)
{
    struct shelved *v = malloc(sizeof *v);
    if (v == NULL)
        abort();
    *v = (struct shelved){*takes, 1};
    *takes = BUF_INIT;
    if (v->bytes.len <= SHELF_BYTES / 8 && strlen(key) <= SHELF_KEY_MAX && find(s, key) == NULL)
        keep(s, key, v);
    return v;
}
