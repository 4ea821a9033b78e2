"""Where the shards of an evaluation run: in this process, in processes of this machine, elsewhere."""

LAUNCHERS = {
    "local": "proctor.launchers.local:LocalLauncher",
    "inline": "proctor.launchers.inline:InlineLauncher",
    "ray": "proctor.launchers.ray:RayLauncher",
}
"""Launchers by name, each where it is found: ``module:attribute``."""
