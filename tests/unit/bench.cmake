# No time is measured here: the smallest inputs, one round; those of a GPU on the emulated one.
add_test(NAME bench.runs COMMAND bench --tiny --rounds 1 --threads 1
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(bench.runs PROPERTIES LABELS unit TIMEOUT 300)

add_library(fake_cublaslt SHARED unit/fake_cublaslt.c)
set(fake_cublaslt_dir ${CMAKE_CURRENT_BINARY_DIR}/fake_cublaslt_lib)
set_target_properties(fake_cublaslt PROPERTIES OUTPUT_NAME cublasLt VERSION 13 SOVERSION 13
  LIBRARY_OUTPUT_DIRECTORY ${fake_cublaslt_dir})

foreach(name gemm attention decode step engine)
  add_test(NAME bench.gpu_${name} COMMAND bench ${name} --backend cuda --emulated --tiny --rounds 2
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(bench.gpu_${name} PROPERTIES LABELS unit TIMEOUT 600
    ENVIRONMENT LD_LIBRARY_PATH=${fake_cublaslt_dir})
endforeach()

# Results that are wrong are seen before any time is taken.
function(bench_sees badly words)
  add_test(NAME bench.sees_results_${badly} COMMAND bench gemm --emulated --tiny --rounds 1
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(bench.sees_results_${badly} PROPERTIES LABELS unit TIMEOUT 300
    PASS_REGULAR_EXPRESSION "bench: cuBLASLt, .*${words}"
    ENVIRONMENT "LD_LIBRARY_PATH=${fake_cublaslt_dir};BL_FAKE_CUBLASLT=${badly}")
endfunction()
bench_sees(off "rows: results are 0.0[0-9]+ off, relative")
bench_sees(short "1 of [0-9]+ results were not written")

# Run for seconds: with sanitizers, optimising it takes minutes.
emulated_kernels(bench_inexact ${CMAKE_SOURCE_DIR}/bench/inexact.cu)
target_compile_options(bench_inexact PRIVATE -O0)
gpu_test(bench_inexact bench_rig bench_inexact)

add_test(NAME bench.plot COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/plot_test.py)
set_tests_properties(bench.plot PROPERTIES LABELS unit TIMEOUT 120)

# The whole script, on the emulated GPU; the tests of kernels it runs here are tests of their own.
add_test(NAME bench.gpu_script COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/gpu_script_test.py
  ${CMAKE_BINARY_DIR})
set_tests_properties(bench.gpu_script PROPERTIES LABELS unit TIMEOUT 900)
