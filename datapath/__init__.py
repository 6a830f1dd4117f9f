"""The node daemon: hands matched connections to the Envoy of its node."""
