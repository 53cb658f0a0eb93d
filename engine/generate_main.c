/*
 * blindllama-generate: one prompt through the engine, on the command line. Streams the answer to
 * standard output, or prints one JSON object with all token ids. What the program promises, and its
 * exit codes, are in its --help (generate_options.c).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"
#include "engine/generate_answer.h"
#include "engine/generate_options.h"

enum { INPUT_MAX = 16 << 20 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* The first one ends the answer; a second one finds the default again and ends the program. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static struct err parse_ids(const char *text, struct buf *out)
{
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        uint64_t id = 0;
        if (is_err(decimal_decode(&id, bytes_of(at, len), UINT32_MAX)))
            return err_set(ERR_USAGE, "--prompt-ids is not a list such as 1,2,3");
        uint32_t id32 = (uint32_t)id;
        buf_append(out, &id32, sizeof id32);
        at += len;
        if (*at == 0)
            return err_ok();
    }
}

static struct err chat_ids(const struct engine *e, const char *path, struct buf *out)
{
    struct buf text __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    TRY(file_read(&text, path, INPUT_MAX));
    if (text.len == 0)
        return err_set(ERR_USAGE, "%s is empty, so not JSON", path);
    json_error_t why;
    json_t *chat = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    if (chat == NULL)
        return err_set(ERR_USAGE, "%s is not JSON, line %d: %.120s", path, why.line, why.text);
    struct err err = engine_chat_tokens(e, chat, out);
    json_decref(chat);
    return is_err(err) ? err_context(err, "%s", path) : err;
}

static struct err prompt_tokens(const struct generate_options *o, const struct engine *e,
                                struct buf *out)
{
    if (generate_text(o, KEY_PROMPT_IDS) != NULL)
        return parse_ids(generate_text(o, KEY_PROMPT_IDS), out);
    if (generate_text(o, KEY_CHAT) != NULL)
        return chat_ids(e, generate_text(o, KEY_CHAT), out);
    return engine_text_tokens(e, bytes_of_str(generate_text(o, KEY_PROMPT)), out);
}

/* Until the answer has its end; an interrupt, or output that nobody takes, is one. */
static void step_to_the_end(struct engine *e, uint64_t id, const struct answer *answer)
{
    bool cancelled = false;
    do {
        if (!cancelled && (interrupted || answer->output_failed)) {
            engine_cancel(e, id);
            cancelled = true;
        }
    } while (engine_step(e));
    signal(SIGINT, SIG_DFL); /* nothing that follows has to be ended by us */
    signal(SIGTERM, SIG_DFL);
}

static struct err generate(const struct generate_options *o, struct engine *e,
                           struct answer *answer)
{
    struct buf prompt __attribute__((cleanup(buf_cleanup_secret))) = BUF_INIT;
    struct engine_params params;
    uint64_t id;
    engine_params_default(e, &params);
    TRY(generate_params(o, &params));
    TRY(prompt_tokens(o, e, &prompt));
    const uint32_t *tokens = (const uint32_t *)(const void *)prompt.data;
    size_t n = prompt.len / sizeof *tokens;
    answer_init(answer, tokens, n, !o->json, params.logprobs);
    TRY(engine_submit(e, &id, tokens, n, &params, answer_collect, answer));
    step_to_the_end(e, id, answer);
    return answer->finish == ENGINE_FAILED ? err_set(ERR_UNTRUE, "%s", answer->error) : err_ok();
}

static struct err run(const struct generate_options *o, struct engine *e, int logits)
{
    struct answer answer __attribute__((cleanup(answer_cleanup))) = {.n_prompt = 0};
    TRY(generate(o, e, &answer));
    bool complete = answer.finish != ENGINE_CANCELLED;
    if (logits >= 0 && complete)
        TRY(logits_write(logits, generate_text(o, KEY_LOGITS_OUT), e, &answer));
    if (o->json)
        TRY(answer_print_json(&answer, engine_info(e)));
    TRY(answer_end_output());
    if (!complete)
        return err_set(ERR_UNTRUE, "interrupted after %u tokens; the answer is not complete%s",
                       answer.n_generated, logits >= 0 ? ", and no logits were written" : "");
    return err_ok();
}

static struct err open_and_run(const struct generate_options *o)
{
    FD_AUTO logits = -1;
    struct engine_options options;
    struct engine *e = NULL;
    TRY(generate_engine_options(o, &options));
    if (generate_text(o, KEY_LOGITS_OUT) != NULL)
        TRY(logits_open(&logits, generate_text(o, KEY_LOGITS_OUT)));
    TRY(engine_open(&e, generate_text(o, KEY_MODEL), &options));
    struct err err = run(o, e, logits);
    engine_free(e);
    return err;
}

int main(int argc, char **argv)
{
    static struct generate_options options;
    catch_interrupts();
    generate_options_parse(&options, argc, argv);
    struct err err = open_and_run(&options);
    if (!is_err(err))
        return EXIT_SUCCESS;
    fprintf(stderr, "blindllama-generate: %s\n", err_message());
    return err.code == ERR_UNTRUE ? GENERATE_EXIT_FAILED : GENERATE_EXIT_USAGE;
}
