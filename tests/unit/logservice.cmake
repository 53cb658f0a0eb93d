# Tests of the log service.
add_library(service_scene STATIC unit/service_scene.c)
target_link_libraries(service_scene PUBLIC logservice fake_host PkgConfig::CMOCKA)

unit_test(service LIBS service_scene)
unit_test(service_witness LIBS service_scene)
unit_test(shelf LIBS logservice)
unit_test(submit LIBS logservice fake_host)
unit_test(witness_client LIBS logservice PkgConfig::SQLITE)
fuzz_target(request LIBS logservice)
