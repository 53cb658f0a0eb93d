unit_test(channel LIBS attester Threads::Threads)
unit_test(attester_recover LIBS attester)
unit_test(measurement LIBS attester)
unit_test(publish_frames LIBS attester)
unit_test(queue_file LIBS attester)
fuzz_target(channel LIBS attester)
fuzz_target(publish_frames LIBS attester)
fuzz_target(queue_file LIBS attester)
fuzz_target(measurement LIBS attester)

# Needs swtpm, swtpm-tools and tpm2-tools; skipped where they are absent.
foreach(module attester attester_cloud attester_cloud_remote attester_events attester_refusal attester_nonces attester_crash attester_witness
    attester_remote attester_refused attester_remote_crash)
  unit_test(${module} LIBS attester)
  set_tests_properties(unit.${module} PROPERTIES LABELS "unit;tpm")
endforeach()
# The calls before and after which the crash test kills the attester.
foreach(call fsync rename fd_write_all store_create store_append tpm_pcr_extend tpm_counter_increment)
  target_link_options(attester_crash_test PRIVATE -Wl,--wrap=${call})
endforeach()
foreach(call fsync rename unlinkat fd_write_all)
  target_link_options(attester_remote_crash_test PRIVATE -Wl,--wrap=${call})
endforeach()
