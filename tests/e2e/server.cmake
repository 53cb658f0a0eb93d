# End-to-end tests of blindllama-server.
foreach(name api start stop clients witness log)
  e2e_test(server_${name} ${Python3_EXECUTABLE} tests/e2e/server_${name}_test.py)
endforeach()
# Boots OVMF in QEMU: about half a minute; skipped where they are not installed.
e2e_test(firmware ${Python3_EXECUTABLE} tests/e2e/firmware_test.py)
