"""Where the shards of an evaluation run: in this process, in processes of this machine, elsewhere."""

LAUNCHERS = {
    "local": "proctor.launchers.local:LocalLauncher",
    "inline": "proctor.launchers.inline:InlineLauncher",
}
"""Launchers by name, each where it is found: ``module:attribute``. Called without arguments."""
