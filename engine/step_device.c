/* The scheduler's plan on the GPU: which slots the requests have there, and which rows they get. */
#include <string.h>

#include "engine/engine_internal.h"

enum { NO_SLOT = -1 };

static bool runs(const struct engine *e, uint64_t number)
{
    for (size_t i = 0; i < e->sched.n_running; i++)
        if (e->sched.running[i]->number == number)
            return true;
    return false;
}

void engine_free_slots(struct engine *e)
{
    for (size_t i = 0; e->device != NULL && i < e->options.max_requests; i++)
        if (e->slot_owners[i] != 0 && !runs(e, e->slot_owners[i]))
            e->slot_owners[i] = 0;
}

/* A request's slot, or one for it: there are as many as requests that run together. */
static size_t slot_of(struct engine *e, const struct request *r, bool *fresh)
{
    size_t free_one = 0;
    *fresh = false;
    for (size_t i = 0; i < e->options.max_requests; i++) {
        if (e->slot_owners[i] == r->number)
            return i;
        if (e->slot_owners[i] == 0)
            free_one = i;
    }
    *fresh = true;
    e->slot_owners[free_one] = r->number;
    return free_one;
}

/* How a request's tokens are chosen, for a slot that it did not have before. */
static void set_sampling(struct engine *e, size_t slot, const struct request *r)
{
    const struct device_sampling s = {.params = &r->params,
                                      .seed = r->seed,
                                      .tokens = r->tokens,
                                      .n_tokens = r->n_tokens,
                                      .n_prompt = r->n_prompt,
                                      .end_ids = r->end_ids,
                                      .n_end_ids = r->n_end_ids};
    device_set_sampling(e->device, slot, &s);
}

struct err engine_device_launch(struct engine *e, float *logits)
{
    size_t row = 0;
    device_begin(e->device);
    for (size_t i = 0; i < e->sched.n_items; i++) {
        const struct request *r = e->sched.items[i].request;
        size_t n = e->sched.items[i].n_rows;
        bool fresh;
        size_t slot = slot_of(e, r, &fresh);
        bool known = r->n_computed < r->n_tokens; /* else it is the one token ahead */
        device_set_pages(e->device, slot, r->pages.pages, r->pages.n, fresh);
        if (fresh)
            set_sampling(e, slot, r);
        if (e->sched.items[i].chooses && r->params.mask != NULL)
            device_set_mask(e->device, slot, engine_allowed(e, r));
        device_add_rows(e->device, slot, known ? r->tokens + r->n_computed : NULL, r->n_computed,
                        n);
        row += n;
        if (e->sched.items[i].chooses)
            device_want_logits(e->device, row - 1);
    }
    return device_launch(e->device, logits);
}

struct err engine_device_logits(struct engine *e, const uint32_t *tokens, size_t first, size_t n,
                                const struct page_list *pages, float *rows)
{
    size_t slot = e->options.max_requests; /* the last one, which no request has */
    device_begin(e->device);
    device_set_pages(e->device, slot, pages->pages, pages->n, true);
    device_add_rows(e->device, slot, tokens, first, n);
    for (size_t i = 0; i < n; i++)
        device_want_logits(e->device, i);
    return device_logits(e->device, rows);
}

/* Pages are the slots' own once they have requests; until then one may be everybody's. */
static struct err decode_rows(struct engine *e, const struct page_list *pages, size_t n)
{
    const uint32_t token = 0;
    struct engine_params params;
    engine_params_default(e, &params);
    const struct device_sampling sampling = {
        .params = &params, .tokens = &token, .n_tokens = 1, .n_prompt = 1};
    device_begin(e->device);
    for (size_t i = 0; i < n; i++) {
        device_set_pages(e->device, i, pages->pages, pages->n, true);
        device_set_sampling(e->device, i, &sampling);
        device_add_rows(e->device, i, &token, 0, 1);
        device_want_logits(e->device, i);
    }
    TRY(device_launch(e->device, NULL));
    return device_read(e->device);
}

struct err engine_device_warm_up(struct engine *e, const struct page_list *pages)
{
    size_t most = e->options.max_requests < e->options.token_budget ? e->options.max_requests
                                                                    : e->options.token_budget;
    for (size_t n = 1; n < most; n *= 2)
        TRY(decode_rows(e, pages, n));
    return decode_rows(e, pages, most);
}
