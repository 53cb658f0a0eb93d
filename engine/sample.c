#include "engine/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/philox.h"
#include "kernels/det.h"

/* Probability relative to the best token's, in units of 2^-40. */
#define WEIGHT_ONE 0x1p40f

__extension__ typedef unsigned __int128 u128;

struct candidate {
    float z;
    uint32_t id;
};

struct sampler {
    size_t n_vocab;
    float *z;          /* logits with penalties */
    uint32_t *counts;  /* of each token in the answer; zero between calls */
    uint8_t *seen;     /* in prompt or answer; zero between calls */
    uint64_t *weights; /* 0: cannot be chosen */
    struct candidate *heap;
};

struct err sampler_new(struct sampler **out, size_t n_vocab)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "no memory for a sampler");
    s->n_vocab = n_vocab;
    s->z = calloc(n_vocab, sizeof *s->z);
    s->counts = calloc(n_vocab, sizeof *s->counts);
    s->seen = calloc(n_vocab, sizeof *s->seen);
    s->weights = calloc(n_vocab, sizeof *s->weights);
    s->heap = calloc(n_vocab, sizeof *s->heap);
    if (s->z == NULL || s->counts == NULL || s->seen == NULL || s->weights == NULL ||
        s->heap == NULL) {
        sampler_free(s);
        return err_set(ERR_MEMORY, "no memory for a sampler of %zu tokens", n_vocab);
    }
    *out = s;
    return err_ok();
}

void sampler_wipe(struct sampler *s)
{
    explicit_bzero(s->z, s->n_vocab * sizeof *s->z);
    explicit_bzero(s->weights, s->n_vocab * sizeof *s->weights);
    explicit_bzero(s->heap, s->n_vocab * sizeof *s->heap);
}

void sampler_free(struct sampler *s)
{
    if (s == NULL)
        return;
    if (s->z != NULL && s->weights != NULL && s->heap != NULL)
        sampler_wipe(s);
    free(s->z);
    free(s->counts);
    free(s->seen);
    free(s->weights);
    free(s->heap);
    free(s);
}

/* Rank order: higher z first, then the lower id. */
static bool ranks_before(struct candidate a, struct candidate b)
{
    return a.z > b.z || (a.z == b.z && a.id < b.id);
}

/* Step 1: z = logits with penalties. Repetition (over prompt and answer) divides positive logits
 * and multiplies others; then frequency and presence (over the answer) are subtracted. */
static void apply_penalties(struct sampler *s, const struct sample_request *r)
{
    const struct engine_params *p = r->params;
    memcpy(s->z, r->logits, s->n_vocab * sizeof *s->z);
    for (size_t i = 0; i < r->n_tokens; i++) {
        uint32_t id = r->tokens[i];
        if (id >= s->n_vocab)
            continue;
        if (!s->seen[id] && p->repetition_penalty != 1.0f) {
            float z = s->z[id];
            s->z[id] = z > 0.0f ? z / p->repetition_penalty : z * p->repetition_penalty;
        }
        s->seen[id] = 1;
        s->counts[id] += i >= r->n_prompt;
    }
    for (size_t i = 0; i < r->n_tokens; i++) {
        uint32_t id = r->tokens[i];
        if (id >= s->n_vocab)
            continue;
        if (s->counts[id] > 0)
            s->z[id] =
                (s->z[id] - p->frequency_penalty * (float)s->counts[id]) - p->presence_penalty;
        s->counts[id] = 0;
        s->seen[id] = 0;
    }
}

/* The first token in rank order; ERR_UNTRUE unless all z are numbers and the best is finite. */
static struct err find_best(const struct sampler *s, struct candidate *best)
{
    *best = (struct candidate){s->z[0], 0};
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (isnan(s->z[i]))
            return err_set(ERR_UNTRUE,
                           "the model gave a logit that is not a number (token %zu); "
                           "its weights may be damaged",
                           i);
        struct candidate c = {s->z[i], (uint32_t)i};
        if (ranks_before(c, *best))
            *best = c;
    }
    if (isinf(best->z))
        return err_set(ERR_UNTRUE,
                       "the model gave an infinite logit (token %u); its weights may "
                       "be damaged",
                       best->id);
    return err_ok();
}

/* Step 2: weights, and 0 for what min_p removes. Returns their sum. */
static uint64_t make_weights(struct sampler *s, float best, float temperature, float min_p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        float w = det_exp((s->z[i] - best) / temperature);
        s->weights[i] = w >= min_p ? (uint64_t)(w * WEIGHT_ONE) : 0;
        sum += s->weights[i];
    }
    return sum;
}

static void sift_down(struct candidate *heap, size_t n, size_t at)
{
    for (;;) {
        size_t best = at, left = 2 * at + 1, right = left + 1;
        if (left < n && ranks_before(heap[left], heap[best]))
            best = left;
        if (right < n && ranks_before(heap[right], heap[best]))
            best = right;
        if (best == at)
            return;
        struct candidate c = heap[at];
        heap[at] = heap[best];
        heap[best] = c;
        at = best;
    }
}

