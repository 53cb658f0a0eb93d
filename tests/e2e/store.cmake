# The log, driven from outside: faults of the kernel, and other implementations.
add_executable(store_writer e2e/store_writer.c)
target_link_libraries(store_writer PRIVATE tlog_store)
foreach(name faults others)
  e2e_test(store_${name} ${Python3_EXECUTABLE} tests/e2e/store_${name}_test.py)
  set_property(TEST e2e.store_${name} APPEND PROPERTY
    ENVIRONMENT "BL_STORE_WRITER=$<TARGET_FILE:store_writer>")
endforeach()
