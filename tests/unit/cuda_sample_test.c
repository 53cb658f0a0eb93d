/* Sampling on the emulated GPU against the CPU's: the same ids, logprobs, alternatives and faults,
 * bit for bit, for rows of all kinds in any company; slots moved on, and nothing else touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/sample_fault.h"
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

static void *of(struct gpu_address a)
{
    return (void *)(uintptr_t)a.at;
}

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
    struct gpu_address out, newest, newest_at, plan, counts[ROWS];
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
    st->newest = gpu_room_put(&st->room, NULL, SLOTS * 4);
    st->newest_at = gpu_room_put(&st->room, NULL, SLOTS * 4);
    st->plan = gpu_room_put(&st->room, plan, sizeof plan);
    st->args.out = of(st->out);
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
    unsigned n_rows = (unsigned)company.n_rows;
    struct gpu_launch how = {.grid = {(unsigned)CUDA_SAMPLE_CHUNKS(company.n_vocab), n_rows, 1},
                             .block = {CUDA_SAMPLE_BLOCK, 1, 1},
                             .shared_len = CUDA_SAMPLE_SHARED_LEN};
    enqueue(&st->room, "sample_scan", how, &st->args, sizeof st->args);
    enqueue(&st->room, "sample_weigh", how, &st->args, sizeof st->args);
    how.grid[0] = n_rows;
    how.grid[1] = 1;
    enqueue(&st->room, "sample_choose", how, &st->args, sizeof st->args);
}

/* The CPU's choice, and its error. */
static struct err choose_on_cpu(struct sample_result *out, size_t row)
{
    const struct scene *s = &company.scenes[row];
    struct token_counts counts = {0};
    struct sampler *sampler = NULL;
    gpu_must(sampler_new(&sampler, s->n_vocab));
    for (size_t i = 0; i < s->n_tokens; i++)
        gpu_must(token_counts_add(&counts, s->tokens[i], i >= s->n_prompt));
    struct sample_request r = {.logits = s->logits,
                               .params = &s->params,
                               .seed = s->seed,
                               .position = s->n_tokens,
                               .counts = &counts,
                               .banned = s->banned,
                               .n_banned = company.must_go_on[row] ? s->n_banned : 0,
                               .allowed = s->masked ? s->allowed : NULL};
    struct err e = sample_token(sampler, &r, out);
    token_counts_cleanup(&counts);
    sampler_free(sampler);
    return e;
}

/* The error that the CPU has for it; `e` is the newest. */
static void assert_fault(const struct cuda_sampled *got, struct err e, const struct scene *s)
{
    _Static_assert((int)CUDA_SAMPLE_NOT_A_NUMBER == SAMPLE_NOT_A_NUMBER &&
                       (int)CUDA_SAMPLE_ONLY_ENDS == SAMPLE_ONLY_ENDS,
                   "the same numbers");
    char want[300];
    assert_true(is_err(e));
    snprintf(want, sizeof want, "%s", err_message());
    assert_in_range(got->fault, CUDA_SAMPLE_NOT_A_NUMBER, CUDA_SAMPLE_ONLY_ENDS);
    struct err own = sample_fault(got->fault, got->id, s->n_vocab, s->params.min_tokens);
    assert_int_equal(own.code, e.code);
    assert_string_equal(err_message(), want);
}

static void assert_result(const struct cuda_sampled *got, const struct sample_result *want)
{
    assert_int_equal(got->fault, CUDA_SAMPLED);
    assert_int_equal(got->id, want->token.id);
    assert_memory_equal(&got->logprob, &want->token.logprob, 4);
    assert_int_equal(got->n_top, want->n_top);
    assert_memory_equal(got->top, want->top, want->n_top * sizeof want->top[0]);
}

/* Counts hold the tokens so far and what was chosen. */
static void assert_counts(struct stage *st, size_t row, uint32_t id, bool chosen)
{
    const struct scene *s = &company.scenes[row];
    uint32_t *want = calloc(s->n_vocab, 4), *got = malloc(s->n_vocab * 4);
    for (size_t i = 0; i < s->n_tokens; i++)
        want[s->tokens[i]] =
            i < s->n_prompt ? want[s->tokens[i]] | 1u << 31 : want[s->tokens[i]] + 1;
    if (chosen)
        want[id]++;
    gpu_room_get(&st->room, got, st->counts[row], s->n_vocab * 4);
    assert_memory_equal(got, want, s->n_vocab * 4);
    free(want);
    free(got);
}

