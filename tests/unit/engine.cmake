# tests and fuzz targets of this room

# Kernels and the engine's core.
add_library(tiny_model STATIC unit/tiny_model.c)
target_link_libraries(tiny_model PUBLIC common PkgConfig::JANSSON PRIVATE m)
unit_test(kernels LIBS kernels tiny_model m)
unit_test(safetensors LIBS engine)
unit_test(model_config LIBS engine m)
unit_test(sample LIBS engine m)
unit_test(output LIBS engine)
unit_test(sched LIBS engine)
unit_test(engine_open LIBS engine tiny_model)
unit_test(engine LIBS engine tiny_model m)
unit_test(engine_golden LIBS engine m)
unit_test(generate LIBS tiny_model)
add_dependencies(generate_test blindllama-generate)
target_compile_definitions(generate_test PRIVATE BL_GENERATE="$<TARGET_FILE:blindllama-generate>")
fuzz_target(safetensors LIBS engine)
fuzz_target(model_config LIBS engine)

# Text: tokenizer and chat templates.
unit_test(tokenizer LIBS engine_text Threads::Threads)
unit_test(tokenizer_load LIBS engine_text)
unit_test(tokenizer_spm LIBS engine_text)
unit_test(chat_template LIBS engine_text)
fuzz_target(tokenizer_json LIBS engine_text)
fuzz_target(encode LIBS engine_text)
fuzz_target(encode_spm LIBS engine_text)
fuzz_target(template LIBS engine_text)
