"""Policies behind a server: openpi's websocket protocol and GR00T's ZeroMQ protocol, spoken by code of our own."""
