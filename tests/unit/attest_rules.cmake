# rules
add_library(fake_host STATIC
  unit/fake_world.c unit/fake_log.c unit/fake_tpm.c unit/fake_host.c unit/fake_evidence.c
  unit/fake_certified.c unit/fake_gpu.c)
target_include_directories(fake_host PUBLIC unit)
target_link_libraries(fake_host PUBLIC attest)
target_compile_definitions(fake_host PRIVATE BL_SHARED_DIR="${BL_SHARED_DIR}")

add_library(verify_scene STATIC unit/verify_scene.c)
target_link_libraries(verify_scene PUBLIC fake_host PkgConfig::CMOCKA)
add_library(replay_scene STATIC unit/replay_scene.c)
target_link_libraries(replay_scene PUBLIC fake_host PkgConfig::CMOCKA)

unit_test(policy LIBS attest)
unit_test(admission LIBS fake_host)
unit_test(evidence LIBS attest)
unit_test(verify LIBS verify_scene)
unit_test(verify_bundle LIBS verify_scene)
unit_test(verify_host LIBS verify_scene)
unit_test(verify_witness LIBS fake_host)
unit_test(verify_quote LIBS verify_scene)
unit_test(verify_measured LIBS verify_scene)
unit_test(verify_boot LIBS verify_scene)
unit_test(verify_gpu LIBS verify_scene)
unit_test(certified LIBS verify_scene)
unit_test(pitfalls LIBS verify_scene)
unit_test(replay LIBS replay_scene)
unit_test(replay_statements LIBS replay_scene)
unit_test(replay_quotes LIBS replay_scene)
unit_test(replay_findings LIBS replay_scene)
unit_test(replay_hosts LIBS replay_scene)
unit_test(replay_boot LIBS replay_scene)
unit_test(replay_gpu LIBS replay_scene)
unit_test(hostile_log LIBS replay_scene)
unit_test(audit LIBS tlog_store fake_host)
add_dependencies(audit_test blindllama-audit)
target_compile_definitions(audit_test PRIVATE
  BL_AUDIT_PROGRAM="$<TARGET_FILE:blindllama-audit>")
unit_test(audit_tools LIBS fake_host)
add_dependencies(audit_tools_test blindllama-audit)
target_compile_definitions(audit_tools_test PRIVATE
  BL_AUDIT_PROGRAM="$<TARGET_FILE:blindllama-audit>")

fuzz_target(admission LIBS fake_host)
fuzz_target(policy LIBS attest)
fuzz_target(evidence LIBS attest)
fuzz_target(replay LIBS fake_host)

# Exhaustive mutations, a test for each part: together they take minutes under sanitizers.
# mutation_parts(<program> <library> <parts>...): each part is a word of one test's name.
function(mutation_parts program library)
  add_executable(${program}_test unit/${program}_test.c)
  target_link_libraries(${program}_test PRIVATE ${library})
  foreach(part ${ARGN})
    add_test(NAME unit.${program}.${part} COMMAND ${program}_test "*${part}*")
    set_tests_properties(unit.${program}.${part} PROPERTIES LABELS unit TIMEOUT 300)
  endforeach()
endfunction()
mutation_parts(mutation verify_scene
  host_statement boot_statement identity_statement
  logged_quote_begin logged_quote_end live_quote_begin live_quote_end
  checkpoint_and_heads proofs_and every_blob client_brings the_json the_policy another_hosts)
mutation_parts(mutation_log replay_scene
  every_byte every_bit_of_a_stop every_cut left_out)
