#include "server/api_chat_request.h"

#include <math.h>
#include <string.h>

#include "common/text.h"

/* A field that is there and not null, else NULL. Names the field for errors. */
static const json_t *field(const json_t *object, const char **param, const char *name)
{
    *param = name;
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static struct err take_bool(const json_t *root, const char **param, const char *name, bool *out)
{
    const json_t *value = field(root, param, name);
    if (value == NULL)
        return err_ok();
    if (!json_is_boolean(value))
        return err_set(ERR_USAGE, "'%s' must be true or false.", name);
    *out = json_is_true(value);
    return err_ok();
}

static struct err take_unsigned(const json_t *root, const char **param, const char *name,
                                unsigned *out, json_int_t min, json_int_t max)
{
    const json_t *value = field(root, param, name);
    if (value == NULL)
        return err_ok();
    json_int_t v = json_integer_value(value);
    if (!json_is_integer(value) || v < min || v > max)
        return err_set(ERR_USAGE, "'%s' must be a whole number from %lld to %lld.", name,
                       (long long)min, (long long)max);
    *out = (unsigned)v;
    return err_ok();
}

static struct err take_float(const json_t *root, const char **param, const char *name, float *out,
                             double min, double max)
{
    const json_t *value = field(root, param, name);
    if (value == NULL)
        return err_ok();
    double v = json_number_value(value);
    if (!json_is_number(value) || !isfinite(v) || v < min || v > max)
        return err_set(ERR_USAGE, "'%s' must be a number from %g to %g.", name, min, max);
    *out = (float)v;
    return err_ok();
}

/* An open lower end: 0 itself is refused, but so small a number that it becomes 0 is as bad. */
static struct err take_top_p(const json_t *root, const char **param, float *out)
{
    TRY(take_float(root, param, "top_p", out, 0, 1));
    if (field(root, param, "top_p") != NULL && !(*out > 0))
        return err_set(ERR_USAGE, "'top_p' must be greater than 0.");
    return err_ok();
}

static struct err take_sampling(struct chat_request *r, const char **param)
{
    struct engine_params *p = &r->params;
    const json_t *root = r->root;
    TRY(take_float(root, param, "temperature", &p->temperature, 0, 2));
    TRY(take_top_p(root, param, &p->top_p));
    TRY(take_float(root, param, "min_p", &p->min_p, 0, 1));
    const json_t *top_k = field(root, param, "top_k");
    if (json_is_integer(top_k) && json_integer_value(top_k) == -1)
        p->top_k = 0; /* what others call "off" */
    else
        TRY(take_unsigned(root, param, "top_k", &p->top_k, 0, 1000000));
    TRY(take_float(root, param, "presence_penalty", &p->presence_penalty, -2, 2));
    TRY(take_float(root, param, "frequency_penalty", &p->frequency_penalty, -2, 2));
    TRY(take_float(root, param, "repetition_penalty", &p->repetition_penalty, 0.01, 10));
    const json_t *seed = field(root, param, "seed");
    if (seed != NULL && !json_is_integer(seed))
        return err_set(ERR_USAGE, "'seed' must be a whole number.");
    if (seed != NULL) {
        p->has_seed = true;
        p->seed = (uint64_t)json_integer_value(seed);
    }
    return take_bool(root, param, "ignore_eos", &p->ignore_eos);
}

static struct err take_length(struct chat_request *r, const char **param)
{
    TRY(take_unsigned(r->root, param, "max_tokens", &r->params.max_tokens, 1, INT32_MAX));
    TRY(take_unsigned(r->root, param, "max_completion_tokens", &r->params.max_tokens, 1,
                      INT32_MAX));
    unsigned *least = &r->params.min_tokens;
    TRY(take_unsigned(r->root, param, "min_tokens", least, 0, INT32_MAX));
    if (r->params.max_tokens > 0 && *least > r->params.max_tokens)
        return err_set(ERR_USAGE, "'min_tokens' must not be more than 'max_tokens', which is %u.",
                       r->params.max_tokens);
    r->n_choices = 1;
    return take_unsigned(r->root, param, "n", &r->n_choices, 1, CHAT_CHOICES_MAX);
}

static struct err take_logprobs(struct chat_request *r, const char **param)
{
    TRY(take_bool(r->root, param, "logprobs", &r->params.logprobs));
    TRY(take_unsigned(r->root, param, "top_logprobs", &r->params.n_logprobs, 0, 20));
    if (r->params.n_logprobs > 0 && !r->params.logprobs)
        return err_set(ERR_USAGE, "'top_logprobs' needs 'logprobs' to be true.");
    return err_ok();
}

static struct err take_one_stop(struct chat_request *r, const json_t *value)
{
    size_t len = json_string_length(value);
    if (!json_is_string(value) || len < 1 || len > CHAT_STOP_LEN_MAX)
        return err_set(ERR_USAGE, "'stop' must hold texts of 1 to %d bytes.", CHAT_STOP_LEN_MAX);
    r->stops[r->params.n_stop++] = json_string_value(value);
    return err_ok();
}

static struct err take_stop(struct chat_request *r, const char **param)
{
    r->params.stop = r->stops;
    r->params.n_stop = 0;
    const json_t *stop = field(r->root, param, "stop");
    if (stop == NULL)
        return err_ok();
    if (!json_is_array(stop))
        return take_one_stop(r, stop);
    if (json_array_size(stop) > CHAT_STOPS_MAX)
        return err_set(ERR_USAGE, "'stop' may hold at most %d texts.", CHAT_STOPS_MAX);
    for (size_t i = 0; i < json_array_size(stop); i++)
        TRY(take_one_stop(r, json_array_get(stop, i)));
    return err_ok();
}

static struct err take_stop_ids(struct chat_request *r, const char **param)
{
    r->params.stop_ids = r->stop_ids;
    r->params.n_stop_ids = 0;
    const json_t *ids = field(r->root, param, "stop_token_ids");
    if (ids == NULL)
        return err_ok();
    if (!json_is_array(ids) || json_array_size(ids) > ENGINE_STOP_IDS_MAX)
        return err_set(ERR_USAGE, "'stop_token_ids' must be an array of at most %d token ids.",
                       ENGINE_STOP_IDS_MAX);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v > UINT32_MAX)
            return err_set(ERR_USAGE, "'stop_token_ids' must hold token ids.");
        r->stop_ids[r->params.n_stop_ids++] = (uint32_t)v;
    }
    return err_ok();
}

