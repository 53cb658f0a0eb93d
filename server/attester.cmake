# library attester: channel, measurement, attester
