/*
 * What the engine's tests share: an engine on a tiny random model, and a sink that keeps what it
 * saw.
 */
#ifndef TESTS_UNIT_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_FIXTURE_H

#include "engine/engine_internal.h"
#include "tests/unit/tiny_model.h"

enum { ANSWER_MAX = 320 };

/* What a sink saw of one choice. */
struct answer {
    uint32_t ids[ANSWER_MAX];
    float logprobs[ANSWER_MAX];
    struct engine_logprob top[ANSWER_MAX]; /* the last alternative of each token */
    uint64_t rows[ANSWER_MAX]; /* a hash of the whole row of logits behind each token; 0: no row */
    size_t n;
    struct buf text;
    enum engine_finish finish;
    unsigned n_ends, n_events, n_generated, n_prompt, n_cached;
    uint64_t seed, id;
    unsigned first_choice; /* of the array that it is the first of */
    size_t vocab_size;     /* likewise */
    bool text_was_valid;
    struct engine *cancel_in; /* cancels itself after cancel_after tokens */
    unsigned cancel_after;
};

/* The state of an ENGINE_CASE is a struct tiny_model of tiny_default. */
int engine_setup(void **state);
int engine_teardown(void **state);
#define ENGINE_CASE(f) cmocka_unit_test_setup_teardown(f, engine_setup, engine_teardown)

/* Every test on every backend that the machine has; returns how many failed. */
struct CMUnitTest;
int engine_run_on_all_backends(const struct CMUnitTest *tests, size_t n);
extern const char *engine_tested; /* the backend; NULL: the best */

struct engine *open_with(const struct tiny_model *m, struct engine_options o);
struct engine_options options(unsigned n_threads, unsigned max_requests, unsigned budget);
struct engine_params plain_params(unsigned max_tokens); /* greedy, no end token ends it */
/* Into an answer; with several choices, one for each, in an array. */
void submit(struct engine *e, const uint32_t *prompt, size_t n_prompt,
            const struct engine_params *p, struct answer *a);
bool step(struct engine *e);
void run_all(struct engine *e);
void collect(void *answer, const struct engine_event *event);

void random_tokens(uint32_t *out, size_t n, uint64_t seed);
/* Same tokens, logprobs, rows of logits, text and end. */
void assert_same_answer(const struct answer *a, const struct answer *b);
bool all_zero(const void *data, size_t len);
uint64_t page_size(void); /* bytes of a KV page of tiny_default */

#endif
