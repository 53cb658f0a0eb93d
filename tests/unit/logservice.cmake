# Tests of the log service.
unit_test(service LIBS logservice fake_host)
