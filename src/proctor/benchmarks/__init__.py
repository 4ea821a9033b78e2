"""Benchmarks: adapters that define tasks and step simulators, one file each; :mod:`.base` defines their interface."""
