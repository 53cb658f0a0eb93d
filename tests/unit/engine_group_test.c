/* Several engines of one model: on emulated GPUs, requests are spread over them, a salt finds its
 * own GPU again, and one that fails takes only its own requests along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine_internal.h"
#include "engine/group.h"
#include "kernels/cuda/gpu_backend.h"
#include "kernels/emu/gpu_emu.h"
#include "tests/unit/tiny_model.h"

enum { N_PROMPT = 5, N_ANSWER = 3 };

static struct gpu_driver driver; /* the emulated one, in which a test may break something */
static struct gpu_backend backend = {.driver = &driver};
static struct tiny_model model;
static const uint32_t prompt[N_PROMPT] = {TINY_BOS, 'a', 'b', 'c', 'd'};
static const unsigned both[] = {0, 1};

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

struct answer {
    enum engine_finish finish;
    char error[200];
    uint32_t tokens[N_ANSWER];
    unsigned n;
};

static void sink(void *context, const struct engine_event *event)
{
    struct answer *a = context;
    if (event->has_token && a->n < N_ANSWER)
        a->tokens[a->n++] = event->token.id;
    a->finish = event->finish;
    if (event->error != NULL)
        snprintf(a->error, sizeof a->error, "%s", event->error);
}

static struct engine_options options(void)
{
    return (struct engine_options){.backend = "cuda",
                                   .gpu = &backend,
                                   .n_threads = 1,
                                   .max_requests = 2,
                                   .max_context = 64,
                                   .token_budget = 16};
}

static struct engine_group *open_both(void)
{
    struct engine_group *g = NULL;
    const struct engine_options o = options();
    must(engine_group_open(&g, model.dir, &o, both, 2));
    assert_int_equal(engine_group_count(g), 2);
    return g;
}

static size_t place_of(const struct engine_group *g, const struct engine_place *p)
{
    assert_true(p->id > 0);
    return p->engine == engine_group_at(g, 0) ? 0 : 1;
}

static size_t ask(struct engine_group *g, struct answer *a, const uint8_t *salt)
{
    struct engine_place place = {0};
    struct engine_params p = {.top_p = 1, .repetition_penalty = 1, .max_tokens = N_ANSWER};
    p.ignore_eos = true;
    p.has_cache_salt = salt != NULL;
    if (salt != NULL)
        memset(p.cache_salt, *salt, sizeof p.cache_salt);
    must(engine_group_submit(g, &place, prompt, N_PROMPT, &p, sink, a));
    return place_of(g, &place);
}

static void run_all(struct engine_group *g)
{
    bool more = true;
    while (more) {
        more = false;
        for (size_t i = 0; i < engine_group_count(g); i++)
            more |= engine_step(engine_group_at(g, i));
    }
}

/* What is computed before the first request leaves no trace: no page, no slot, no bit. */
static void warming_up_changes_nothing(void **state)
{
    (void)state;
    struct engine_group *g = open_both();
    struct answer cold = {0}, warm[2] = {0};
    struct engine_stats before, after;
    ask(g, &cold, NULL);
    run_all(g);
    engine_group_free(g);
    g = open_both();
    engine_stats(engine_group_at(g, 0), &before);
    must(engine_group_warm_up(g));
    engine_stats(engine_group_at(g, 0), &after);
    assert_memory_equal(&before, &after, sizeof before);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(ask(g, &warm[i], NULL), i);
    run_all(g);
    for (size_t i = 0; i < 2; i++)
        assert_memory_equal(warm[i].tokens, cold.tokens, sizeof cold.tokens);
    engine_group_free(g);
}

static unsigned n_graphs_made, n_graphs_launched;

static struct err count_made(struct gpu_stream *s, struct gpu_graph **out)
{
    n_graphs_made++;
    return gpu_emu.capture_end(s, out);
}

static struct err count_launched(struct gpu_graph *graph, struct gpu_stream *s)
{
    n_graphs_launched++;
    return gpu_emu.graph_launch(graph, s);
}

/* Of 1 and 2 rows; the third one, of a slot that no request has, is never launched. */
static void warming_up_launches_the_graphs_of_steps(void **state)
{
    (void)state;
    struct engine_group *g = NULL;
    const struct engine_options o = options();
    driver.capture_end = count_made;
    driver.graph_launch = count_launched;
    n_graphs_made = n_graphs_launched = 0;
    must(engine_group_open(&g, model.dir, &o, both, 1));
    assert_true(n_graphs_made >= 2);
    must(engine_group_warm_up(g));
    assert_int_equal(n_graphs_launched, 2);
    engine_group_free(g);
}

