# tpm
