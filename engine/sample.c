#include "engine/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample_fault.h"
#include "engine/sample_row.h"
#include "kernels/philox.h"

__extension__ typedef unsigned __int128 u128;

struct sampler {
    size_t n_vocab;
    struct row row;
    float *z;                               /* logits after step 1 */
    struct candidate *candidates, *scratch; /* (n_vocab + 1) */
    bool is_used;                           /* since it was wiped */
};

uint64_t sampler_size(size_t n_vocab)
{
    return (uint64_t)n_vocab * (sizeof(float) + 2 * sizeof(struct candidate));
}

struct err sampler_new(struct sampler **out, size_t n_vocab)
{
    struct sampler *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "no memory for a sampler");
    s->n_vocab = n_vocab;
    s->z = calloc(n_vocab, sizeof *s->z);
    s->candidates = calloc(n_vocab + 1, sizeof *s->candidates);
    s->scratch = calloc(n_vocab + 1, sizeof *s->scratch);
    struct err e = row_init(&s->row, n_vocab);
    if (!is_err(e) && (s->z == NULL || s->candidates == NULL || s->scratch == NULL))
        e = err_set(ERR_MEMORY, "no memory for a sampler of %zu tokens", n_vocab);
    if (is_err(e)) {
        sampler_free(s);
        return e;
    }
    *out = s;
    return err_ok();
}

void sampler_wipe(struct sampler *s)
{
    if (!s->is_used)
        return;
    s->is_used = false;
    row_wipe(&s->row);
    explicit_bzero(s->z, s->n_vocab * sizeof *s->z);
    explicit_bzero(s->candidates, (s->n_vocab + 1) * sizeof *s->candidates);
    explicit_bzero(s->scratch, (s->n_vocab + 1) * sizeof *s->scratch);
}

void sampler_free(struct sampler *s)
{
    if (s == NULL)
        return;
    sampler_wipe(s);
    row_cleanup(&s->row);
    free(s->z);
    free(s->candidates);
    free(s->scratch);
    free(s);
}

static bool has_penalties(const struct engine_params *p)
{
    return p->repetition_penalty != 1.0f || p->frequency_penalty != 0.0f ||
           p->presence_penalty != 0.0f;
}

/* Step 1, penalties. */
static void apply_penalties(struct sampler *s, const struct token_counts *counts,
                            const struct engine_params *p)
{
    for (size_t i = 0; i < counts->n; i++) {
        struct token_count c = counts->items[i];
        if (c.id >= s->n_vocab)
            continue;
        float z = s->z[c.id];
        if (p->repetition_penalty != 1.0f)
            z = z > 0.0f ? z / p->repetition_penalty : z * p->repetition_penalty;
        if (c.n_answer > 0)
            z = (z - p->frequency_penalty * (float)c.n_answer) - p->presence_penalty;
        s->z[c.id] = z;
    }
}

/* Step 1, mask: a word of 32 ids that are all allowed costs one comparison. */
static void apply_mask(struct sampler *s, const uint32_t *allowed)
{
    for (size_t first = 0; first < s->n_vocab; first += 32) {
        uint32_t word = allowed[first / 32];
        for (size_t i = 0; word != UINT32_MAX && i < 32 && first + i < s->n_vocab; i++)
            if (!(word >> i & 1))
                s->z[first + i] = -INFINITY;
    }
}

/* Step 1; false when it changes nothing, and the row is the logits. */
static bool adjust(struct sampler *s, const struct sample_request *r)
{
    const struct engine_params *p = r->params;
    bool penalties = r->counts != NULL && has_penalties(p);
    if (!penalties && p->n_logit_bias == 0 && r->n_banned == 0 && r->allowed == NULL)
        return false;
    memcpy(s->z, r->logits, s->n_vocab * sizeof *s->z);
    if (penalties)
        apply_penalties(s, r->counts, p);
    for (size_t i = 0; i < p->n_logit_bias; i++)
        if (p->logit_bias[i].id < s->n_vocab)
            s->z[p->logit_bias[i].id] += p->logit_bias[i].bias;
    for (size_t i = 0; i < r->n_banned; i++)
        if (r->banned[i] < s->n_vocab)
            s->z[r->banned[i]] = -INFINITY;
    if (r->allowed != NULL)
        apply_mask(s, r->allowed);
    return true;
}

static bool is_banned(const struct sample_request *r, size_t id)
{
    for (size_t i = 0; i < r->n_banned; i++)
        if (r->banned[i] == id)
            return true;
    return false;
}

/* Why no token is left, if the request's mask or bans are the reason. */
static struct err check_choice(const struct sampler *s, const struct sample_request *r)
{
    size_t n_allowed = 0;
    for (size_t id = 0; id < s->n_vocab; id++) {
        if (r->allowed != NULL && !(r->allowed[id / 32] >> id % 32 & 1))
            continue;
        n_allowed++;
        if (!is_banned(r, id))
            return err_ok();
    }
    return sample_fault(n_allowed == 0 ? SAMPLE_NONE_ALLOWED : SAMPLE_ONLY_ENDS, 0, s->n_vocab,
                        r->params->min_tokens);
}

