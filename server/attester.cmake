# The attester process: TPM, attestation key, log writer. No libevent, no engine.
add_library(attester STATIC
  channel.c measurement.c event_log.c
  attester.c attester_state.c attester_host.c attester_runtime.c attester_lanes.c
  attester_history.c attester_statements.c attester_gpu.c attester_measure.c attester_quote.c attester_recover.c
  attester_evidence.c attester_shown.c attester_publisher.c attester_queue.c
  attester_remote.c attester_refused.c attester_proven.c publish_frames.c queue_file.c attester_activation.c
  attester_serve.c)
target_link_libraries(attester PUBLIC attest attest_tpm nvml publish tlog_store common)
