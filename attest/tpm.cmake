# library attest_tpm
