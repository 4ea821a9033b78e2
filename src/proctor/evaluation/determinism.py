"""Measures how exact a policy's numbers on a benchmark are: it runs the same episodes in several ways and compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum

from proctor.engine import Engine, EngineSetup
from proctor.errors import ConfigError, ResourceError
from proctor.evaluation.prepared_run import PreparedRun
from proctor.policies.base import LocalPolicy, PolicySource
from proctor.rendering import choose_renderer
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, PackedArrays

_NOISE = 1e-3
"""Up to this relative difference of an episode's rewards, with the same outcome and length, it is called noise."""


class Level(StrEnum):
    """The extent to which the way of running an evaluation changes its numbers."""

    BITWISE = "bitwise"
    """Every episode ends in the same state, with the same rewards, to the last bit."""
    NUMERICAL = "numerical"
    """Episodes differ by rounding: they have the same outcomes and lengths, and rewards within a thousandth."""
    STATISTICAL = "statistical"
    """Episodes end differently; only rates over many of them can be compared."""


@dataclass(frozen=True)
class Variant:
    """One way to run the same episodes: how many workers, in which order, with a worker killed in between or not."""

    name: str
    batch_size: int
    reverse: bool = False
    kill: bool = False


WAYS = (
    Variant("one at a time", 1),
    Variant("one at a time, again", 1),
    Variant("2 workers", 2),
    Variant("3 workers, last episode first", 3, reverse=True),
    Variant("8 workers, one of them killed", 8, kill=True),
)
"""The first way is the one that the others are compared with."""

Results = Mapping[EpisodeSpec, EpisodeResult]


@dataclass(frozen=True)
class Agreement:
    """One way against the first: how many episodes it ran, how many of them are equal to the bit, and the rest."""

    variant: Variant
    n_episodes: int
    n_equal: int
    largest_difference: float
    """The largest relative difference of an episode's sum of rewards."""
    level: Level


def compare(variant: Variant, results: Results, reference: Results) -> Agreement:
    """Compare one way's results with the first's, episode by episode.

    Raises:
        ResourceError: an episode could not be run, so there is nothing to compare.
    """
    for result in (*reference.values(), *results.values()):
        if result.outcome is Outcome.ERROR:
            raise ResourceError(f"{result.spec} could not be run: {result.errors[-1].message}")
    pairs = [(results[spec], expected) for spec, expected in reference.items()]
    n_equal = sum(_equal(*pair) for pair in pairs)
    difference = max((_difference(*pair) for pair in pairs), default=0.0)
    alike = all((a.outcome, a.length) == (b.outcome, b.length) for a, b in pairs)
    if n_equal == len(pairs):
        level = Level.BITWISE
    else:
        level = Level.NUMERICAL if alike and difference <= _NOISE else Level.STATISTICAL
    return Agreement(variant, len(pairs), n_equal, difference, level)


def verdict(agreements: Sequence[Agreement]) -> tuple[Level, str]:
    """Give the level that all ways reach, and a sentence on why it is not better; "" for the best."""
    again = agreements[0].level
    worst = max((agreement.level for agreement in agreements), key=list(Level).index)
    if worst is Level.BITWISE:
        return worst, ""
    if again is not Level.BITWISE:
        return worst, (
            "The same episodes run twice in the same way differ: the simulator or the policy draws random numbers that "
            "no seed governs, or its device's kernels are not deterministic."
        )
    return worst, (
        "Run in the same way the episodes are equal; with other neighbours, in another order or after a restart they "
        "are not: the policy, or the simulator, keeps something from one episode to the next."
    )


def run_variants(prepared: PreparedRun, on_compared: Callable[[Agreement], None] = lambda _: None) -> list[Agreement]:
    """Run the episodes in every way; the policy is loaded once. Nothing is written but the workers' log.

    Raises:
        ConfigError: there is only one episode, which cannot depend on another one.
        ProctorError: an episode, or the whole, cannot be run.
    """
    if len(prepared.specs) < 2:
        raise ConfigError("Checking needs at least two episodes, to run one beside another: --episodes=2.")
    choose_renderer(
        prepared.benchmark, prepared.config.policy.get("device"), draws=not isinstance(prepared.policy, LocalPolicy)
    )
    source = prepared.policy
    policy = None if isinstance(source, LocalPolicy) else source.open(prepared.config.eval.inference_threads)
    reference: Results | None = None
    agreements = []
    for variant in WAYS:
        results = run_way(prepared.engine_setup(), prepared.specs, policy, variant)
        if reference is None:
            reference = results
            continue
        agreements.append(compare(variant, results, reference))
        on_compared(agreements[-1])
    return agreements


def run_way(setup: EngineSetup, specs: Sequence[EpisodeSpec], policy: PolicySource | None, variant: Variant) -> Results:
    """Run episodes in one way."""
    results: dict[EpisodeSpec, EpisodeResult] = {}
    plan = list(reversed(specs)) if variant.reverse else specs
    # Whatever the user's: workers are processes here, and the episode of a killed one is run again.
    options = replace(setup.options, max_attempts=2)
    setup = replace(setup, options=options, in_process=False, batch_size=min(variant.batch_size, len(plan)), cores=0)
    with closing(Engine(setup, plan, policy)) as engine:
        to_kill = variant.kill

        def keep(result: EpisodeResult, _: PackedArrays | None) -> None:
            nonlocal to_kill
            results[result.spec] = result
            to_kill = to_kill and not engine.kill_a_worker(besides=result.spec)

        engine.run(keep)
    return results


def _equal(a: EpisodeResult, b: EpisodeResult) -> bool:
    return (a.outcome, a.length, a.sum_reward, a.max_reward, a.final_state_hash) == (
        b.outcome,
        b.length,
        b.sum_reward,
        b.max_reward,
        b.final_state_hash,
    )


def _difference(a: EpisodeResult, b: EpisodeResult) -> float:
    """Compute the relative difference of the sums of rewards; infinite if only one of the two has a sum."""
    if a.sum_reward is None or b.sum_reward is None:
        return 0.0 if a.sum_reward is b.sum_reward else math.inf
    if math.isclose(a.sum_reward, b.sum_reward, rel_tol=0, abs_tol=0):
        return 0.0
    return abs(a.sum_reward - b.sum_reward) / max(abs(a.sum_reward), abs(b.sum_reward))
