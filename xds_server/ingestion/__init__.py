"""Kubernetes objects in; the model, and a verdict on each object, out. Pure: reads only what it fetches."""
