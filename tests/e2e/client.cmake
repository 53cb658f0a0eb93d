# The client: its parsers, and the program against scripted hosts and a real one.
unit_test(terminal LIBS client)
unit_test(sse LIBS client)
unit_test(url LIBS http)
unit_test(connection_tls LIBS http)
unit_test(chat LIBS client Threads::Threads)
fuzz_target(sse LIBS client)

e2e_test(client ${Python3_EXECUTABLE} tests/e2e/client_test.py)
