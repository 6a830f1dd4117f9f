"""What `tidegate demo` shows: the servers behind examples/bookinfo, and requests that say what they expect."""
