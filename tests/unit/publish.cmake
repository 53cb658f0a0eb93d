# Logs towards others.
unit_test(tile_proofs LIBS publish)
unit_test(log_client LIBS publish)
fuzz_target(log_challenge LIBS publish)
