"""The model as Envoy messages: pure functions from frozen data to serialised, versioned resources."""
