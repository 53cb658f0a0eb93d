# Needs swtpm, swtpm-tools and tpm2-tools; skipped where they are absent.
unit_test(attest_tpm LIBS attest_tpm)
set_tests_properties(unit.attest_tpm PROPERTIES LABELS "unit;tpm")
