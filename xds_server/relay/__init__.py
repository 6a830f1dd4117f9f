"""What one replica's Envoys say, told to the replica that writes statuses."""
