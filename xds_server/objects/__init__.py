"""Read-models of Kubernetes objects: frozen, and with only the fields that are read, so that equality filters noise."""
