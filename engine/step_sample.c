/* The next token of a request: chosen here on the CPU, or on the GPU together with the step. */
#include <stdatomic.h>
#include <string.h>

#include "engine/engine_internal.h"

const uint32_t *engine_allowed(struct engine *e, const struct request *r)
{
    const struct engine_params *p = &r->params;
    size_t n_words = (e->config.vocab_size + 31) / 32;
    memset(e->allowed, 0xff, n_words * sizeof *e->allowed);
    p->mask(p->mask_context, p->choice, r->tokens + r->n_prompt, r->n_tokens - r->n_prompt,
            e->allowed);
    for (size_t i = 0; e->sampled_ids != NULL && i < (e->n_sampled_vocab + 31) / 32; i++)
        e->allowed[i] &= e->sampled_ids[i];
    return e->allowed;
}

float *engine_logit_row(const struct engine *e, uint64_t step, size_t n)
{
    size_t row = step % e->depth * e->options.max_requests + n;
    return e->logits != NULL ? e->logits + row * e->config.vocab_size : NULL;
}

static struct err choose_on_cpu(struct engine *e, struct sampler *sampler, const struct request *r,
                                size_t n, struct sample_result *out)
{
    const struct sample_request s = {.logits = engine_logit_row(e, e->progress.n_steps, n),
                                     .params = &r->params,
                                     .seed = r->seed,
                                     .position = r->n_tokens,
                                     .counts = &r->counts,
                                     .banned = r->end_ids,
                                     .n_banned = request_must_go_on(r) ? r->n_end_ids : 0,
                                     .allowed = r->params.mask != NULL ? engine_allowed(e, r)
                                                                       : e->sampled_ids};
    return sample_token(sampler, &s, out);
}

struct choosing {
    struct engine *e;
    size_t n_rows;
    atomic_size_t next; /* the first row that no thread has taken */
};

/* Not a row whose request has a mask: that is asked on the engine's own thread. Nor one that cannot
 * be chosen from: its error is told on that thread, too. */
static void choose_row(struct engine *e, struct sampler *sampler, size_t n)
{
    struct engine_choice *c = &e->choices[n];
    if (c->request != NULL && c->request->params.mask == NULL)
        c->is_made = !is_err(choose_on_cpu(e, sampler, c->request, n, &c->result));
}

/* Items are samplers; each goes on with the next row until none is left. */
static void choose_rows(void *context, size_t begin, size_t end, unsigned thread)
{
    (void)thread;
    struct choosing *c = context;
    for (size_t i = begin; i < end; i++)
        for (size_t n; (n = atomic_fetch_add(&c->next, 1)) < c->n_rows;)
            choose_row(c->e, c->e->samplers[i], n);
}

void engine_choose_ahead(struct engine *e, const struct sched_flight *f)
{
    struct choosing c = {.e = e};
    for (size_t i = 0; i < f->n_items; i++)
        if (f->items[i].chooses)
            e->choices[c.n_rows++] = (struct engine_choice){.request = f->items[i].request};
    pool_run(e->pool, c.n_rows < e->n_samplers ? c.n_rows : e->n_samplers, 1, choose_rows, &c);
}

struct err engine_choose(struct engine *e, const struct request *r, size_t n,
                         struct sample_result *out)
{
    if (e->device != NULL)
        return device_choice(e->device, n, r->params.min_tokens, out);
    if (!e->choices[n].is_made)
        return choose_on_cpu(e, e->samplers[0], r, n, out);
    *out = e->choices[n].result;
    return err_ok();
}
