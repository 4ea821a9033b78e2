"""Shards on a Ray cluster: each runs in an actor, on any node that has room for it.

- :mod:`~proctor.parallel.launchers.ray.options`: the options of the command line for the cluster.
- :mod:`~proctor.parallel.launchers.ray.launcher`: the launcher, and the driver's side of each actor.
- :mod:`~proctor.parallel.launchers.ray.cluster`: joins a cluster, or starts one on this machine.
- :mod:`~proctor.parallel.launchers.requirements`: what a node must have before a shard runs there.
- :mod:`~proctor.parallel.launchers.ray.host`: the actor, the node's side.

Importing this package imports nothing heavy, and not Ray.
"""
