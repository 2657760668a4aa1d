"""Dataset replication: simulated studies with a known truth, samplers that choose a replica, and estimators."""
