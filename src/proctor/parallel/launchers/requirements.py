"""Checks that a node of a cluster has all that a shard needs to give the same results as on the driver's machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from proctor.config import RunConfig
from proctor.errors import distribution_name
from proctor.evaluation.components import load_policy, make_benchmark


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """The software and files that a shard needs on its node.

    ``versions`` maps each package to the version on the driver's machine, None if it is not installed there.
    ``directory`` is the driver's working directory; a shard works there if the node has it. ``checkpoint`` is the
    directory of the policy's checkpoint; it is "" if the policy has none, or if each node fetches it from the Hub.
    """

    versions: Mapping[str, str | None]
    directory: str
    checkpoint: str

    @classmethod
    def of(cls, config: RunConfig) -> NodeRequirements:
        """Return what an evaluation needs. Called on the driver's machine."""
        benchmark, _ = make_benchmark(config.env, trust_remote_code=config.trust_remote_code)
        policy = load_policy(config.policy, config.rename_map)
        names = {distribution_name(), *benchmark.distributions, *policy.distributions}
        path = str(config.policy.get("path") or "")
        return cls(_versions(names), str(Path.cwd()), path if path and Path(path).is_dir() else "")

    def unmet(self) -> list[str]:
        """Return what is wrong with the packages of this machine, a clause for each package. Called on a node."""
        here = _versions(self.versions)
        return [
            f"{name} is {found or 'not installed'}, and {wanted or 'not installed'} on the driver's machine"
            for name, wanted in self.versions.items()
            if (found := here[name]) != wanted
        ]


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