static size_t build_heap(struct sampler *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_vocab; i++)
        if (s->weights[i] > 0)
            s->heap[n++] = (struct candidate){s->z[i], (uint32_t)i};
    for (size_t i = n / 2; i-- > 0;)
        sift_down(s->heap, n, i);
    return n;
}

/* Moves the first in rank order behind the heap's end: heap[n - 1] afterwards. */
static struct candidate pop(struct candidate *heap, size_t n)
{
    struct candidate first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sift_down(heap, n - 1, 0);
    return first;
}

static void reverse(struct candidate *items, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct candidate c = items[i];
        items[i] = items[n - 1 - i];
        items[n - 1 - i] = c;
    }
}

/* Steps 3 and 4: the last token in rank order that top_k and top_p leave; `sum` is of all weights.
 */
static struct candidate find_cut(struct sampler *s, const struct engine_params *p, uint64_t sum)
{
    size_t n = build_heap(s), n_kept = n;
    struct candidate *kept = s->heap;
    if (p->top_k > 0 && p->top_k < n) {
        n_kept = p->top_k;
        sum = 0;
        for (size_t i = 0; i < n_kept; i++)
            sum += s->weights[pop(s->heap, n - i).id];
        /* They stand at the end, last one first; in rank order they are a heap again. */
        kept = s->heap + (n - n_kept);
        reverse(kept, n_kept);
        if (p->top_p >= 1.0f)
            return kept[n_kept - 1];
    }
    if (p->top_p >= 1.0f)
        return (struct candidate){-INFINITY, UINT32_MAX};
    uint64_t threshold = (uint64_t)((double)p->top_p * (double)sum), reached = 0;
    struct candidate last = kept[0];
    for (size_t i = 0; i < n_kept; i++) {
        last = pop(kept, n_kept - i);
        reached += s->weights[last.id];
        if (reached >= threshold)
            break;
    }
    return last;
}

static void remove_behind(struct sampler *s, struct candidate cut)
{
    for (size_t i = 0; i < s->n_vocab; i++)
        if (ranks_before(cut, (struct candidate){s->z[i], (uint32_t)i}))
            s->weights[i] = 0;
}

/* Step 5: the token whose interval, ids ascending, holds the random number. */
static uint32_t draw(const struct sampler *s, const struct sample_request *r)
{
    uint64_t sum = 0, reached = 0;
    for (size_t i = 0; i < s->n_vocab; i++)
        sum += s->weights[i];
    uint32_t words[4], key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
    uint32_t counter[4] = {(uint32_t)r->n_tokens, r->params->choice, 0, 0};
    philox4x32_10(words, counter, key);
    uint64_t random = (uint64_t)words[1] << 32 | words[0];
    uint64_t point = (uint64_t)(((u128)random * sum) >> 64);
    uint32_t last = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        reached += s->weights[i];
        last = (uint32_t)i;
        if (reached > point)
            break;
    }
    return last;
}

struct err sample_token(struct sampler *s, const struct sample_request *r, uint32_t *id)
{
    const struct engine_params *p = r->params;
    struct candidate best;
    apply_penalties(s, r);
    TRY(find_best(s, &best));
    if (p->temperature == 0.0f) {
        *id = best.id;
        return err_ok();
    }
    uint64_t sum = make_weights(s, best.z, p->temperature, p->min_p);
    if (p->top_k > 0 || p->top_p < 1.0f)
        remove_behind(s, find_cut(s, p, sum));
    *id = draw(s, r);
    return err_ok();
}

static size_t insert_top(struct candidate *top, size_t n, size_t max, struct candidate c)
{
    size_t at = n;
    while (at > 0 && ranks_before(c, top[at - 1]))
        at--;
    if (at == max)
        return n;
    size_t n_after = n < max ? n + 1 : max;
    memmove(top + at + 1, top + at, (n_after - 1 - at) * sizeof *top);
    top[at] = c;
    return n_after;
}

void sample_logprobs(struct sampler *s, const float *logits, uint32_t id, size_t n_top,
                     struct engine_logprob *chosen, struct engine_logprob *top)
{
    struct candidate best[ENGINE_LOGPROBS_MAX + 1];
    size_t n = 0, want = n_top > 0 ? n_top : 1;
    for (size_t i = 0; i < s->n_vocab; i++)
        n = insert_top(best, n, want, (struct candidate){logits[i], (uint32_t)i});
    memcpy(s->z, logits, s->n_vocab * sizeof *s->z);
    uint64_t sum = make_weights(s, best[0].z, 1.0f, 0.0f);
    double log_sum = det_log64((double)sum * 0x1p-40);
    *chosen =
        (struct engine_logprob){id, (float)(((double)logits[id] - (double)best[0].z) - log_sum)};
    for (size_t i = 0; i < n_top && i < n; i++)
        top[i] = (struct engine_logprob){
            best[i].id, (float)(((double)best[i].z - (double)best[0].z) - log_sum)};
}
