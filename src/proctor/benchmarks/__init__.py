"""Benchmarks: what a task is and how its simulator is stepped. One adapter a file; :mod:`.base` is the contract."""
