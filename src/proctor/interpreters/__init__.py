"""Interpreters of their own for simulators that do not fit into this one: ``proctor env create NAME``.

================  =====================================================================================
``recipe``        what an environment is made from: a TOML file of the folder ``recipes``, or a user's
``pythons``       which Pythons this machine has
``installers``    uv, or venv and pip: the commands that make an environment
``commands``      running such a command
``checks``          the check of an environment
``creation``      making an environment: all of it, or nothing
``lock``          two creations of one environment wait for one another
``environments``  which environments exist, and their state
``overview``        the list of recipes and environments
``removal``         which environments are removed, and their removal
``choice``        which environment a benchmark is run in
================  =====================================================================================
"""
