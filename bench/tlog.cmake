# ninja tlog_bench && bin/tlog_bench FOLDER
add_executable(tlog_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/tlog_bench.c)
target_link_libraries(tlog_bench PRIVATE tlog_store)