static struct err take_bias(struct chat_request *r, const char *key, const json_t *value)
{
    struct engine_bias *out = &r->biases[r->params.n_logit_bias++];
    uint64_t id = 0;
    double v = json_number_value(value);
    if (is_err(decimal_decode(&id, bytes_of_str(key), UINT32_MAX)))
        return err_set(ERR_USAGE, "The keys of 'logit_bias' must be token ids.");
    if (!json_is_number(value) || !(v >= -100 && v <= 100))
        return err_set(ERR_USAGE, "'logit_bias' must hold numbers from -100 to 100.");
    *out = (struct engine_bias){(uint32_t)id, (float)v};
    return err_ok();
}

static struct err take_biases(struct chat_request *r, const char **param)
{
    r->params.logit_bias = r->biases;
    r->params.n_logit_bias = 0;
    const json_t *biases = field(r->root, param, "logit_bias");
    if (biases == NULL)
        return err_ok();
    if (!json_is_object(biases) || json_object_size(biases) > ENGINE_BIAS_MAX)
        return err_set(
            ERR_USAGE,
            "'logit_bias' must be an object of at most %d token ids, each with a number.",
            ENGINE_BIAS_MAX);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)biases, key, value) TRY(take_bias(r, key, value));
    return err_ok();
}

static struct err take_stream(struct chat_request *r, const char **param)
{
    TRY(take_bool(r->root, param, "stream", &r->stream));
    const json_t *options = field(r->root, param, "stream_options");
    if (options == NULL)
        return err_ok();
    if (!json_is_object(options) || !r->stream)
        return err_set(ERR_USAGE, "'stream_options' must be an object, and needs 'stream'.");
    return take_bool(options, param, "include_usage", &r->include_usage);
}

/* The tier that OpenAI serves more slowly, and cheaper, is our batch class. */
static struct err take_tier(struct chat_request *r, const char **param)
{
    const json_t *tier = field(r->root, param, "service_tier");
    const char *name = json_string_value(tier);
    if (tier == NULL)
        return err_ok();
    if (name != NULL && strcmp(name, "flex") == 0)
        r->params.priority = ENGINE_BATCH;
    else if (name == NULL || (strcmp(name, "auto") != 0 && strcmp(name, "default") != 0))
        return err_set(ERR_USAGE, "'service_tier' must be \"auto\", \"default\" or \"flex\".");
    r->service_tier = r->params.priority == ENGINE_BATCH ? "flex" : "default";
    return err_ok();
}

