# attester
