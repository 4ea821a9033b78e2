"""A policy behind a websocket: `proctor serve`, by openpi's protocol.

server     the process: connections, health, metrics, draining
session    the requests of one client, and the memory of its episodes
batching   forward passes that several clients share, by the engine's own rule
wire       the messages, and the extension by which an evaluation names the episode of a request
status     the numbers that the live line and /metrics show
"""
