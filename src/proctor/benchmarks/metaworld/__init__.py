"""Meta-World: fifty tasks of a Sawyer arm."""

from proctor.benchmarks.metaworld.benchmark import MetaWorld, MetaWorldConfig

__all__ = ["MetaWorld", "MetaWorldConfig"]
