"""Identifies an evaluation by everything that its results depend on, for ``run.json`` and for journals.

The fingerprint must not change when a run is continued or when shards are put together. Code that has a version is
identified by that version, code without one by a digest (:mod:`proctor.identity.code`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from proctor.benchmarks.base import Benchmark
from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.components import policy_loader
from proctor.identity.code import Code, code_of
from proctor.identity.source_files import unowned_places
from proctor.machine.resources import usable_cores
from proctor.policies.base import AnyPolicy, why_unidentified
from proctor.results.provenance import Provenance, collect_provenance
from proctor.security.consent import CONSENT

_FREE_ENV_FIELDS = ("type", "max_parallel_tasks", "render_device", CONSENT)
"""Fields of ``--env.*`` on which no result depends: the fingerprint has the benchmark's name in place of the type, and
the provenance has the renderer."""


@dataclass(frozen=True)
class Identity:
    """The identity of an evaluation.

    ``unidentified`` is the reason why another evaluation cannot be recognised as this one; "" if ``fingerprint``
    identifies it. ``code_places`` are the directories of code without a version, by its module's name.
    """

    fingerprint: Mapping[str, Any]
    unidentified: str
    provenance: Provenance
    code_places: Mapping[str, str]


def identify(config: RunConfig, benchmark: Benchmark, policy: AnyPolicy, *, from_fields: bool) -> Identity:
    """Collect what the results depend on; ``from_fields`` is True if the policy was made from ``config.policy``."""
    provenance = collect_provenance([*benchmark.distributions, *policy.distributions, "proctor"], usable_cores())
    env = asdict(benchmark.config)
    code = _code(benchmark, policy, config.policy if from_fields else {})
    digests = {side: found.digests for side, found in code.items() if found.digests}
    unidentified = _why_unidentified(policy, code)
    fingerprint = {
        "benchmark": {"name": benchmark.name, "protocol": benchmark.protocol},
        "env": {name: value for name, value in env.items() if name not in _FREE_ENV_FIELDS},
        "policy": dict(policy.fingerprint()),
        "rename_map": config.rename_map,
        "seed": config.seed,
        "inference": _inference(config.eval),
        "versions": {name: known for name, known in provenance.packages.items() if name != "proctor"},
    }
    if digests:
        fingerprint["code"] = digests
    if unidentified:
        fingerprint["unidentified"] = unidentified
    places = unowned_places(name for of_side in digests.values() for name in of_side)
    return Identity(fingerprint, unidentified, provenance, places)


def _inference(config: EvalConfig) -> dict[str, Any]:
    """The options of inference that results depend on; a delay only if there is one, as earlier runs recorded none."""
    found: dict[str, Any] = {"batch_size": config.inference_batch_size, "threads": config.inference_threads}
    if config.inference_delay_steps:
        found["delay"] = {"steps": config.inference_delay_steps, "when_late": config.when_late}
    elif config.inference_delay_ms:
        found["delay"] = {"ms": config.inference_delay_ms, "when_late": config.when_late}
    return found


def _code(benchmark: Benchmark, policy: AnyPolicy, fields: Mapping[str, Any]) -> dict[str, Code]:
    """Find the code of the environment and of the policy that has no version."""
    kinds = {"env": type(benchmark), "policy": type(policy)}
    loader = (policy_loader(fields).partition(":")[0],) if fields else ()
    sources = {"env": benchmark.sources, "policy": (*loader, *policy.sources)}
    distributions = {"env": benchmark.distributions, "policy": policy.distributions}
    return {side: code_of([*kind.__mro__, *sources[side]], distributions[side]) for side, kind in kinds.items()}


def _why_unidentified(policy: AnyPolicy, code: Mapping[str, Code]) -> str:
    if why := why_unidentified(policy):
        return f"the policy cannot be recognised again: it is or holds {why}"
    unknown = next((why for each in code.values() if (why := each.unidentified)), "")
    return unknown and f"the code that runs cannot be recognised again: it holds {unknown}"
