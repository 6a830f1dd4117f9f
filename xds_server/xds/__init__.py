"""The ADS server: resources, what each client has of them, and the streams. Knows names, versions and bytes."""
