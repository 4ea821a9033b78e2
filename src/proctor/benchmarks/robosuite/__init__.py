"""The tasks that robosuite itself has, with the observations, controller and step limits of robomimic."""

from proctor.benchmarks.robosuite.benchmark import Robosuite, RobosuiteConfig

__all__ = ["Robosuite", "RobosuiteConfig"]
