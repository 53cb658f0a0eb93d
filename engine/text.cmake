# Text in and out: tokenizer and chat templates. Includes nothing above common.
add_library(engine_text STATIC
  tokenizer.c tokenizer_map.c tokenizer_load.c tokenizer_stages.c tokenizer_regex.c
  tokenizer_added.c tokenizer_normalize.c tokenizer_rewrite.c tokenizer_bpe.c tokenizer_encode.c
  tokenizer_decode.c tokenizer_decoder.c tokenizer_added_load.c
  chat_template.c
  jinja_lex.c jinja_parse.c jinja_expr.c jinja_postfix.c jinja_literal.c
  jinja_value.c jinja_compare.c jinja_text.c jinja_json.c
  jinja_exec.c jinja_eval.c jinja_call.c jinja_access.c jinja_operators.c
  jinja_strings.c jinja_filters.c jinja_sequences.c jinja_order.c jinja_tests.c jinja_methods.c
  jinja_functions.c)
target_link_libraries(engine_text PUBLIC common PkgConfig::JANSSON
  PRIVATE PkgConfig::PCRE2 PkgConfig::UTF8PROC m)
