/* Rows to be sampled side by side, and their stage on a device: what the kernels of sampling read
 * and write. */
#ifndef TESTS_UNIT_SAMPLE_COMPANY_H
#define TESTS_UNIT_SAMPLE_COMPANY_H

#include "kernels/cuda/args.h"
#include "tests/unit/gpu_room.h"
#include "tests/unit/sample_scene.h"

enum { ROWS = 4, SLOTS = 5, STEP_ROWS = 7 };

/* Some rows of one step, each with a scene; a row may be a filler. */
struct company {
    size_t n_rows, n_vocab, row_len;
    struct scene scenes[ROWS];
    bool must_go_on[ROWS], filler[ROWS]; /* whether the bans hold; whether it has no slot */
    uint32_t slots[ROWS], rows[ROWS];
};

static struct company company; /* too large for a stack */

static void make_company(size_t n_rows, size_t n_vocab)
{
    company.n_rows = n_rows;
    company.n_vocab = n_vocab;
    company.row_len = n_vocab + below(6);
    uint32_t first_slot = below(SLOTS), first_row = below(STEP_ROWS);
    for (uint32_t i = 0; i < n_rows; i++) {
        make_scene(&company.scenes[i], n_vocab);
        company.must_go_on[i] = below(2);
        company.filler[i] = n_rows > 1 && below(6) == 0;
        company.slots[i] = (first_slot + 2 * i) % SLOTS;
        company.rows[i] = (first_row + 3 * i) % STEP_ROWS;
    }
}

/* A company on the device. */
struct stage {
    struct gpu_room room;
    struct cuda_sample_args args;
    struct gpu_address out, top, newest, newest_at, plan, counts[ROWS];
};

static void enqueue(struct gpu_room *r, const char *name, struct gpu_launch how, const void *args,
                    size_t args_len)
{
    gpu_must(gpu_room_enqueue(r, name, &how, args, args_len));
}

static struct gpu_address put_counts(struct stage *st, const struct scene *s)
{
    uint32_t *zeros = calloc(s->n_vocab, 4);
    struct gpu_address counts = gpu_room_put(&st->room, zeros, s->n_vocab * 4);
    free(zeros);
    struct cuda_count_args args = {.counts = of(counts),
                                   .tokens =
                                       of(gpu_room_put(&st->room, s->tokens, s->n_tokens * 4)),
                                   .n_tokens = (uint32_t)s->n_tokens,
                                   .n_prompt = (uint32_t)s->n_prompt,
                                   .n_vocab = (uint32_t)s->n_vocab};
    struct gpu_launch how = {.grid = {1 + below(3), 1, 1}, .block = {CUDA_BLOCK, 1, 1}};
    enqueue(&st->room, "count_tokens", how, &args, sizeof args);
    gpu_must(st->room.driver->stream_wait(st->room.stream));
    return counts;
}

static struct cuda_sample_params put_params(struct stage *st, size_t row)
{
    const struct scene *s = &company.scenes[row];
    const struct engine_params *p = &s->params;
    _Static_assert(sizeof(struct engine_bias) == sizeof(struct cuda_token_float), "copied as is");
    st->counts[row] = put_counts(st, s);
    return (struct cuda_sample_params){
        .seed = s->seed,
        .choice = p->choice,
        .temperature = p->temperature,
        .top_p = p->top_p,
        .min_p = p->min_p,
        .top_k = p->top_k,
        .repetition_penalty = p->repetition_penalty,
        .frequency_penalty = p->frequency_penalty,
        .presence_penalty = p->presence_penalty,
        .counts = of(st->counts[row]),
        .biases = of(gpu_room_put(&st->room, s->biases, sizeof s->biases)),
        .end_ids = of(gpu_room_put(&st->room, s->banned, sizeof s->banned)),
        .allowed =
            s->masked ? of(gpu_room_put(&st->room, s->allowed, (s->n_vocab + 31) / 32 * 4)) : NULL,
        .n_biases = (uint32_t)p->n_logit_bias,
        .n_end_ids = (uint32_t)s->n_banned,
        .may_end_at = (uint32_t)s->n_tokens + (company.must_go_on[row] ? 1 : 0),
        .logprobs = p->logprobs,
        .n_logprobs = p->n_logprobs};
}

