# target_sources(attest PRIVATE ...): policy, evidence, verify, replay
