"""Where the shards of an evaluation run: in this process, in processes of this machine, elsewhere."""

LAUNCHERS = {
    "local": "proctor.parallel.launchers.local:LocalLauncher",
    "inline": "proctor.parallel.launchers.inline:InlineLauncher",
    "ray": "proctor.parallel.launchers.ray:RayLauncher",
}
"""Launchers by name, each where it is found: ``module:attribute``."""
