"""Bootstrap and life of a local Envoy process."""
