include(unit/server_attester.cmake)
include(unit/server_front.cmake)
