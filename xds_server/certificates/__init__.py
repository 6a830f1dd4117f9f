"""Certificates of the mesh itself: its authority, its server, its proxies and its operators."""
