/* Where a model's chat templates are found, which of them a chat gets, and what they may name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "tests/unit/engine_fixture.h"

static struct engine *open_model(const struct tiny_model *m)
{
    return open_with(m, options(1, 1, 16));
}

static void assert_refused(const struct tiny_model *m, enum err_code code, const char *a,
                           const char *b)
{
    struct engine *e = NULL;
    const struct engine_options small = options(1, 1, 16);
    struct err err = engine_open(&e, m->dir, &small);
    if (err.code != code || strstr(err_message(), a) == NULL || strstr(err_message(), b) == NULL)
        fail_msg("want %s with \"%s\" and \"%s\"; got %s, \"%s\"", err_code_name(code), a, b,
                 err_code_name(err.code), err_message());
}

static void write_text(const struct tiny_model *m, const char *name, const char *text)
{
    tiny_write_file(m, name, text, strlen(text));
}

/* tokenizer_config.json with this JSON text as its chat_template. */
static void set_template(const struct tiny_model *m, const char *json)
{
    BUF_AUTO text = BUF_INIT;
    buf_printf(&text, "{\"bos_token\":\"<|bos|>\",\"chat_template\":%s}", json);
    write_text(m, "tokenizer_config.json", buf_str(&text));
}

static void write_tool_file(const struct tiny_model *m, const char *text)
{
    BUF_AUTO path = BUF_INIT;
    assert_int_equal(mkdir(path_join(&path, m->dir, "additional_chat_templates"), 0700), 0);
    write_text(m, "additional_chat_templates/tool_use.jinja", text);
}

/* What the template of a chat with or without tools writes. */
static void assert_written(const struct engine *e, bool has_tools, const char *expected)
{
    const struct chat_template *t = NULL;
    struct rendered r = {0};
    if (is_err(engine_find_template(e, has_tools, &t)) ||
        is_err(chat_template_render(t, &r, e->special_tokens, 0)))
        fail_msg("%s", err_message());
    assert_string_equal(buf_str(&r.text), expected);
    rendered_cleanup(&r);
}

#define DEFAULT "{\"name\":\"default\",\"template\":\"plain\"}"
#define TOOL_USE "{\"name\":\"tool_use\",\"template\":\"tools\"}"
#define RAG "{\"name\":\"rag\",\"template\":\"{% include 'nothing' %}\"}"

static void one_template_is_for_every_chat(void **state)
{
    set_template(*state, "\"one\"");
    struct engine *e = open_model(*state);
    assert_written(e, false, "one");
    assert_written(e, true, "one");
    engine_free(e);
}

/* The one that nobody can ask for need not even be a template. */
static void takes_a_list_of_named_templates(void **state)
{
    set_template(*state, "[" RAG "," TOOL_USE "," DEFAULT "]");
    struct engine *e = open_model(*state);
    assert_written(e, false, "plain");
    assert_written(e, true, "tools");
    engine_free(e);
    set_template(*state, "[" DEFAULT "," RAG "]");
    e = open_model(*state);
    assert_written(e, true, "plain");
    engine_free(e);
}

static void a_template_for_tools_alone_refuses_other_chats(void **state)
{
    const struct chat_template *t = NULL;
    set_template(*state, "[" TOOL_USE "]");
    struct engine *e = open_model(*state);
    assert_written(e, true, "tools");
    assert_int_equal(engine_find_template(e, false, &t).code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err_message(), "with tools only"));
    engine_free(e);
}

