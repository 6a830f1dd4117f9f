"""The middle language between Kubernetes objects and Envoy: frozen data that imports nothing of ours."""
