"""Answers what Envoy would do with a request, by reading the messages that Envoy is given."""
