/* Choosing tokens from a step's logits on the device, and reading what was chosen. */
#include "engine/device_internal.h"
#include "engine/sample_fault.h"

struct err device_sample(const struct device *d, size_t n_logits)
{
    const struct device_sizes *s = &d->sizes;
    const struct cuda_sample_args args = {.out = device_pointer(d->sampled),
                                          .top = device_pointer(d->tops),
                                          .newest = device_pointer(d->newest),
                                          .newest_at = device_pointer(d->newest_at),
                                          .logits = device_pointer(d->logits),
                                          .z = device_pointer(d->z),
                                          .scratch = device_pointer(d->scratch),
                                          .params = device_pointer(d->params),
                                          .plan = d->inputs_on_device.plan,
                                          .positions = device_pointer(d->positions),
                                          .rows = d->inputs_on_device.logit_rows,
                                          .n_vocab = (uint32_t)s->n_sampled_vocab,
                                          .row_len = d->config->vocab_size};
    const struct gpu_launch scan =
        kernel_set_scan(d->set, d->info.n_multiprocessors, s->n_sampled_vocab, n_logits);
    const struct gpu_launch choose = kernel_set_choose(d->set, n_logits);
    TRY(d->gpu->launch(d->stream, d->kernels.sample_scan, &scan, &args, sizeof args));
    TRY(d->gpu->launch(d->stream, d->kernels.sample_weigh, &scan, &args, sizeof args));
    return d->gpu->launch(d->stream, d->kernels.sample_choose, &choose, &args, sizeof args);
}

struct err device_read(struct device *d)
{
    const struct device_flight *f = &d->flights[d->n_read % DEVICE_FLIGHTS];
    TRY(d->gpu->event_wait(f->passed));
    d->n_read++;
    return err_ok();
}

struct err device_choice(const struct device *d, size_t n, unsigned min_tokens,
                         struct sample_result *out)
{
    const struct device_flight *f = &d->flights[(d->n_read - 1) % DEVICE_FLIGHTS];
    const struct cuda_sampled *chosen = &f->sampled[n];
    const struct cuda_token_float *top = f->tops + n * CUDA_SAMPLE_TOP;
    _Static_assert((int)CUDA_SAMPLE_NOT_A_NUMBER == SAMPLE_NOT_A_NUMBER &&
                       (int)CUDA_SAMPLE_ONLY_ENDS == SAMPLE_ONLY_ENDS,
                   "the same numbers");
    if (chosen->fault != CUDA_SAMPLED)
        return sample_fault(chosen->fault, chosen->id, d->sizes.n_sampled_vocab, min_tokens);
    *out = (struct sample_result){.token = {chosen->id, chosen->logprob}, .n_top = chosen->n_top};
    for (size_t i = 0; i < chosen->n_top; i++)
        out->top[i] = (struct engine_logprob){top[i].id, top[i].value};
    return err_ok();
}
