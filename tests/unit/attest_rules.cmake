# rules
add_library(fake_host STATIC unit/fake_host.c)
target_include_directories(fake_host PUBLIC unit)
target_link_libraries(fake_host PUBLIC attest)

unit_test(policy LIBS attest)
unit_test(evidence LIBS attest)
unit_test(verify LIBS attest fake_host)
