"""Identifies an evaluation by everything that its results depend on, for ``run.json`` and for journals.

The fingerprint must not change when a run is continued or when shards are put together. Code that has a version is
identified by that version, code without one by a digest (:mod:`proctor.identity.code`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from proctor.benchmarks.base import Benchmark
from proctor.benchmarks.elsewhere import origin_of
from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.components import policy_loader
from proctor.identity.code import Code, code_of
from proctor.identity.source_files import unowned_places
from proctor.machine.resources import usable_cores
from proctor.policies.base import AnyPolicy, why_unidentified
from proctor.results.provenance import PROCTOR, Provenance, collect_provenance
from proctor.security.consent import CONSENT

_FREE_ENV_FIELDS = ("type", "max_parallel_tasks", "render_device", "python", CONSENT)
"""Fields of ``--env.*`` on which no result depends: the fingerprint has the benchmark's name in place of the type, the
versions that the interpreter has in place of its path, and the provenance has the renderer."""


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
    origin = origin_of(benchmark)
    here = collect_provenance([*benchmark.distributions, *policy.distributions, "numpy", PROCTOR], usable_cores())
    provenance = replace(here, packages=_packages(benchmark, policy, here, origin.versions))
    env = asdict(benchmark.config)
    code = {"env": origin.code, "policy": _policy_code(policy, config.policy if from_fields else {})}
    digests = {side: found.digests for side, found in code.items() if found.digests}
    unidentified = _why_unidentified(policy, code)
    fingerprint = {
        "benchmark": {"name": benchmark.name, "protocol": benchmark.protocol},
        "env": {name: value for name, value in env.items() if name not in _FREE_ENV_FIELDS},
        "policy": dict(policy.fingerprint()),
        "rename_map": config.rename_map,
        "seed": config.seed,
        "inference": _inference(config.eval),
        "versions": {name: known for name, known in provenance.packages.items() if name != PROCTOR},
    }
    if digests:
        fingerprint["code"] = digests
    if unidentified:
        fingerprint["unidentified"] = unidentified
    places = {**origin.places, **unowned_places(digests.get("policy", {}))}
    return Identity(fingerprint, unidentified, provenance, dict(sorted(places.items())))


def _packages(
    benchmark: Benchmark, policy: AnyPolicy, here: Provenance, there: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Give the versions of what benchmark and policy consist of; ``there`` are those of another Python's environments.

    Python and numpy are of both interpreters, and count for the environments if the versions differ. A distribution of
    which policy and environments have different versions is listed twice.
    """
    recorded = {*benchmark.distributions, *policy.distributions, PROCTOR}
    found = {name: known for name, known in here.packages.items() if name in recorded}
    both = {**here.packages, "python": here.python}
    other = {name: known for name, known in there.items() if name in recorded or known != both[name]}
    twice = {
        f"{name} (policy)": found[name] for name in policy.distributions if other.get(name, found[name]) != found[name]
    }
    return dict(sorted({**found, **other, **twice}.items()))


def _inference(config: EvalConfig) -> dict[str, Any]:
    """The options of inference that results depend on; a delay only if there is one, as earlier runs recorded none."""
    found: dict[str, Any] = {"batch_size": config.inference_batch_size, "threads": config.inference_threads}
    if config.inference_delay_steps:
        found["delay"] = {"steps": config.inference_delay_steps, "when_late": config.when_late}
    elif config.inference_delay_ms:
        found["delay"] = {"ms": config.inference_delay_ms, "when_late": config.when_late}
    return found


def _policy_code(policy: AnyPolicy, fields: Mapping[str, Any]) -> Code:
    """Find the code of the policy that has no version."""
    loader = (policy_loader(fields).partition(":")[0],) if fields else ()
    return code_of([*type(policy).__mro__, *loader, *policy.sources], policy.distributions)


def _why_unidentified(policy: AnyPolicy, code: Mapping[str, Code]) -> str:
    if why := why_unidentified(policy):
        return f"the policy cannot be recognised again: it is or holds {why}"
    unknown = next((why for each in code.values() if (why := each.unidentified)), "")
    return unknown and f"the code that runs cannot be recognised again: it holds {unknown}"
