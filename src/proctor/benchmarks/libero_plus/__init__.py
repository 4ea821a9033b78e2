"""LIBERO-plus: 10 030 variants of LIBERO's tasks along seven axes of perturbation."""

from proctor.benchmarks.libero_plus.benchmark import LiberoPlus, LiberoPlusConfig

__all__ = ["LiberoPlus", "LiberoPlusConfig"]
