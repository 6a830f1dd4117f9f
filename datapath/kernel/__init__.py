"""The kernel's BPF objects as the daemon sees them: maps, programs, links, events, and the routes that go with them.

Nothing here knows what a Service, an Envoy or the control plane is.
"""