/* Step 1 and the row's scan. */
static struct err prepare(struct sampler *s, const struct sample_request *r)
{
    if (!adjust(s, r))
        return err_ok();
    struct err e = row_scan(&s->row, s->z);
    if (is_err(e))
        TRY(check_choice(s, r));
    return e;
}

/* Step 4 among the first n candidates; returns how many are left. */
static size_t keep_k(struct sampler *s, size_t n, size_t k)
{
    struct candidate *c = s->candidates;
    return k < n ? keep_up_to(c, n, select_count(c, n, k, s->scratch)) : n;
}

/* Step 5 likewise; `sum` is S. */
static size_t keep_p(struct sampler *s, size_t n, float top_p, uint64_t sum)
{
    struct candidate *c = s->candidates;
    uint64_t need = (uint64_t)((double)top_p * (double)sum);
    return keep_up_to(c, n, select_weight(c, n, need, s->scratch));
}

/* Steps 3 to 5 by top_k. At least k tokens reach the bar. Where fewer weigh something, none below
 * it does: exp never rises when its argument falls (tried for every float from 0 to -28.5). */
static size_t keep_top_k(struct sampler *s, const struct engine_params *p, struct weighing g)
{
    float bar = row_bar(&s->row, p->top_k, s->scratch);
    size_t n = row_gather(&s->row, g, bar, s->candidates);
    n = keep_k(s, n, p->top_k);
    return p->top_p < 1.0f ? keep_p(s, n, p->top_p, sum_weights(s->candidates, n)) : n;
}

/* Steps 3 to 5 by top_p alone: ever more candidates from the top until they have the mass; what is
 * behind them in rank order does not matter. */
static size_t keep_top_p(struct sampler *s, const struct engine_params *p, struct weighing g)
{
    static const size_t ranks[] = {16, 256, SIZE_MAX};
    uint64_t sum = row_weigh(&s->row, g);
    size_t n = 0;
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++) {
        n = row_gather(&s->row, g, row_bar(&s->row, ranks[i], s->scratch), s->candidates);
        if ((double)sum_weights(s->candidates, n) >= (double)p->top_p * (double)sum)
            break;
    }
    return keep_p(s, n, p->top_p, sum);
}

/* Step 6: a random point below `sum`. */
static uint64_t random_point(const struct sample_request *r, uint64_t sum)
{
    uint64_t random = philox_of_token(r->seed, (uint32_t)r->position, r->params->choice);
    return (uint64_t)(((u128)random * sum) >> 64);
}

/* Step 6 among candidates, whose ids ascend. */
static uint32_t draw(const struct candidate *c, size_t n, const struct sample_request *r)
{
    uint64_t point = random_point(r, sum_weights(c, n));
    return (uint32_t)c[find_weight(c, n, point)].key;
}

/* Steps 2 to 6. */
static uint32_t choose(struct sampler *s, const struct sample_request *r)
{
    const struct engine_params *p = r->params;
    struct weighing g = {p->temperature, p->min_p};
    if (p->temperature == 0.0f)
        return s->row.best_id;
    if (p->top_k > 0 && p->top_k < s->n_vocab)
        return draw(s->candidates, keep_top_k(s, p, g), r);
    if (p->top_p < 1.0f)
        return draw(s->candidates, keep_top_p(s, p, g), r);
    return row_find(&s->row, g, random_point(r, row_weigh(&s->row, g)));
}

static float logprob(float logit, float best, double log_sum)
{
    return (float)(((double)logit - (double)best) - log_sum);
}

static int compare_keys(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

/* The alternatives of a row of logits, and the logarithm of its sum of weights. */
static double report(struct sampler *s, const float *logits, size_t n_top,
                     struct sample_result *out)
{
    struct weighing own = {1.0f, 0.0f};
    double log_sum = det_log64((double)row_weigh(&s->row, own) * 0x1p-40);
    if (n_top == 0)
        return log_sum;
    float bar = row_bar(&s->row, n_top, s->scratch);
    size_t n = keep_k(s, row_gather_all(&s->row, bar, s->candidates), n_top);
    qsort(s->candidates, n, sizeof *s->candidates, compare_keys);
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)s->candidates[i].key;
        out->top[i] = (struct engine_logprob){id, logprob(logits[id], s->row.best, log_sum)};
    }
    out->n_top = n;
    return log_sum;
}

struct err sample_token(struct sampler *s, const struct sample_request *r,
                        struct sample_result *out)
{
    struct sample_result made = {.n_top = 0};
    s->is_used = true;
    double log_sum = 0.0;
    TRY(row_scan(&s->row, r->logits));
    float best = s->row.best;
    if (r->params->logprobs)
        log_sum = report(s, r->logits, r->params->n_logprobs, &made);
    TRY(prepare(s, r));
    made.token.id = choose(s, r);
    if (r->params->logprobs)
        made.token.logprob = logprob(r->logits[made.token.id], best, log_sum);
    *out = made;
    return err_ok();
}
