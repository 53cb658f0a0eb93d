# End-to-end tests: the built programs, a software TPM, real sockets. Python's standard library only.
set(BL_PROGRAMS "${BL_PROGRAMS_DIR}")
if(NOT BL_PROGRAMS)
  set(BL_PROGRAMS "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
endif()

# e2e_test(<name> <command>...): label "e2e", programs in $BL_PROGRAMS; exit code 77 is a skip.
function(e2e_test name)
  add_test(NAME e2e.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(e2e.${name} PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT 300
    ENVIRONMENT "BL_PROGRAMS=${BL_PROGRAMS};BL_DEMO_DIR=${CMAKE_BINARY_DIR}/demo;PYTHONDONTWRITEBYTECODE=1")
endfunction()

e2e_test(rooms ${Python3_EXECUTABLE} tests/rooms_test.py ${BL_PROGRAMS})
e2e_test(demo tests/demo.sh)
e2e_test(golden ${Python3_EXECUTABLE} tests/e2e/golden_test.py)
include(e2e/server.cmake OPTIONAL)
include(e2e/client.cmake OPTIONAL)
include(e2e/store.cmake OPTIONAL)
e2e_test(logservice ${Python3_EXECUTABLE} tests/e2e/logservice_test.py)
