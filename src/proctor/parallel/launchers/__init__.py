"""Launchers by name. Each launcher runs the shards of an evaluation at another kind of place.

- ``local`` (:mod:`proctor.parallel.launchers.local`): processes of this machine.
- ``inline`` (:mod:`proctor.parallel.launchers.inline`): threads of this process, for debugging.
- ``ray`` (:mod:`proctor.parallel.launchers.ray`): actors on a Ray cluster.
- ``slurm`` (:mod:`proctor.parallel.launchers.slurm`): jobs of a Slurm cluster.

:mod:`proctor.parallel.launchers.base` defines what a launcher is. Importing this package imports no launcher.
"""

LAUNCHERS = {
    "local": "proctor.parallel.launchers.local:LocalLauncher",
    "inline": "proctor.parallel.launchers.inline:InlineLauncher",
    "ray": "proctor.parallel.launchers.ray.launcher:RayLauncher",
    "slurm": "proctor.parallel.launchers.slurm.launcher:SlurmLauncher",
}
"""The address of each launcher's class, ``module:attribute``, by the name that ``--launcher`` takes."""