static void refuses_lists_that_name_no_template_it_can_use(void **state)
{
    static const struct {
        const char *json;
        enum err_code code;
        const char *why;
    } cases[] = {
        {"[]", ERR_UNSUPPORTED, "default"},
        {"[" RAG "]", ERR_UNSUPPORTED, "default"},
        {"[" DEFAULT "," DEFAULT "]", ERR_MALFORMED, "twice"},
        {"[{\"name\":\"default\"}]", ERR_UNSUPPORTED, "name and template"},
        {"[\"default\"]", ERR_UNSUPPORTED, "name and template"},
        {"{\"default\":\"x\"}", ERR_UNSUPPORTED, "chat_template"},
        {"7", ERR_UNSUPPORTED, "chat_template"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_template(*state, cases[i].json);
        assert_refused(*state, cases[i].code, "tokenizer_config.json", cases[i].why);
    }
}

static void files_take_the_place_of_all_in_the_settings(void **state)
{
    const struct tiny_model *m = *state;
    set_template(m, "[" TOOL_USE "," DEFAULT "]");
    write_text(m, "chat_template.jinja", "from a file");
    struct engine *e = open_model(m);
    assert_written(e, false, "from a file");
    assert_written(e, true, "from a file");
    engine_free(e);
    write_tool_file(m, "tools' file");
    e = open_model(m);
    assert_written(e, false, "from a file");
    assert_written(e, true, "tools' file");
    engine_free(e);
    tiny_remove_file(m, "chat_template.jinja");
    e = open_model(m);
    const struct chat_template *t = NULL;
    assert_true(is_err(engine_find_template(e, false, &t)));
    engine_free(e);
}

static void a_template_in_a_folder_is_measured(void **state)
{
    write_tool_file(*state, "x");
    struct engine *e = open_model(*state);
    assert_string_equal(engine_info(e)->files[0].name, "additional_chat_templates/tool_use.jinja");
    assert_int_equal(engine_info(e)->files[0].size, 1);
    engine_free(e);
}

static void says_where_a_template_has_a_syntax_error(void **state)
{
    const struct tiny_model *m = *state;
    set_template(m, "\"one\\n{% if %}\"");
    assert_refused(m, ERR_MALFORMED, "tokenizer_config.json: chat_template", "line 2");
    set_template(m, "[" DEFAULT ",{\"name\":\"tool_use\",\"template\":\"\\n\\n{{ (1 }}\"}]");
    assert_refused(m, ERR_MALFORMED, "chat_template tool_use", "line 3");
    write_text(m, "chat_template.jinja", "a\n\n\n{% endfor %}");
    assert_refused(m, ERR_MALFORMED, "chat_template.jinja", "line 4");
    write_text(m, "chat_template.jinja", "fine");
    write_tool_file(m, "{% do x %}");
    assert_refused(m, ERR_UNSUPPORTED, "tool_use.jinja", "line 1");
}

static void templates_may_name_the_models_special_tokens(void **state)
{
    write_text(*state, "tokenizer_config.json",
               "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\",\"lstrip\":false},"
               "\"unk_token\":\"<unk>\",\"pad_token\":null,\"extra_special_tokens\":"
               "{\"image_token\":\"<img>\",\"audio_token\":{\"content\":\"<aud>\"}},"
               "\"chat_template\":\"{{ bos_token }}{{ eos_token }}{{ unk_token }}"
               "{{ pad_token is defined }}{{ image_token }}{{ audio_token }}\"}");
    struct engine *e = open_model(*state);
    assert_written(e, false, "<s></s><unk>False<img><aud>");
    engine_free(e);
}

/* What tokenizer_config.json holds besides, in the forms that published models have. */
static void takes_published_tokenizer_settings(void **state)
{
    static const char *const cases[] = {
        /* Llama 2 and what came from it: 10^30 stands for no limit */
        "\"add_bos_token\":true,\"add_eos_token\":false,\"bos_token\":{\"__type\":\"AddedToken\","
        "\"content\":\"<s>\",\"lstrip\":false,\"normalized\":true,\"rstrip\":false,"
        "\"single_word\":false},\"clean_up_tokenization_spaces\":false,\"legacy\":false,"
        "\"model_max_length\":1000000000000000019884624838656,\"pad_token\":null,"
        "\"sp_model_kwargs\":{},\"tokenizer_class\":\"LlamaTokenizer\",\"unk_token\":"
        "{\"content\":\"<unk>\"}",
        /* Llama 3, Qwen, Phi: their added tokens are listed by id */
        "\"added_tokens_decoder\":{\"151643\":{\"content\":\"<|endoftext|>\",\"lstrip\":false,"
        "\"normalized\":false,\"rstrip\":false,\"single_word\":false,\"special\":true}},"
        "\"additional_special_tokens\":[\"<|im_start|>\",\"<|im_end|>\"],\"bos_token\":null,"
        "\"eos_token\":\"<|im_end|>\",\"errors\":\"replace\",\"model_max_length\":131072,"
        "\"split_special_tokens\":false,\"tokenizer_class\":\"Qwen2Tokenizer\","
        "\"unk_token\":null,\"add_prefix_space\":false",
        /* transformers 5 */
        ("\"backend\":\"tokenizers\",\"extra_special_tokens\":[\"<a>\",\"<b>\"],\"is_local\":true,"
         "\"model_max_length\":1e30,\"tokenizer_class\":\"TokenizersBackend\",\"eos_token\":\"x\""),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        BUF_AUTO text = BUF_INIT;
        buf_printf(&text, "{%s,\"chat_template\":\"ok\"}", cases[i]);
        write_text(*state, "tokenizer_config.json", buf_str(&text));
        struct engine *e = open_model(*state);
        assert_written(e, false, "ok");
        engine_free(e);
    }
}

static void refuses_special_tokens_that_are_not_texts(void **state)
{
    write_text(*state, "tokenizer_config.json", "{\"eos_token\":[\"a\"]}");
    assert_refused(*state, ERR_UNSUPPORTED, "tokenizer_config.json", "\"eos_token\" is");
    write_text(*state, "tokenizer_config.json", "{\"pad_token\":{\"text\":\"a\"}}");
    assert_refused(*state, ERR_UNSUPPORTED, "tokenizer_config.json", "\"pad_token\" is");
    write_text(*state, "tokenizer_config.json", "{\"eos_token\":\"a\",\"eos_token\":\"b\"}");
    assert_refused(*state, ERR_MALFORMED, "tokenizer_config.json", "duplicate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_CASE(one_template_is_for_every_chat),
        ENGINE_CASE(takes_a_list_of_named_templates),
        ENGINE_CASE(a_template_for_tools_alone_refuses_other_chats),
        ENGINE_CASE(refuses_lists_that_name_no_template_it_can_use),
        ENGINE_CASE(files_take_the_place_of_all_in_the_settings),
        ENGINE_CASE(a_template_in_a_folder_is_measured),
        ENGINE_CASE(says_where_a_template_has_a_syntax_error),
        ENGINE_CASE(templates_may_name_the_models_special_tokens),
        ENGINE_CASE(takes_published_tokenizer_settings),
        ENGINE_CASE(refuses_special_tokens_that_are_not_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
