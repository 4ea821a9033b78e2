"""Interpreters of their own for simulators that do not fit into this one: ``proctor env create NAME``.

================  ==========================================================================================
``recipe``        what such an environment is made from: a TOML file of the folder ``recipes``, or a user's
================  ==========================================================================================
"""
