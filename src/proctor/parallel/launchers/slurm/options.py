"""The ``--slurm-*`` options of ``proctor parallel`` and ``proctor sweep``. Imports nothing heavy."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

from proctor.errors import ConfigError, did_you_mean

_MODES = ("array", "allocation")
_CONNECTIONS = ("network", "files")
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")
_OURS = ("array", "ntasks", "ntasks-per-node", "nodes", "output", "error", "open-mode")
_EXAMPLE = '{"constraint": "a100"}'


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """The jobs in which shards run. A field has the name of its command-line option."""

    slurm_mode: str = "array"
    """How shards become jobs: array (a task of a job array for each shard), or allocation (one job for all shards)."""
    slurm_connection: str = "network"
    """How shards and driver exchange messages: network (nodes connect to the driver), or files (in the run directory,
    which the nodes must share)."""
    slurm_address: str | None = None
    """Address of this machine that nodes can reach; the address of its name in the network if not given."""
    slurm_nodes: int = 1
    """Nodes of one allocation, to which its shards are assigned in equal parts."""
    slurm_partition: str | None = None
    """Partition of the jobs, as sbatch takes it; this and what follows is the cluster's default if not given."""
    slurm_account: str | None = None
    """Account of the jobs."""
    slurm_qos: str | None = None
    """Quality of service of the jobs."""
    slurm_gres: str | None = None
    """Generic resources of each job, for example gpu:1."""
    slurm_time: str | None = None
    """Time limit of each job: minutes, or HH:MM:SS, or DAYS-HH:MM:SS. A shard goes on in a new job after it."""
    slurm_cpus_per_task: int | None = None
    """CPUs of each shard."""
    slurm_memory_gb: float | None = None
    """Memory of each job on a node, in GB as Slurm counts them."""
    slurm_setup: str | None = None
    """Shell commands that each job runs first, for example: module load cuda."""
    slurm_requeue: bool = True
    """Put a job that is preempted, whose node fails or whose time is up back into Slurm's queue."""
    slurm_options: str | None = None
    """Further options of sbatch, as JSON: {"constraint": "a100"}."""

    def __post_init__(self) -> None:
        _require("slurm_mode", self.slurm_mode, _MODES)
        _require("slurm_connection", self.slurm_connection, _CONNECTIONS)
        for name in ("slurm_nodes", "slurm_cpus_per_task", "slurm_memory_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"--{_spelled(name)} is {value}; it must be greater than 0.")
        if self.slurm_nodes > 1 and self.slurm_mode != "allocation":
            raise ConfigError("--slurm-nodes is for one allocation; leave it out, or give --slurm-mode=allocation.")
        self.time_limit()
        self.further()

    def given(self) -> list[str]:
        """Return the options whose value is not the default, as they are written on the command line."""
        return [f"--{_spelled(field.name)}" for field in fields(self) if getattr(self, field.name) != field.default]

    def time_limit(self) -> str | None:
        """Return the time limit as sbatch takes it.

        Raises:
            ConfigError: the text is not one of Slurm's ways to write a time.
        """
        if self.slurm_time is not None and not _TIME.fullmatch(self.slurm_time):
            raise ConfigError(
                f"--slurm-time is '{self.slurm_time}', not a time; write minutes (90), 01:30:00 or 2-12:00:00."
            )
        return self.slurm_time

    def further(self) -> dict[str, Any]:
        """Parse ``slurm_options``.

        Raises:
            ConfigError: the text is not a JSON object, or an option is one that the launcher sets itself.
        """
        try:
            options = json.loads(self.slurm_options or "{}")
        except ValueError as error:
            raise ConfigError(f"--slurm-options is not JSON ({error}); write, for example, '{_EXAMPLE}'.") from None
        if not isinstance(options, dict):
            raise ConfigError(
                f"--slurm-options is {self.slurm_options}, not a JSON object; write, for example, '{_EXAMPLE}'."
            )
        spelled = {_spelled(name): value for name, value in options.items()}
        if theirs := spelled.keys() & set(_OURS):
            raise ConfigError(f"--slurm-options gives {min(theirs)}, which Proctor sets itself; leave it out.")
        return spelled


def _require(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(
            f"--{_spelled(name)} is '{value}'; it is one of {', '.join(allowed)}.{did_you_mean(value, allowed)}"
        )


def _spelled(name: str) -> str:
    return name.replace("_", "-")
