"""Messages of our own, generated from proto/ by `make proto`."""
