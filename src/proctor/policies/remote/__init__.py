"""Policies behind a server, over openpi's websocket protocol and GR00T's ZeroMQ protocol.

policy       what both have in common: requests, deadlines, what is done if the server fails
openpi       the client of openpi's protocol, and of vLLM-Omni's and `proctor serve`'s forms of it
groot        the client of GR00T's protocol, in its versions
connections  the connections to a server: they are opened, replaced and shared by episodes
websocket    one connection of openpi's
zeromq       one connection of GR00T's
codec        arrays in messages, with limits and without pickle
extension    what `proctor serve` offers beyond openpi's protocol
served       a policy of `proctor serve` that needs no mapping
mapping      which arrays of an observation are sent under which keys, and which keys of a reply are the action
conversions  conversions of vectors that a mapping can name
presets      the mappings of the projects' own clients
images       rotation and resizing
"""
