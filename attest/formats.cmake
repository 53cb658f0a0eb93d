# target_sources(attest PRIVATE ...): parsers and formats
