# Parsers and formats: bytes and texts to structures, and what each alone can check.
target_sources(attest PRIVATE
  tpm_public.c tpm_signature.c attested.c
  pcr_bank.c eventlog.c eventlog_replay.c ima.c ima_ascii.c
  ak_file.c pcr_file.c quote_check.c
  cert_path.c ek_cert.c ak_cert.c ek_subject.c kdf.c credential.c activation.c
  gpu_chain.c gpu_report.c
  key_lines.c context.c statement.c statement_format.c statement_gpu.c
  runtime_log.c lanes.c)
