# The only files that include <tss2/...>.
add_library(attest_tpm STATIC tpm.c tpm_handles.c tpm_keys.c tpm_ek.c tpm_ak.c tpm_nv_read.c tpm_pcr.c tpm_nv.c)
target_link_libraries(attest_tpm PUBLIC attest PRIVATE PkgConfig::TSS2)
