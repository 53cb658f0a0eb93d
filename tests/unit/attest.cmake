# formats and parsers
include(unit/attest_formats.cmake)
# policy, evidence, verifier, replay
include(unit/attest_rules.cmake)
# the TPM (needs swtpm)
include(unit/attest_tpm.cmake)