static void the_least_busy_gpu_computes(void **state)
{
    (void)state;
    struct engine_group *g = open_both();
    struct answer a[4] = {0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ask(g, &a[i], NULL), i % 2);
    run_all(g);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(a[i].finish, ENGINE_LENGTH);
        assert_memory_equal(a[i].tokens, a[0].tokens, sizeof a[0].tokens);
    }
    assert_int_equal(ask(g, &a[0], NULL), 0); /* all are idle again: the first of equals */
    run_all(g);
    engine_group_free(g);
}

/* A salt of even bytes is the first GPU's, one of odd bytes the second's. */
static void a_salt_finds_its_gpu_again(void **state)
{
    (void)state;
    struct engine_group *g = open_both();
    const uint8_t odd = 0x33, even = 0x44;
    struct answer a[6] = {0};
    assert_int_equal(ask(g, &a[0], &odd), 1);
    assert_int_equal(ask(g, &a[1], &odd), 1);
    assert_int_equal(ask(g, &a[2], &even), 0);
    run_all(g);
    /* Until it has a whole batch (2) more to do than the other. */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(ask(g, &a[i], &odd), 1);
    assert_int_equal(ask(g, &a[3], &odd), 0);
    run_all(g);
    engine_group_free(g);
}

static struct gpu_stream *broken;

/* A step ends with an event that is recorded. */
static struct err event_record(struct gpu_event *e, struct gpu_stream *s)
{
    if (s == broken)
        return err_set(ERR_IO, "the GPU failed: an uncorrectable error of a test");
    return gpu_emu.event_record(e, s);
}

static struct gpu_stream *last_stream;

static struct err stream_new(struct gpu *g, struct gpu_stream **out)
{
    TRY(gpu_emu.stream_new(g, out));
    last_stream = *out;
    return err_ok();
}

/* The second of two. */
static struct engine_group *open_and_break(void)
{
    driver.stream_new = stream_new;
    driver.event_record = event_record;
    struct engine_group *g = open_both();
    broken = last_stream;
    return g;
}

static void a_gpu_that_fails_takes_only_its_own_requests_along(void **state)
{
    (void)state;
    struct engine_group *g = open_and_break();
    struct answer a[3] = {0};
    BUF_AUTO why = BUF_INIT;
    assert_int_equal(engine_group_stopped(g, &why), 0);
    assert_int_equal(ask(g, &a[0], NULL), 0);
    assert_int_equal(ask(g, &a[1], NULL), 1);
    run_all(g);
    assert_int_equal(a[0].finish, ENGINE_LENGTH);
    assert_int_equal(a[1].finish, ENGINE_FAILED);
    assert_non_null(strstr(a[1].error, "uncorrectable error of a test"));
    assert_int_equal(engine_group_stopped(g, &why), 1);
    assert_non_null(strstr(buf_str(&why), "uncorrectable error of a test"));
    const uint8_t odd = 0x33; /* its GPU has failed */
    assert_int_equal(ask(g, &a[1], NULL), 0);
    assert_int_equal(ask(g, &a[2], &odd), 0);
    run_all(g);
    assert_true(a[1].finish == ENGINE_LENGTH && a[2].finish == ENGINE_LENGTH);
    engine_group_free(g);
}

static void when_all_have_failed_requests_are_refused(void **state)
{
    (void)state;
    struct engine_group *g = NULL;
    const struct engine_options o = options();
    const unsigned one = 0;
    struct answer a = {0};
    BUF_AUTO why = BUF_INIT;
    struct engine_place place;
    struct engine_params p = {.top_p = 1, .repetition_penalty = 1, .max_tokens = 1};
    driver.stream_new = stream_new;
    driver.event_record = event_record;
    must(engine_group_open(&g, model.dir, &o, &one, 1));
    broken = last_stream;
    ask(g, &a, NULL);
    run_all(g);
    assert_int_equal(engine_group_stopped(g, &why), 1);
    assert_int_equal(engine_group_submit(g, &place, prompt, N_PROMPT, &p, sink, &a).code, ERR_IO);
    assert_non_null(strstr(err_message(), "uncorrectable error of a test"));
    engine_group_free(g);
}

