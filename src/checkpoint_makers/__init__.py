"""Small checkpoints of every policy type, made with LeRobot's own classes for tests and benchmarks.

This package is part of the repository and of an editable installation; the wheel does not contain it.
"""
