# Needs swtpm, swtpm-tools and tpm2-tools; skipped where they are absent.
foreach(module attest_tpm attest_tpm_bus)
  unit_test(${module} LIBS attest_tpm)
  set_tests_properties(unit.${module} PROPERTIES LABELS "unit;tpm")
endforeach()
