# Policy and evidence, and the rules: of one host (verify), of a whole log (replay).
target_sources(attest PRIVATE
  admission.c eventlog_policy.c policy.c policy_boot.c policy_gpu.c evidence.c evidence_parse.c report.c
  rules_host.c rules_quote.c rules_measured.c rules_boot.c rules_gpu.c
  verify.c verify_bundle.c verify_log.c verify_report.c
  replay.c replay_host.c replay_hosts.c replay_quote.c replay_report.c replay_verdict.c)