static void assert_row(struct stage *st, size_t row, const struct cuda_sampled *got)
{
    struct sample_result want;
    struct err e = choose_on_cpu(&want, row);
    if (is_err(e) || got->fault != CUDA_SAMPLED)
        assert_fault(got, e, &company.scenes[row]);
    else
        assert_result(got, &want);
    assert_counts(st, row, got->id, !is_err(e));
}

/* Every row as on the CPU, every slot where it belongs. */
static void assert_stage(struct stage *st)
{
    struct cuda_sampled got[ROWS];
    uint32_t newest[SLOTS], newest_at[SLOTS], want[SLOTS], want_at[SLOTS];
    gpu_room_get(&st->room, got, st->out, company.n_rows * sizeof got[0]);
    gpu_room_get(&st->room, newest, st->newest, sizeof newest);
    gpu_room_get(&st->room, newest_at, st->newest_at, sizeof newest_at);
    memset(want, 0xff, sizeof want);
    memset(want_at, 0xff, sizeof want_at);
    for (size_t i = 0; i < company.n_rows; i++) {
        if (company.filler[i]) {
            assert_int_equal(got[i].fault, UINT32_MAX);
            continue;
        }
        assert_row(st, i, &got[i]);
        want[company.slots[i]] = got[i].fault == CUDA_SAMPLED ? got[i].id : 0;
        want_at[company.slots[i]] = (uint32_t)company.scenes[i].n_tokens;
    }
    assert_memory_equal(newest, want, sizeof want);
    assert_memory_equal(newest_at, want_at, sizeof want_at);
}

static void check_company(uint64_t seed)
{
    struct stage st;
    stage_open(&st, seed);
    stage_sample(&st);
    gpu_must(st.room.driver->stream_wait(st.room.stream));
    assert_stage(&st);
    gpu_room_close(&st.room);
}

static void rows_of_all_kinds_are_sampled_as_on_the_cpu(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++) {
        make_company(1 + below(ROWS), draw_n_vocab());
        check_company(seed);
    }
}

static void a_vocabulary_of_many_chunks_is_sampled_as_on_the_cpu(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) { /* more chunks than a block has warps */
        make_company(1, VOCAB_MAX);
        struct scene *s = &company.scenes[0];
        for (size_t i = 0; i < VOCAB_MAX; i++)
            s->logits[i] = normal();
        s->params.temperature = seed % 2 ? 0.9f : 100;
        s->params.top_p = 0.3f;
        s->params.top_k = 0;
        s->params.min_p = 0;
        check_company(seed);
    }
}

/* All logits equal, or nearly: more ids at the edge of what is kept than a block has threads, down
 * to the last bit of their ids. */
static void flat_rows_are_sampled_as_on_the_cpu(void **state)
{
    (void)state;
    enum { N_FLAT = 9000 };
    static const unsigned top_ks[] = {0, 513, 4000, N_FLAT - 1};
    for (uint64_t seed = 0; seed < 12; seed++) {
        make_company(1, N_FLAT);
        struct scene *s = &company.scenes[0];
        for (size_t i = 0; i < N_FLAT; i++)
            s->logits[i] = seed % 3 == 0 ? -1.5f : 0.001f * uniform();
        s->params.temperature = 1;
        s->params.top_k = top_ks[seed % 4];
        s->params.top_p = seed % 2 ? 0.7f : 1;
        s->params.min_p = 0;
        s->params.logprobs = true;
        s->params.n_logprobs = ENGINE_LOGPROBS_MAX;
        check_company(seed);
    }
}

/* Where floor(w * 2^40) goes from a few to 0. */
static void the_least_weights_are_those_of_the_cpu(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        make_company(1, 1000);
        struct scene *s = &company.scenes[0];
        for (size_t i = 0; i < s->n_vocab; i++)
            s->logits[i] = -27.0f - 0.001f * (float)((i * 77 + seed) % s->n_vocab);
        s->logits[seed] = seed % 3 ? 0 : -26.9f;
        s->params = (struct engine_params){.temperature = 1,
                                           .top_p = seed % 2 ? 1 : 0.99999f,
                                           .top_k = seed % 4 == 3 ? 600 : 0,
                                           .repetition_penalty = 1,
                                           .logprobs = true,
                                           .n_logprobs = 20};
        check_company(seed);
    }
}

