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
fuzz_target(safetensors LIBS engine)
fuzz_target(model_config LIBS engine)
