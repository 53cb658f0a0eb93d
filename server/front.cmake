# The front: HTTPS, API, engine; supervisor and sandbox; and the program of it all.
add_library(front STATIC
  api_attestation.c api_chat.c api_chat_flow.c api_chat_request.c api_chat_response.c api_log.c
  api_models.c front.c front_attester.c front_handover.c front_memory.c front_policy.c front_start.c
  publisher.c publisher_log.c sandbox.c supervisor.c)
target_link_libraries(front PUBLIC attester engine gpu_backend http publish tlog_store common
  PkgConfig::LIBEVENT PkgConfig::JANSSON OpenSSL::SSL OpenSSL::Crypto PkgConfig::SECCOMP
  Threads::Threads)

add_executable(blindllama-server main.c options.c)
target_link_libraries(blindllama-server PRIVATE front)
