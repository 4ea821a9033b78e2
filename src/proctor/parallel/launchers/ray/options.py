"""The ``--ray-*`` options of ``proctor parallel``, which describe a Ray cluster. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from proctor.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The cluster, and the resources that each shard claims of it. A field has the name of its command-line option."""

    ray_address: str | None = None
    """Address of the cluster, host:port; if not given, a cluster is started on this machine alone."""
    ray_num_cpus: float | None = None
    """CPUs that each shard claims; an equal part of the cluster's if not given."""
    ray_num_gpus: float | None = None
    """GPUs that each shard claims, also less than one; an equal part of the cluster's, at most one, if not given."""
    ray_memory_gb: float | None = None
    """Memory that each shard claims, its simulators included, in GB (1e9 bytes)."""
    ray_runtime_env: str | None = None
    """Ray's runtime environment for the nodes, as JSON: {"py_modules": ["my_policy"]}."""

    def given(self) -> list[str]:
        """Return the options that have a value, as they are written on the command line."""
        return [f"--{field.name.replace('_', '-')}" for field in fields(self) if getattr(self, field.name) is not None]

    def runtime_env(self) -> dict[str, Any] | None:
        """Parse ``ray_runtime_env``.

        Raises:
            ConfigError: the text is not a JSON object.
        """
        if self.ray_runtime_env is None:
            return None
        example = '{"py_modules": ["my_policy"]}'
        try:
            runtime_env = json.loads(self.ray_runtime_env)
        except ValueError as error:
            raise ConfigError(f"--ray-runtime-env is not JSON ({error}); write, for example, '{example}'.") from None
        if runtime_env is not None and not isinstance(runtime_env, dict):
            raise ConfigError(
                f"--ray-runtime-env is {self.ray_runtime_env}, not a JSON object; write, for example, '{example}'."
            )
        return runtime_env
