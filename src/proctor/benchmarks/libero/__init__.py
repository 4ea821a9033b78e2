"""LIBERO, in robosuite: four suites of short tasks and the suite of long ones."""

from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig

__all__ = ["Libero", "LiberoConfig"]
