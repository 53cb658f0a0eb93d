#include "engine/generate_answer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void answer_init(struct answer *a, const uint32_t *prompt, size_t n_prompt, bool streams,
                 bool logprobs)
{
    *a = (struct answer){.streams = streams,
                         .logprobs = logprobs ? json_array() : NULL,
                         .n_prompt = (unsigned)n_prompt};
    buf_append(&a->tokens, prompt, n_prompt * sizeof *prompt);
    a->start_s = now_s();
}

void answer_cleanup(struct answer *a)
{
    buf_cleanup_secret(&a->text);
    buf_cleanup_secret(&a->tokens);
    json_decref(a->logprobs);
}

static json_t *logprob_json(struct engine_logprob l)
{
    return json_pack("{s:I, s:f}", "id", (json_int_t)l.id, "logprob", (double)l.logprob);
}

static void collect_logprobs(json_t *list, const struct engine_event *event)
{
    json_t *one = logprob_json(event->token), *top = json_array();
    for (size_t i = 0; i < event->n_top; i++)
        json_array_append_new(top, logprob_json(event->top[i]));
    json_object_set_new(one, "top", top);
    json_array_append_new(list, one);
}

void answer_collect(void *answer, const struct engine_event *event)
{
    struct answer *a = answer;
    if (event->has_token) {
        a->last_s = now_s();
        if (a->n_generated++ == 0)
            a->first_s = a->last_s;
        buf_append(&a->tokens, &event->token.id, sizeof event->token.id);
        if (a->logprobs != NULL)
            collect_logprobs(a->logprobs, event);
    }
    if (a->streams && event->text.len > 0) {
        fwrite(event->text.data, 1, event->text.len, stdout);
        if (fflush(stdout) != 0)
            a->output_failed = true;
    }
    buf_append_bytes(&a->text, event->text);
    a->finish = event->finish;
    a->seed = event->seed;
    if (event->error != NULL)
        snprintf(a->error, sizeof a->error, "%s", event->error);
}

/* What the steps after the first token read, on average. The step that gives token i (from 1) takes
 * the one before as its input, at position n_prompt + i - 2, and sees all positions up to that. */
static double bytes_per_token(const struct answer *a, const struct engine_info *info)
{
    double positions = 0;
    for (unsigned i = 2; i <= a->n_generated; i++) {
        unsigned seen = a->n_prompt + i - 1;
        positions += info->kv_window > 0 && seen > info->kv_window ? info->kv_window : seen;
    }
    return (double)info->decode_weight_bytes +
           positions / (a->n_generated - 1) * (double)info->kv_position_bytes;
}

static void add_speeds(json_t *root, const struct answer *a, const struct engine_info *info)
{
    json_t *prompt = json_null(), *decode = json_null(), *bytes = json_null(), *rate = json_null();
    if (a->n_generated > 0 && a->first_s > a->start_s)
        prompt = json_real(a->n_prompt / (a->first_s - a->start_s));
    if (a->n_generated > 1 && a->last_s > a->first_s) {
        double speed = (a->n_generated - 1) / (a->last_s - a->first_s);
        double read = bytes_per_token(a, info);
        decode = json_real(speed);
        bytes = json_real(read);
        rate = json_real(read * speed / 1e9);
    }
    json_object_set_new(root, "prompt_tokens_per_second", prompt);
    json_object_set_new(root, "decode_tokens_per_second", decode);
    json_object_set_new(root, "bytes_per_token", bytes);
    json_object_set_new(root, "gigabytes_per_second", rate);
}

static json_t *ids_json(const struct answer *a, size_t first, size_t end)
{
    json_t *ids = json_array();
    for (size_t i = first; i < end; i++) {
        uint32_t id;
        memcpy(&id, a->tokens.data + i * sizeof id, sizeof id);
        json_array_append_new(ids, json_integer(id));
    }
    return ids;
}

struct err answer_print_json(const struct answer *a, const struct engine_info *info)
{
    static const char *const finishes[] = {"unfinished", "stop", "length", "cancelled", "failed"};
    json_t *root = json_object();
    json_object_set_new(root, "prompt_ids", ids_json(a, 0, a->n_prompt));
    json_object_set_new(root, "ids", ids_json(a, a->n_prompt, a->n_prompt + a->n_generated));
    json_object_set_new(
        root, "text", json_stringn(a->text.len > 0 ? (const char *)a->text.data : "", a->text.len));
    json_object_set_new(root, "finish", json_string(finishes[a->finish]));
    /* A seed has 64 bits, more than JSON numbers carry everywhere: as text. */
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)a->seed);
    json_object_set_new(root, "seed", json_string(seed));
    if (a->logprobs != NULL)
        json_object_set(root, "logprobs", a->logprobs);
    add_speeds(root, a, info);
    int rc = root != NULL ? json_dumpf(root, stdout, JSON_COMPACT) : -1;
    json_decref(root);
    return rc == 0 ? err_ok() : err_set(ERR_IO, "cannot print the answer as JSON");
}

struct err answer_end_output(void)
{
    putchar('\n');
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_set(ERR_IO, "cannot write the answer to standard output");
    return err_ok();
}

struct err logits_open(int *fd, const char *path)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return *fd >= 0 ? err_ok() : err_errno("cannot write logits to %s", path);
}

struct logits_file {
    int fd;
    size_t n_vocab;
};

static struct err write_rows(void *context, const float *rows, size_t n_rows)
{
    const struct logits_file *to = context;
    return fd_write_all(to->fd, bytes_of(rows, n_rows * to->n_vocab * sizeof *rows));
}

static struct err write_all(int fd, struct engine *e, const struct answer *a)
{
    struct logits_file to = {fd, engine_info(e)->vocab_size};
    struct stat status;
    bool is_file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    if (is_file && ftruncate(fd, 0) != 0)
        return err_errno("cannot empty the file");
    TRY(engine_logits_rows(e, (const uint32_t *)(const void *)a->tokens.data,
                           a->n_prompt + a->n_generated, write_rows, &to));
    /* A disk may say no as late as this. */
    return !is_file || fsync(fd) == 0 ? err_ok() : err_errno("cannot write it to the disk");
}

struct err logits_write(int fd, const char *path, struct engine *e, const struct answer *a)
{
    struct err err = write_all(fd, e, a);
    return is_err(err) ? err_context(err, "the logits in %s are not complete", path) : err;
}
