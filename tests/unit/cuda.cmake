# The CUDA backend: its kernels on the emulated GPU everywhere; the driver where cuda.h is.
function(gpu_test module)
  unit_test(${module} LIBS gpu_emu m ${ARGN})
  set_target_properties(${module}_test PROPERTIES LINKER_LANGUAGE CXX)
  if(BL_CUDA) # BL_TEST_GPU=cuda: on the GPU of this machine
    target_link_libraries(${module}_test PRIVATE gpu_backend)
    target_compile_definitions(${module}_test PRIVATE BL_TEST_CUDA)
  endif()
endfunction()

emulated_kernels(emu_kernels unit/emu_kernels.cu)
gpu_test(emu emu_kernels)
emulated_kernels(emu_async_kernels unit/emu_async_kernels.cu)
gpu_test(emu_async emu_async_kernels)
gpu_test(cuda_arithmetic cuda_kernels)
unit_test(kernel_set LIBS cuda_plan)
gpu_test(cuda_rows cuda_kernels)
gpu_test(cuda_matmul cuda_kernels cuda_plan)
gpu_test(cuda_matmul_sm80 cuda_kernels cuda_plan)
gpu_test(cuda_attention cuda_kernels cuda_plan)
gpu_test(cuda_attention_sm80 cuda_kernels cuda_plan)
gpu_test(cuda_step cuda_kernels)
gpu_test(cuda_chain cuda_kernels cuda_plan)
gpu_test(cuda_sample cuda_kernels engine)
gpu_test(engine_device engine_fixture cuda_kernels)
gpu_test(engine_group engine_fixture cuda_kernels)
gpu_test(engine_device_sample engine_fixture cuda_kernels)
gpu_test(engine_device_steps engine_fixture cuda_kernels)
gpu_test(engine_device_failure engine_fixture cuda_kernels)
gpu_test(engine_device_family engine_fixture cuda_kernels)
# The longest tests begin first (COST), so that no processor is idle at the end.
set_tests_properties(unit.engine_device PROPERTIES TIMEOUT 900 COST 2)
set_tests_properties(unit.engine_device_steps PROPERTIES COST 1)

# The same tests with every load and store of the kernels watched for races.
function(race_test name)
  add_executable(races_${name}_test unit/${name}_test.c)
  target_link_libraries(races_${name}_test PRIVATE cuda_kernels_watched m PkgConfig::CMOCKA ${ARGN})
  set_target_properties(races_${name}_test PROPERTIES LINKER_LANGUAGE CXX)
  target_compile_definitions(races_${name}_test PRIVATE BL_WATCHED)
  add_test(NAME unit.races_${name} COMMAND races_${name}_test)
  set_tests_properties(unit.races_${name} PROPERTIES LABELS unit TIMEOUT 600)
endfunction()

if(TARGET cuda_kernels_watched)
  race_test(cuda_rows)
  race_test(cuda_matmul cuda_plan)
  race_test(cuda_attention cuda_plan)
  race_test(cuda_step)
  race_test(cuda_chain cuda_plan)
  # Over a minute, with sanitizers: run by hand, build/PRESET/bin/races_cuda_sample_test.
  race_test(cuda_sample engine)
  set_tests_properties(unit.races_cuda_sample PROPERTIES DISABLED TRUE)
endif()

# Some faults; all of them: emu_mutants_test.py --all. On two processors.
add_test(NAME unit.emu_mutants
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/emu_mutants_test.py)
set_tests_properties(unit.emu_mutants PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 1200 PROCESSORS 2 COST 3)

add_test(NAME unit.fatbin COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/fatbin_test.py)
set_tests_properties(unit.fatbin PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 900)

add_test(NAME unit.kernels_report
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/kernels_report_test.py)
set_tests_properties(unit.kernels_report PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 900)

if(TARGET gpu_cuda)
  # Sanitizers would want their own library in every process that loads these.
  function(fake_driver name folder)
    add_library(${name} SHARED unit/fake_libcuda.c)
    target_compile_definitions(${name} PRIVATE ${ARGN})
    set_target_properties(${name} PROPERTIES OUTPUT_NAME cuda VERSION 1 SOVERSION 1
      LIBRARY_OUTPUT_DIRECTORY ${folder})
  endfunction()
  set(fake_dir ${CMAKE_CURRENT_BINARY_DIR}/fake_cuda)
  fake_driver(fake_cuda ${fake_dir})
  fake_driver(fake_cuda_lacking ${fake_dir}/lacking FAKE_LACKS_MOST)
  unit_test(gpu_driver LIBS gpu_cuda)
  target_compile_definitions(gpu_driver_test PRIVATE BL_FAKE_CUDA_DIR="${fake_dir}")
  add_dependencies(gpu_driver_test fake_cuda fake_cuda_lacking)
endif()
