# End-to-end tests of blindllama-server.
foreach(name api start stop clients)
  e2e_test(server_${name} ${Python3_EXECUTABLE} tests/e2e/server_${name}_test.py)
endforeach()
