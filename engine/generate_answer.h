/*
 * What blindllama-generate does with an answer: streams its text or prints it as JSON, measures the
 * run, and writes logits to a file. That output cannot be written is an error (ERR_IO).
 */
#ifndef ENGINE_GENERATE_ANSWER_H
#define ENGINE_GENERATE_ANSWER_H

#include "engine/engine.h"

struct answer {
    bool streams; /* text goes to standard output as it comes */
    struct buf text;
    struct buf tokens;  /* u32, prompt and answer */
    json_t *logprobs;   /* an array; NULL: not asked for */
    bool output_failed; /* standard output takes no more */
    unsigned n_prompt, n_generated;
    double start_s, first_s, last_s; /* when submitted, and of the first and the last token */
    enum engine_finish finish;
    char error[256];
    uint64_t seed;
};

/* Begins the clock. Takes a copy of the prompt. */
void answer_init(struct answer *a, const uint32_t *prompt, size_t n_prompt, bool streams,
                 bool logprobs);
void answer_cleanup(struct answer *a);

/* An engine_sink. */
void answer_collect(void *answer, const struct engine_event *event);

struct err answer_print_json(const struct answer *a, const struct engine_info *info) MUST_USE;
/* The end of the text, or of the JSON. */
struct err answer_end_output(void) MUST_USE;

/* Opens a file for logits without touching what is in it. */
struct err logits_open(int *fd, const char *path) MUST_USE;
/* Writes the logits of prompt and answer: float32, row by row. */
struct err logits_write(int fd, const char *path, struct engine *e,
                        const struct answer *a) MUST_USE;

#endif
