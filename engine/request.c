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

static struct err check_ends(const struct engine_params *p, unsigned vocab_size)
{
    if (p->n_stop_ids > ENGINE_STOP_IDS_MAX)
        return err_set(ERR_USAGE, "%zu stop tokens; at most %d are allowed", p->n_stop_ids,
                       ENGINE_STOP_IDS_MAX);
    for (size_t i = 0; i < p->n_stop_ids; i++)
        if (p->stop_ids[i] >= vocab_size)
            return err_set(ERR_USAGE, "a stop token is %u; the vocabulary ends at %u",
                           p->stop_ids[i], vocab_size - 1);
    if (p->max_tokens > 0 && p->min_tokens > p->max_tokens)
        return err_set(ERR_USAGE, "min_tokens is %u, more than max_tokens, which is %u",
                       p->min_tokens, p->max_tokens);
    return err_ok();
}

static struct err check_params(const struct engine_params *p, unsigned vocab_size)
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
    if (p->n_logit_bias > ENGINE_BIAS_MAX)
        return err_set(ERR_USAGE, "%zu tokens have a logit_bias; at most %d may", p->n_logit_bias,
                       ENGINE_BIAS_MAX);
    for (size_t i = 0; i < p->n_logit_bias; i++)
        TRY(check_range("logit_bias", p->logit_bias[i].bias, -100.0f, 100.0f));
    return check_ends(p, vocab_size);
}

