#include "engine/request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct err check_range(const char *name, float value, float min, float max)
{
    if (value >= min && value <= max)
        return err_ok();
    return err_set(ERR_USAGE, "%s is %g; it must be from %g to %g", name, (double)value,
                   (double)min, (double)max);
}

static struct err check_params(const struct engine_params *p)
{
    TRY(check_range("temperature", p->temperature, 0.0f, 100.0f));
    TRY(check_range("top_p", p->top_p, 0.0f, 1.0f));
    TRY(check_range("min_p", p->min_p, 0.0f, 1.0f));
    TRY(check_range("presence_penalty", p->presence_penalty, -100.0f, 100.0f));
    TRY(check_range("frequency_penalty", p->frequency_penalty, -100.0f, 100.0f));
    TRY(check_range("repetition_penalty", p->repetition_penalty, 0.01f, 100.0f));
    if (p->n_logprobs > ENGINE_LOGPROBS_MAX)
        return err_set(ERR_USAGE, "%u alternatives per token were asked for; at most %d are given",
                       p->n_logprobs, ENGINE_LOGPROBS_MAX);
    return err_ok();
}

static struct err check_prompt(const struct request_source *s, unsigned vocab_size,
                               size_t max_context)
{
    size_t n_answer = s->params->max_tokens > 0 ? s->params->max_tokens : 1;
    if (s->n_prompt == 0)
        return err_set(ERR_USAGE, "the prompt has no tokens");
    if (s->n_prompt > max_context || n_answer > max_context - s->n_prompt)
        return err_set(ERR_LIMIT,
                       "the prompt has %zu tokens and %zu are to be generated; the context holds "
                       "%zu",
                       s->n_prompt, n_answer, max_context);
    for (size_t i = 0; i < s->n_prompt; i++)
        if (s->prompt[i] >= vocab_size)
            return err_set(ERR_USAGE, "token %zu of the prompt is %u; the vocabulary ends at %u", i,
                           s->prompt[i], vocab_size - 1);
    return err_ok();
}

struct err request_new(struct request **out, const struct request_source *s, unsigned vocab_size,
                       size_t max_context)
{
    TRY(check_params(s->params));
    TRY(check_prompt(s, vocab_size, max_context));
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "no memory for a request");
    struct err e = output_init(&r->output, s->params->stop, s->params->n_stop);
    if (is_err(e)) {
        free(r);
        return e;
    }
    r->n_max = s->params->max_tokens > 0 ? s->n_prompt + s->params->max_tokens : max_context;
    r->tokens = calloc(r->n_max, sizeof *r->tokens);
    if (r->tokens == NULL) {
        request_free(r);
        return err_set(ERR_MEMORY, "no memory for a request of %zu tokens", s->n_prompt);
    }
    memcpy(r->tokens, s->prompt, s->n_prompt * sizeof *r->tokens);
    r->n_prompt = r->n_tokens = s->n_prompt;
    r->params = *s->params;
    r->params.stop = NULL;
    r->params.n_stop = 0;
    r->sink = s->sink;
    r->context = s->context;
    r->seed = s->params->seed;
    if (!s->params->has_seed)
        random_bytes(&r->seed, sizeof r->seed);
    *out = r;
    return err_ok();
}

void request_free(struct request *r)
{
    if (r == NULL)
        return;
    if (r->tokens != NULL)
        explicit_bzero(r->tokens, r->n_max * sizeof *r->tokens);
    free(r->tokens);
    output_cleanup(&r->output);
    explicit_bzero(&r->detokenizer, sizeof r->detokenizer);
    free(r);
}

void queue_push(struct request_queue *q, struct request *r)
{
    r->next = NULL;
    if (q->last != NULL)
        q->last->next = r;
    else
        q->first = r;
    q->last = r;
    q->n++;
}

void queue_push_front(struct request_queue *q, struct request *r)
{
    r->next = q->first;
    q->first = r;
    if (q->last == NULL)
        q->last = r;
    q->n++;
}

struct request *queue_pop(struct request_queue *q)
{
    return q->first != NULL ? queue_remove(q, q->first->id) : NULL;
}

struct request *queue_remove(struct request_queue *q, uint64_t id)
{
    struct request *before = NULL;
    for (struct request *r = q->first; r != NULL; before = r, r = r->next) {
        if (r->id != id)
            continue;
        if (before != NULL)
            before->next = r->next;
        else
            q->first = r->next;
        if (q->last == r)
            q->last = before;
        q->n--;
        r->next = NULL;
        return r;
    }
    return NULL;
}

void queue_append(struct request_queue *to, struct request_queue *from)
{
    while (from->first != NULL)
        queue_push(to, queue_pop(from));
}
