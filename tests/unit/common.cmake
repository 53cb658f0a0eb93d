unit_test(common LIBS common)
