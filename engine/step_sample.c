/* The next token of a request: chosen here on the CPU, or on the GPU together with the step. */
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

static struct err choose_on_cpu(struct engine *e, const struct request *r, const float *logits,
                                struct sample_result *out)
{
    const struct sample_request s = {.logits = logits,
                                     .params = &r->params,
                                     .seed = r->seed,
                                     .position = r->n_tokens,
                                     .counts = &r->counts,
                                     .banned = r->end_ids,
                                     .n_banned = request_must_go_on(r) ? r->n_end_ids : 0,
                                     .allowed = r->params.mask != NULL ? engine_allowed(e, r)
                                                                       : e->sampled_ids};
    return sample_token(e->sampler, &s, out);
}

float *engine_logit_row(const struct engine *e, uint64_t step, size_t n)
{
    size_t row = step % e->depth * e->options.max_requests + n;
    return e->logits != NULL ? e->logits + row * e->config.vocab_size : NULL;
}

struct err engine_choose(struct engine *e, const struct request *r, size_t n,
                         struct sample_result *out)
{
    if (e->device != NULL)
        return device_choice(e->device, n, r->params.min_tokens, out);
    return choose_on_cpu(e, r, engine_logit_row(e, e->progress.n_steps, n), out);
}