static struct err check_class(const struct engine_params *p)
{
    if (p->n_choices > ENGINE_CHOICES_MAX)
        return err_set(ERR_USAGE, "%u choices were asked for; at most %d are given", p->n_choices,
                       ENGINE_CHOICES_MAX);
    if ((unsigned)p->priority >= ENGINE_PRIORITIES)
        return err_set(ERR_USAGE, "priority %u is not known", (unsigned)p->priority);
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

static void free_group(struct request_group *g)
{
    explicit_bzero(g, sizeof *g);
    free(g);
}

static struct err make_group(struct request_group **out, const struct engine_params *p)
{
    struct request_group *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_set(ERR_MEMORY, "no memory for a request");
    g->keeps_pages = p->has_cache_salt;
    if (p->has_cache_salt)
        memcpy(g->salt, p->cache_salt, sizeof g->salt);
    else
        random_bytes(g->salt, sizeof g->salt);
    *out = g;
    return err_ok();
}

static int compare_biases(const void *a, const void *b)
{
    const struct engine_bias *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* A copy in order of ids, each there once and in the vocabulary. */
static struct err take_biases(struct request *r, const struct engine_params *p, unsigned vocab_size)
{
    r->params.logit_bias = r->logit_bias = calloc(p->n_logit_bias + 1, sizeof *r->logit_bias);
    if (r->logit_bias == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu biases", p->n_logit_bias);
    if (p->n_logit_bias > 0)
        memcpy(r->logit_bias, p->logit_bias, p->n_logit_bias * sizeof *r->logit_bias);
    qsort(r->logit_bias, p->n_logit_bias, sizeof *r->logit_bias, compare_biases);
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        uint32_t id = r->logit_bias[i].id;
        if (id >= vocab_size)
            return err_set(ERR_USAGE, "logit_bias has token %u; the vocabulary ends at %u", id,
                           vocab_size - 1);
        if (i > 0 && r->logit_bias[i - 1].id == id)
            return err_set(ERR_USAGE, "logit_bias has token %u twice", id);
    }
    return err_ok();
}

static struct err take_ends(struct request *r, const struct request_source *s)
{
    size_t n_eos = s->params->ignore_eos ? 0 : s->n_eos;
    r->end_ids = calloc(n_eos + s->params->n_stop_ids + 1, sizeof *r->end_ids);
    if (r->end_ids == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu stop tokens", s->params->n_stop_ids);
    for (size_t i = 0; i < n_eos; i++)
        r->end_ids[r->n_end_ids++] = s->eos_ids[i];
    for (size_t i = 0; i < s->params->n_stop_ids; i++)
        r->end_ids[r->n_end_ids++] = s->params->stop_ids[i];
    return err_ok();
}

/* The prompt, and room for its keys. */
static struct err take_prompt(struct request *r, const struct request_source *s, size_t max_context)
{
    r->n_max = s->params->max_tokens > 0 ? s->n_prompt + s->params->max_tokens : max_context;
    r->tokens = calloc(s->n_prompt, sizeof *r->tokens);
    r->keys = calloc(s->n_prompt / KV_PAGE_TOKENS + 1, sizeof *r->keys);
    if (r->tokens == NULL || r->keys == NULL)
        return err_set(ERR_MEMORY, "no memory for a request of %zu tokens", s->n_prompt);
    memcpy(r->tokens, s->prompt, s->n_prompt * sizeof *r->tokens);
    r->n_prompt = r->n_tokens = r->room = s->n_prompt;
    return err_ok();
}

static struct err fill(struct request *r, const struct request_source *s, unsigned vocab_size,
                       size_t max_context)
{
    r->params = *s->params;
    r->params.stop = NULL;
    r->params.n_stop = 0;
    r->params.stop_ids = NULL;
    r->params.n_stop_ids = 0;
    r->params.logit_bias = NULL;
    explicit_bzero(r->params.cache_salt, sizeof r->params.cache_salt); /* the group's */
    r->sink = s->sink;
    r->context = s->context;
    TRY(output_init(&r->output, s->params->stop, s->params->n_stop));
    TRY(take_biases(r, s->params, vocab_size));
    TRY(take_ends(r, s));
    return take_prompt(r, s, max_context);
}

/* The member of `group` that answers one choice. */
static struct err make_choice(struct request **out, const struct request_source *s,
                              struct request_group *group, unsigned choice, unsigned vocab_size,
                              size_t max_context)
{
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "no memory for a request");
    struct err e = fill(r, s, vocab_size, max_context);
    if (is_err(e)) {
        request_free(r);
        return e;
    }
    r->params.choice = choice;
    r->group = group;
    group->n_members++;
    *out = r;
    return err_ok();
}

static struct err make_choices(struct request_queue *out, const struct request_source *s,
                               struct request_group *group, unsigned vocab_size, size_t max_context)
{
    unsigned n = s->params->n_choices > 0 ? s->params->n_choices : 1;
    uint64_t seed = s->params->seed;
    if (!s->params->has_seed)
        random_bytes(&seed, sizeof seed);
    for (unsigned i = 0; i < n; i++) {
        struct request *r = NULL;
        TRY(make_choice(&r, s, group, s->params->choice + i, vocab_size, max_context));
        r->seed = seed;
        queue_push(out, r);
    }
    return err_ok();
}

struct err request_new(struct request_queue *out, const struct request_source *s,
                       unsigned vocab_size, size_t max_context)
{
    struct request_group *group = NULL;
    struct request_queue made = {0};
    TRY(check_params(s->params, vocab_size));
    TRY(check_class(s->params));
    TRY(check_prompt(s, vocab_size, max_context));
    TRY(make_group(&group, s->params));
    struct err e = make_choices(&made, s, group, vocab_size, max_context);
    if (is_err(e) && made.n == 0)
        free_group(group);
    if (is_err(e)) {
        while (made.n > 0)
            request_free(queue_pop(&made));
        return e;
    }
    while (made.n > 0)
        queue_push(out, queue_pop(&made));
    return err_ok();
}

struct err request_append(struct request *r, uint32_t id)
{
    if (request_has_penalties(r))
        TRY(token_counts_add(&r->counts, id, true));
    r->tokens[r->n_tokens++] = id;
    return err_ok();
}

bool request_goes_on(const struct request *r)
{
    if (r->n_ahead == 0)
        return true;
    return r->n_tokens + r->n_ahead < r->n_max && r->params.mask == NULL;
}

bool request_ends_with(const struct request *r, uint32_t id)
{
    for (size_t i = 0; i < r->n_end_ids; i++)
        if (r->end_ids[i] == id)
            return true;
    return false;
}

bool request_has_penalties(const struct request *r)
{
    const struct engine_params *p = &r->params;
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

bool request_must_go_on(const struct request *r)
{
    return r->n_tokens - r->n_prompt < r->params.min_tokens;
}

static void leave_group(struct request_group *g)
{
    if (g != NULL && --g->n_members == 0)
        free_group(g);
}

void request_free(struct request *r)
{
    if (r == NULL)
        return;
    request_free_room(r);
    if (r->logit_bias != NULL)
        explicit_bzero(r->logit_bias, r->params.n_logit_bias * sizeof *r->logit_bias);
    if (r->end_ids != NULL)
        explicit_bzero(r->end_ids, r->n_end_ids * sizeof *r->end_ids);
    free(r->logit_bias);
    free(r->end_ids);
    token_counts_cleanup(&r->counts);
    output_cleanup(&r->output);
    leave_group(r->group);
    explicit_bzero(r, sizeof *r);
    free(r);
}

void request_make_keys(struct request *r, size_t n)
{
    for (; r->n_keys < n; r->n_keys++)
        prefix_key(r->keys[r->n_keys], r->n_keys > 0 ? r->keys[r->n_keys - 1] : r->group->salt,
                   r->tokens + r->n_keys * KV_PAGE_TOKENS);
}

static void count_in(struct request_queue *q, struct request *r)
{
    r->size = request_size(r);
    q->n_bytes += r->size;
    q->n++;
}

void queue_push(struct request_queue *q, struct request *r)
{
    r->next = NULL;
    if (q->last != NULL)
        q->last->next = r;
    else
        q->first = r;
    q->last = r;
    count_in(q, r);
}

void queue_insert(struct request_queue *q, struct request *r)
{
    if (q->last == NULL || q->last->number < r->number) {
        queue_push(q, r);
        return;
    }
    struct request **at = &q->first;
    while ((*at)->number < r->number)
        at = &(*at)->next;
    r->next = *at;
    *at = r;
    count_in(q, r);
}

struct request *queue_pop(struct request_queue *q)
{
    struct request *r = q->first;
    if (r != NULL)
        queue_remove(q, r);
    return r;
}

void queue_remove(struct request_queue *q, struct request *r)
{
    struct request *before = NULL;
    for (struct request *at = q->first; at != r; at = at->next)
        before = at;
    *(before != NULL ? &before->next : &q->first) = r->next;
    if (q->last == r)
        q->last = before;
    q->n--;
    q->n_bytes -= r->size;
    r->next = NULL;
}
