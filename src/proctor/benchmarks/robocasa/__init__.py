"""RoboCasa365: household tasks of a mobile arm in simulated kitchens."""

from proctor.benchmarks.robocasa.benchmark import RoboCasa, RoboCasaConfig

__all__ = ["RoboCasa", "RoboCasaConfig"]
