"""What an installation is like: what replicas tell, what the API server has, what is wrong and what to do."""
