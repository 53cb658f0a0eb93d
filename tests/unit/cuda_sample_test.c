/* Sampling on the emulated GPU against the CPU's: the same ids, logprobs, alternatives and faults,
 * bit for bit, for rows of all kinds in any company; slots moved on, and nothing else touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/sample_fault.h"
#include "tests/unit/sample_company.h"

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

static void assert_result(const struct cuda_sampled *got, const struct cuda_token_float *top,
                          const struct sample_result *want)
{
    assert_int_equal(got->fault, CUDA_SAMPLED);
    assert_int_equal(got->id, want->token.id);
    assert_memory_equal(&got->logprob, &want->token.logprob, 4);
    assert_int_equal(got->n_top, want->n_top);
    assert_memory_equal(top, want->top, want->n_top * sizeof want->top[0]);
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

static void assert_row(struct stage *st, size_t row, const struct cuda_sampled *got,
                       const struct cuda_token_float *top)
{
    struct sample_result want;
    struct err e = choose_on_cpu(&want, row);
    if (is_err(e) || got->fault != CUDA_SAMPLED)
        assert_fault(got, e, &company.scenes[row]);
    else
        assert_result(got, top, &want);
    assert_counts(st, row, got->id, !is_err(e));
}

/* Every row as on the CPU, every slot where it belongs. */
static void assert_stage(struct stage *st)
{
    struct cuda_sampled got[ROWS];
    struct cuda_token_float top[ROWS][CUDA_SAMPLE_TOP];
    uint32_t newest[SLOTS], newest_at[SLOTS], want[SLOTS], want_at[SLOTS];
    gpu_room_get(&st->room, got, st->out, company.n_rows * sizeof got[0]);
    gpu_room_get(&st->room, top, st->top, company.n_rows * sizeof top[0]);
    gpu_room_get(&st->room, newest, st->newest, sizeof newest);
    gpu_room_get(&st->room, newest_at, st->newest_at, sizeof newest_at);
    memset(want, 0xff, sizeof want);
    memset(want_at, 0xff, sizeof want_at);
    for (size_t i = 0; i < company.n_rows; i++) {
        if (company.filler[i]) {
            assert_int_equal(got[i].fault, UINT32_MAX);
            continue;
        }
        assert_row(st, i, &got[i], top[i]);
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
    for (uint64_t seed = 0; seed < 100; seed++) {
        make_company(1 + below(ROWS), draw_n_vocab());
        check_company(seed);
    }
}

static void a_vocabulary_of_many_chunks_is_sampled_as_on_the_cpu(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        make_company(1, seed < 2 ? VOCAB_MAX : 20000); /* more chunks than a block has warps */
        struct scene *s = &company.scenes[0];
        for (size_t i = 0; i < s->n_vocab; i++)
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
