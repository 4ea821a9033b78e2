"""Shards as jobs of a Slurm cluster: each runs on whatever node Slurm gives it.

- :mod:`~proctor.parallel.launchers.slurm.options`: the options of the command line for the jobs.
- :mod:`~proctor.parallel.launchers.slurm.launcher`: the launcher, which follows the jobs and the shards in them.
- :mod:`~proctor.parallel.launchers.slurm.jobs`: submits, looks at and cancels jobs.
- :mod:`~proctor.parallel.launchers.slurm.network`: connections between the driver and nodes that can reach it.
- :mod:`~proctor.parallel.launchers.slurm.folder`: files in the run directory in place of these connections.
- :mod:`~proctor.parallel.launchers.slurm.host`: runs in a job, the node's side.

Importing this package imports nothing heavy, and not submitit.
"""
