"""LIBERO: four suites of tasks and the long ones, in robosuite."""

from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig

__all__ = ["Libero", "LiberoConfig"]