static void threads_of_several_gpus_run_at_a_time(void **state)
{
    (void)state;
    struct engine_group *g = open_both();
    struct answer a[6] = {0};
    for (size_t i = 0; i < 6; i++)
        ask(g, &a[i], NULL);
    must(engine_group_start(g));
    for (size_t i = 0; i < 2; i++) { /* ends when all are finished */
        struct engine_stats s = {0};
        while (s.n_finished < 3) {
            usleep(1000);
            engine_stats(engine_group_at(g, i), &s);
        }
    }
    engine_group_free(g); /* joins the threads, whose answers can be read then */
    for (size_t i = 0; i < 6; i++)
        assert_memory_equal(a[i].tokens, a[0].tokens, sizeof a[0].tokens);
}

static void refuse(const unsigned *gpus, size_t n, const struct engine_options *o,
                   enum err_code code, const char *says)
{
    struct engine_group *g = NULL;
    struct err e = engine_group_open(&g, model.dir, o, gpus, n);
    if (e.code != code || strstr(err_message(), says) == NULL)
        fail_msg("%s: %s", err_code_name(e.code), is_err(e) ? err_message() : "opened");
    assert_null(g);
}

static struct err same_uuid(struct gpu *g, struct gpu_info *out)
{
    TRY(gpu_emu.info(g, out));
    memset(out->uuid, 1, sizeof out->uuid);
    return err_ok();
}

static void refuses_gpus_that_are_not_there_or_there_twice(void **state)
{
    (void)state;
    const struct engine_options o = options();
    const unsigned twice[] = {1, 1}, far[] = {0, 2};
    refuse(twice, 2, &o, ERR_USAGE, "GPU 1 is named twice");
    refuse(far, 2, &o, ERR_NOT_FOUND, "GPU 2: there is no GPU 2; 2 are emulated");
    driver.info = same_uuid;
    refuse(both, 2, &o, ERR_USAGE, "GPU 1 is the first one again");
}

static unsigned n_opened;

/* The weights change between the first GPU's reading and the second's. */
static struct err open_and_change(struct gpu **out, unsigned index)
{
    if (n_opened++ == 1) {
        json_t *config = tiny_read_json(&model, "config.json");
        json_object_set_new(config, "rms_norm_eps", json_real(1e-4));
        tiny_write_json(&model, "config.json", config);
        json_decref(config);
    }
    return gpu_emu.open(out, index);
}

static void refuses_files_that_change_in_between(void **state)
{
    (void)state;
    const struct engine_options o = options();
    n_opened =
        1; /* config.json is read before the GPU is opened: the first one's opening changes it */
    driver.open = open_and_change;
    refuse(both, 2, &o, ERR_UNTRUE, "have changed while they were read for GPU 1");
}

static void without_gpus_it_is_one_engine(void **state)
{
    (void)state;
    struct engine_group *g = NULL;
    struct engine_options o = options();
    struct answer a = {0};
    o.backend = "cpu";
    must(engine_group_open(&g, model.dir, &o, NULL, 0));
    assert_int_equal(engine_group_count(g), 1);
    assert_string_equal(engine_info(engine_group_at(g, 0))->gpu_uuid, "");
    assert_int_equal(ask(g, &a, NULL), 0);
    run_all(g);
    assert_int_equal(a.finish, ENGINE_LENGTH);
    engine_group_free(g);
}

static int set_up(void **state)
{
    struct tiny_spec spec = tiny_default;
    (void)state;
    driver = gpu_emu;
    broken = NULL;
    gpu_emu_devices(2);
    gpu_emu_seed(11);
    spec.type = TINY_BF16;
    spec.head_dim = 64;
    spec.n_layers = 1;
    tiny_write(&model, &spec);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tiny_remove(&model);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(warming_up_changes_nothing),
        TEST(warming_up_launches_the_graphs_of_steps),
        TEST(the_least_busy_gpu_computes),
        TEST(a_salt_finds_its_gpu_again),
        TEST(a_gpu_that_fails_takes_only_its_own_requests_along),
        TEST(when_all_have_failed_requests_are_refused),
        TEST(threads_of_several_gpus_run_at_a_time),
        TEST(refuses_gpus_that_are_not_there_or_there_twice),
        TEST(refuses_files_that_change_in_between),
        TEST(without_gpus_it_is_one_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
