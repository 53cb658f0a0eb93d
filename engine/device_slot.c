/*
 * What a slot keeps on the device: its page table, how its tokens are chosen. It goes there behind
 * the steps that were launched, from pinned memory of the step that is being put together, which is
 * left alone until that one has been read.
 */
#include <string.h>

#include "engine/device_internal.h"

/* Room for `len` bytes on their way; when there is none, all that was enqueued must have passed. */
static uint8_t *stage(struct device *d, size_t len)
{
    struct device_flight *f = &d->flights[d->n_launched % DEVICE_FLIGHTS];
    if (len > DEVICE_STAGE_LEN - f->n_staged) {
        device_fail(d, d->gpu->stream_wait(d->stream));
        f->n_staged = 0;
    }
    uint8_t *at = f->stage + f->n_staged;
    f->n_staged += (len + 15) / 16 * 16;
    return at;
}

void device_upload(struct device *d, struct gpu_address to, const void *from, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < DEVICE_STAGE_LEN ? len - at : DEVICE_STAGE_LEN;
        uint8_t *staged = stage(d, n);
        memcpy(staged, (const uint8_t *)from + at, n);
        device_fail(d, d->gpu->copy_to(d->stream, device_at(to, at), staged, n));
    }
}

void device_set_pages(struct device *d, size_t slot, const uint32_t *pages, size_t n, bool fresh)
{
    size_t known = fresh ? 0 : d->n_in_table[slot];
    d->n_in_table[slot] = n;
    if (n > known)
        device_upload(d, device_at(d->slot_tables, (slot * d->table_len + known) * sizeof *pages),
                      pages + known, (n - known) * sizeof *pages);
}

static bool has_penalties(const struct engine_params *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

static struct gpu_address of_slot(struct gpu_address all, size_t slot, size_t len)
{
    return device_at(all, (uint64_t)slot * len);
}

static struct gpu_address counts_of(const struct device *d, size_t slot)
{
    return of_slot(d->counts, slot, d->sizes.n_sampled_vocab * sizeof(uint32_t));
}

static struct gpu_address mask_of(const struct device *d, size_t slot)
{
    return of_slot(d->masks, slot, device_mask_words(&d->sizes) * sizeof(uint32_t));
}

/* Of one slot at a time: its tokens lie where those of the one before did. */
static struct err count_tokens(struct device *d, size_t slot, const struct device_sampling *s)
{
    enum { COUNT_BLOCKS = 8 };
    const struct cuda_count_args args = {.counts = device_pointer(counts_of(d, slot)),
                                         .tokens = device_pointer(d->slot_tokens),
                                         .n_tokens = (uint32_t)s->n_tokens,
                                         .n_prompt = (uint32_t)s->n_prompt,
                                         .n_vocab = (uint32_t)d->sizes.n_sampled_vocab};
    const struct gpu_launch how = {.grid = {COUNT_BLOCKS, 1, 1}, .block = {CUDA_BLOCK, 1, 1}};
    TRY(d->gpu->fill(d->stream, counts_of(d, slot), 0,
                     d->sizes.n_sampled_vocab * sizeof(uint32_t)));
    device_upload(d, d->slot_tokens, s->tokens, s->n_tokens * sizeof *s->tokens);
    return d->gpu->launch(d->stream, d->kernels.count_tokens, &how, &args, sizeof args);
}

static const void *allowed_of(const struct device *d, size_t slot, const struct engine_params *p)
{
    if (p->mask != NULL)
        return device_pointer(mask_of(d, slot));
    return d->sizes.sampled_ids != NULL ? device_pointer(d->allowed) : NULL;
}

void device_set_sampling(struct device *d, size_t slot, const struct device_sampling *s)
{
    const struct engine_params *p = s->params;
    struct gpu_address ends = of_slot(d->ends, slot, DEVICE_ENDS_MAX * sizeof *s->end_ids),
                       biases = of_slot(d->biases, slot, ENGINE_BIAS_MAX * sizeof *p->logit_bias);
    const struct cuda_sample_params params = {
        .seed = s->seed,
        .choice = p->choice,
        .temperature = p->temperature,
        .top_p = p->top_p,
        .min_p = p->min_p,
        .top_k = p->top_k,
        .repetition_penalty = p->repetition_penalty,
        .frequency_penalty = p->frequency_penalty,
        .presence_penalty = p->presence_penalty,
        .counts = has_penalties(p) ? device_pointer(counts_of(d, slot)) : NULL,
        .biases = device_pointer(biases),
        .end_ids = device_pointer(ends),
        .allowed = allowed_of(d, slot, p),
        .n_biases = (uint32_t)p->n_logit_bias,
        .n_end_ids = (uint32_t)s->n_end_ids,
        .may_end_at = (uint32_t)s->n_prompt + p->min_tokens,
        .logprobs = p->logprobs,
        .n_logprobs = p->logprobs ? p->n_logprobs : 0};
    _Static_assert(sizeof(struct engine_bias) == sizeof(struct cuda_token_float), "copied as is");
    device_upload(d, of_slot(d->params, slot, sizeof params), &params, sizeof params);
    device_upload(d, biases, p->logit_bias, p->n_logit_bias * sizeof *p->logit_bias);
    device_upload(d, ends, s->end_ids, s->n_end_ids * sizeof *s->end_ids);
    if (has_penalties(p))
        device_fail(d, count_tokens(d, slot, s));
    d->slot_has_tops[slot] = params.n_logprobs > 0;
}

void device_set_mask(struct device *d, size_t slot, const uint32_t *allowed)
{
    device_upload(d, mask_of(d, slot), allowed, device_mask_words(&d->sizes) * sizeof *allowed);
}