/* Logits that cannot be, or masks and bans that leave nothing: the row fails alone, as on the CPU.
 */
static void faults_are_those_of_the_cpu(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        make_company(3, seed % 2 ? 4097 : 100);
        struct scene *s = &company.scenes[seed % 3];
        size_t n = s->n_vocab;
        company.must_go_on[seed % 3] = true;
        switch (seed % 8) {
        case 0:
            s->logits[below((uint32_t)n)] = NAN;
            s->logits[below((uint32_t)n)] = -NAN;
            break;
        case 1:
            s->logits[below((uint32_t)n)] = INFINITY;
            break;
        case 2:
            for (size_t i = 0; i < n; i++)
                s->logits[i] = -INFINITY;
            break;
        case 3:
            s->logits[below((uint32_t)n)] = INFINITY;
            s->logits[below((uint32_t)n)] = NAN;
            break;
        case 4: /* NaN after step 1 alone */
            s->params.n_logit_bias = 1;
            s->biases[0] = (struct engine_bias){7, INFINITY};
            s->logits[7] = -INFINITY;
            break;
        default:
            s->masked = true;
            memset(s->allowed, 0, sizeof s->allowed);
            s->n_banned = seed % 8 - 5;
            for (size_t i = 0; i < s->n_banned; i++) {
                s->banned[i] = below((uint32_t)n);
                s->allowed[s->banned[i] / 32] |= 1u << s->banned[i] % 32;
            }
        }
        check_company(seed);
    }
}

/* The next step's rows are made from ids that the host has not read. */
static void a_step_goes_on_from_what_was_sampled(void **state)
{
    (void)state;
    enum { TABLE_LEN = 9, SPARE = 77 };
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct stage st;
        struct cuda_plan_row plan[ROWS];
        uint32_t tables[SLOTS * TABLE_LEN], tokens[ROWS], positions[ROWS], newest[SLOTS];
        make_company(3, 1000);
        for (size_t i = 0; i < 3; i++)
            plan[i] = (struct cuda_plan_row){
                .slot = company.filler[i] ? CUDA_NO_SLOT : company.slots[i], .token = CUDA_NEWEST};
        for (uint32_t i = 0; i < SLOTS * TABLE_LEN; i++)
            tables[i] = 1000 + i;
        stage_open(&st, seed);
        struct gpu_address to = gpu_room_put(&st.room, NULL, sizeof tokens);
        struct gpu_address to_positions = gpu_room_put(&st.room, NULL, sizeof positions);
        struct cuda_prepare_args next = {
            .tokens = of(to),
            .positions = of(to_positions),
            .page_tables = of(gpu_room_put(&st.room, NULL, sizeof tables)),
            .plan = of(gpu_room_put(&st.room, plan, sizeof plan)),
            .newest = of(st.newest),
            .newest_at = of(st.newest_at),
            .slot_tables = of(gpu_room_put(&st.room, tables, sizeof tables)),
            .page_table_len = TABLE_LEN,
            .spare_page = SPARE};
        stage_sample(&st); /* and nobody reads what came of it */
        struct gpu_launch how = {.grid = {3, 1, 1}, .block = {CUDA_BLOCK, 1, 1}};
        enqueue(&st.room, "prepare_rows", how, &next, sizeof next);
        gpu_room_get(&st.room, tokens, to, sizeof tokens);
        gpu_room_get(&st.room, positions, to_positions, sizeof positions);
        gpu_room_get(&st.room, newest, st.newest, sizeof newest);
        assert_stage(&st);
        for (size_t i = 0; i < 3; i++) {
            bool filler = company.filler[i];
            assert_int_equal(tokens[i], filler ? 0 : newest[company.slots[i]]);
            assert_int_equal(positions[i], filler ? 0 : company.scenes[i].n_tokens);
        }
        gpu_room_close(&st.room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_all_kinds_are_sampled_as_on_the_cpu),
        cmocka_unit_test(a_vocabulary_of_many_chunks_is_sampled_as_on_the_cpu),
        cmocka_unit_test(flat_rows_are_sampled_as_on_the_cpu),
        cmocka_unit_test(the_least_weights_are_those_of_the_cpu),
        cmocka_unit_test(faults_are_those_of_the_cpu),
        cmocka_unit_test(a_step_goes_on_from_what_was_sampled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
