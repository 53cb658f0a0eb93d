# The front's parts that need no model and no TPM.
unit_test(chat_request LIBS front)
unit_test(chat_response LIBS front)
unit_test(handover LIBS front)
unit_test(http_listen LIBS http)
unit_test(sandbox LIBS front)
unit_test(tls LIBS http)
fuzz_target(chat_request LIBS front)
