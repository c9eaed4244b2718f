"""Recordings one after the other through a server."""
