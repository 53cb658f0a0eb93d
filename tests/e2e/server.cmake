# End-to-end tests of blindllama-server.
# The server on two emulated GPUs; no program that is shipped holds them.
if(TARGET cuda_kernels AND TARGET fake_nvml)
  add_executable(blindllama-server-emulated ${CMAKE_SOURCE_DIR}/server/main.c
    ${CMAKE_SOURCE_DIR}/server/options.c e2e/gpu_backend_emulated.c)
  target_link_libraries(blindllama-server-emulated PRIVATE front gpu_emu cuda_kernels)
  set_target_properties(blindllama-server-emulated PROPERTIES LINKER_LANGUAGE CXX)
  e2e_test(server_gpu ${Python3_EXECUTABLE} tests/e2e/server_gpu_test.py)
  set_property(TEST e2e.server_gpu APPEND PROPERTY ENVIRONMENT
    "BL_FAKE_NVML_LIBRARY=$<TARGET_FILE:fake_nvml>;BL_EMULATED_SERVER=$<TARGET_FILE:blindllama-server-emulated>;BL_VERIFIER=$<TARGET_FILE:blindllama>")
endif()
foreach(name api start stop clients witness log)
  e2e_test(server_${name} ${Python3_EXECUTABLE} tests/e2e/server_${name}_test.py)
endforeach()
# Boots OVMF in QEMU: about half a minute; skipped where they are not installed (./dev test does).
e2e_test(firmware ${Python3_EXECUTABLE} tests/e2e/firmware_test.py)

# A thousand clients of one server; BL_MANY_CLIENTS_N: another number.
add_executable(many_clients e2e/many_clients.c)
target_link_libraries(many_clients PRIVATE project_options OpenSSL::SSL)
e2e_test(server_many ${Python3_EXECUTABLE} tests/e2e/server_many_test.py)
set_property(TEST e2e.server_many APPEND PROPERTY ENVIRONMENT "BL_MANY_CLIENTS=$<TARGET_FILE:many_clients>")