/* The engine's salt is a hash of the client's, so any text will do. */
static struct err take_cache_salt(struct chat_request *r, const char **param)
{
    static const char label[] = "blindllama cache salt 1\n";
    const json_t *salt = field(r->root, param, "cache_salt");
    size_t len = json_string_length(salt);
    if (salt == NULL)
        return err_ok();
    if (!json_is_string(salt) || len < CHAT_SALT_LEN_MIN || len > CHAT_SALT_LEN_MAX)
        return err_set(ERR_USAGE,
                       "'cache_salt' must be a text of %d to %d bytes that only you know.",
                       CHAT_SALT_LEN_MIN, CHAT_SALT_LEN_MAX);
    r->params.has_cache_salt = true;
    sha256_3(r->params.cache_salt, bytes_of_str(label), bytes_of(json_string_value(salt), len),
             (struct bytes){0});
    return err_ok();
}

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static struct err refuse_what_we_lack(const json_t *root, const char **param)
{
    static const char *const lacking[] = {"tools", "functions", "audio"};
    for (size_t i = 0; i < sizeof lacking / sizeof lacking[0]; i++) {
        const json_t *value = field(root, param, lacking[i]);
        if (value != NULL && !is_empty(value))
            return err_set(ERR_UNSUPPORTED, "'%s' is not supported by this server.", lacking[i]);
    }
    const json_t *format = field(root, param, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format != NULL && (type == NULL || strcmp(type, "text") != 0))
        return err_set(ERR_UNSUPPORTED,
                       "'response_format' other than {\"type\":\"text\"} is not supported.");
    return err_ok();
}

static struct err parse(struct chat_request *r, const char **param)
{
    *param = NULL;
    if (!json_is_object(r->root))
        return err_set(ERR_USAGE, "The body must be a JSON object.");
    r->messages = field(r->root, param, "messages");
    if (!json_is_array(r->messages) || json_array_size(r->messages) == 0)
        return err_set(ERR_USAGE, "'messages' must be an array with at least one message.");
    const json_t *model = field(r->root, param, "model");
    if (model != NULL && !json_is_string(model))
        return err_set(ERR_USAGE, "'model' must be a text.");
    r->model = json_string_value(model);
    TRY(take_sampling(r, param));
    TRY(take_length(r, param));
    TRY(take_logprobs(r, param));
    TRY(take_stop(r, param));
    TRY(take_stop_ids(r, param));
    TRY(take_biases(r, param));
    TRY(take_stream(r, param));
    TRY(take_tier(r, param));
    TRY(take_cache_salt(r, param));
    return refuse_what_we_lack(r->root, param);
}

/* jansson's own text quotes the body: a reason of ours, line and column are enough. */
static struct err not_read(const json_error_t *where)
{
    const char *why;
    switch (json_error_code(where)) {
    case json_error_null_character:
    case json_error_null_byte_in_key:
        why = "has the character U+0000 in a text, which this server does not take";
        break;
    case json_error_duplicate_key:
        why = "has the same key twice in one object";
        break;
    case json_error_numeric_overflow:
        why = "has a number that is too large (whole numbers: -2^63 to 2^63 - 1)";
        break;
    case json_error_stack_overflow:
        why = "is nested too deeply";
        break;
    case json_error_invalid_utf8:
        why = "is not valid UTF-8";
        break;
    default:
        why = "is not JSON";
    }
    return err_set(ERR_MALFORMED, "The body %s (line %d, column %d).", why, where->line,
                   where->column);
}

struct err chat_request_parse(struct chat_request *out, const char **param, struct bytes body,
                              const struct engine_params *defaults)
{
    *out = (struct chat_request){.params = *defaults};
    *param = NULL;
    json_error_t where;
    if (json_values_bound(body) > CHAT_VALUES_MAX)
        return err_set(ERR_USAGE, "The body has more than %d values.", CHAT_VALUES_MAX);
    out->root = json_loadb(body.len > 0 ? (const char *)body.data : "", body.len,
                           JSON_REJECT_DUPLICATES, &where);
    if (out->root == NULL)
        return not_read(&where);
    struct err e = parse(out, param);
    if (is_err(e))
        chat_request_cleanup(out);
    return e;
}

struct err chat_request_check_tokens(const struct chat_request *r, const char **param,
                                     unsigned vocab_size)
{
    const struct engine_params *p = &r->params;
    *param = "logit_bias";
    for (size_t i = 0; i < p->n_logit_bias; i++)
        if (p->logit_bias[i].id >= vocab_size)
            return err_set(ERR_USAGE, "'logit_bias' has token %u; the vocabulary ends at %u.",
                           p->logit_bias[i].id, vocab_size - 1);
    *param = "stop_token_ids";
    for (size_t i = 0; i < p->n_stop_ids; i++)
        if (p->stop_ids[i] >= vocab_size)
            return err_set(ERR_USAGE, "'stop_token_ids' has token %u; the vocabulary ends at %u.",
                           p->stop_ids[i], vocab_size - 1);
    *param = NULL;
    return err_ok();
}

void chat_request_cleanup(struct chat_request *r)
{
    json_decref(r->root);
    r->root = NULL;
    explicit_bzero(r->params.cache_salt, sizeof r->params.cache_salt);
}
