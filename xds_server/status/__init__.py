"""Desired status of each object, from verdicts and from what Envoy said; pure."""