/* Logits with poison between the rows. */
static struct gpu_address put_logits(struct stage *st)
{
    size_t len = company.n_rows * company.row_len * 4;
    float *logits = malloc(len);
    memset(logits, 0xff, len);
    for (size_t i = 0; i < company.n_rows; i++)
        memcpy(logits + i * company.row_len, company.scenes[i].logits, company.n_vocab * 4);
    struct gpu_address a = gpu_room_put(&st->room, logits, len);
    free(logits);
    return a;
}

static void stage_open(struct stage *st, uint64_t seed)
{
    struct cuda_sample_params params[SLOTS];
    struct cuda_plan_row plan[STEP_ROWS];
    uint32_t positions[STEP_ROWS];
    size_t n = company.n_rows;
    *st = (struct stage){
        .args = {.n_vocab = (uint32_t)company.n_vocab, .row_len = (uint32_t)company.row_len}};
    gpu_room_open(&st->room, seed);
    memset(params, 0xff, sizeof params);
    memset(plan, 0xff, sizeof plan); /* all of them fillers */
    memset(positions, 0xff, sizeof positions);
    for (size_t i = 0; i < n; i++) {
        if (company.filler[i])
            continue;
        params[company.slots[i]] = put_params(st, i);
        plan[company.rows[i]] = (struct cuda_plan_row){.slot = company.slots[i]};
        positions[company.rows[i]] = (uint32_t)company.scenes[i].n_tokens - 1;
    }
    st->out = gpu_room_put(&st->room, NULL, n * sizeof(struct cuda_sampled));
    st->top = gpu_room_put(&st->room, NULL, n * CUDA_SAMPLE_TOP * sizeof(struct cuda_token_float));
    st->newest = gpu_room_put(&st->room, NULL, SLOTS * 4);
    st->newest_at = gpu_room_put(&st->room, NULL, SLOTS * 4);
    st->plan = gpu_room_put(&st->room, plan, sizeof plan);
    st->args.out = of(st->out);
    st->args.top = of(st->top);
    st->args.newest = of(st->newest);
    st->args.newest_at = of(st->newest_at);
    st->args.logits = of(put_logits(st));
    st->args.z = of(gpu_room_put(&st->room, NULL, n * company.row_len * 4));
    st->args.scratch =
        of(gpu_room_put(&st->room, NULL, CUDA_SAMPLE_SCRATCH_LEN(n, company.n_vocab)));
    st->args.params = of(gpu_room_put(&st->room, params, sizeof params));
    st->args.plan = of(st->plan);
    st->args.positions = of(gpu_room_put(&st->room, positions, sizeof positions));
    st->args.rows = of(gpu_room_put(&st->room, company.rows, n * 4));
}

static void stage_sample(struct stage *st)
{
    const unsigned n_rows = (unsigned)company.n_rows;
    const unsigned n_chunks = (unsigned)CUDA_SAMPLE_CHUNKS(company.n_vocab);
    struct gpu_launch how = {.grid = {1 + n_rows % n_chunks, n_rows, 1}, /* as may be */
                             .block = {CUDA_SAMPLE_BLOCK, 1, 1},
                             .shared_len = CUDA_SAMPLE_SHARED_LEN};
    enqueue(&st->room, "sample_scan", how, &st->args, sizeof st->args);
    enqueue(&st->room, "sample_weigh", how, &st->args, sizeof st->args);
    how.grid[0] = n_rows;
    how.grid[1] = 1;
    enqueue(&st->room, "sample_choose", how, &st->args, sizeof st->args);
}

#endif
