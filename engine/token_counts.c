#include "engine/token_counts.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_FIRST = 64 };

/* The slot that holds the id, or the free one where it belongs. The table is at most half full, so
 * there always is one. */
static uint32_t *find_slot(const struct token_counts *c, uint32_t id)
{
    size_t mask = 2 * c->capacity - 1;
    size_t at = (id * 0x9e3779b1u >> 7) & mask; /* the golden ratio spreads neighbours */
    while (c->slots[at] != 0 && c->items[c->slots[at] - 1].id != id)
        at = (at + 1) & mask;
    return &c->slots[at];
}

static struct err grow(struct token_counts *c)
{
    struct token_counts grown = {.n = c->n,
                                 .capacity = c->capacity > 0 ? 2 * c->capacity : CAPACITY_FIRST};
    grown.items = calloc(grown.capacity, sizeof *grown.items);
    grown.slots = calloc(2 * grown.capacity, sizeof *grown.slots);
    if (grown.items == NULL || grown.slots == NULL) {
        free(grown.items);
        free(grown.slots);
        return err_set(ERR_MEMORY, "no memory for the counts of %zu tokens", grown.capacity);
    }
    for (size_t i = 0; i < c->n; i++) {
        grown.items[i] = c->items[i];
        *find_slot(&grown, c->items[i].id) = (uint32_t)(i + 1);
    }
    token_counts_cleanup(c);
    *c = grown;
    return err_ok();
}

struct err token_counts_add(struct token_counts *c, uint32_t id, bool in_answer)
{
    if (c->n == c->capacity)
        TRY(grow(c));
    uint32_t *slot = find_slot(c, id);
    if (*slot == 0) {
        c->items[c->n++] = (struct token_count){id, 0};
        *slot = (uint32_t)c->n;
    }
    c->items[*slot - 1].n_answer += in_answer;
    return err_ok();
}

void token_counts_cleanup(struct token_counts *c)
{
    if (c->capacity > 0) {
        explicit_bzero(c->items, c->n * sizeof *c->items);
        explicit_bzero(c->slots, 2 * c->capacity * sizeof *c->slots);
    }
    free(c->items);
    free(c->slots);
    *c = (struct token_counts){0};
}
