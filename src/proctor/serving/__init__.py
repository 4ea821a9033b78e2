"""A policy behind a websocket: `proctor serve`, which speaks openpi's protocol.

server     the process: connections, health, metrics, draining
session    what one client said: its requests, and the memory of its episodes
batching   forward passes that several clients share, by the engine's own rule
wire       the messages, and the extension by which an evaluation says which episode it runs
status     the numbers that the live line and /metrics show
"""
