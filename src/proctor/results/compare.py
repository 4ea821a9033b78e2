"""Is B better than A? Evaluations of several policies against the first of them, by task and over all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from proctor.errors import ConfigError
from proctor.results.differences import Contrast, Pairs, Samples, Score, holm, pool
from proctor.results.intervals import LEVEL, Interval
from proctor.results.measured import EpisodeId, Measured, MeasuredTask, with_named_tasks
from proctor.results.run_dir import differing
from proctor.results.stats import Counts
from proctor.types import TaskKey


class Verdict(StrEnum):
    """What is known of B against A, at the usual level."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """B against A, in one task or over all.

    ``a`` and ``b`` are all that was measured there, ``contrast`` what of it is compared. ``p_value`` is by its test
    alone, ``adjusted_p`` among all comparisons of the kind.
    """

    name: str
    a: Counts
    b: Counts
    contrast: Contrast
    p_value: float
    adjusted_p: float

    @property
    def paired(self) -> bool:
        """Whether both policies ran the episodes that are compared."""
        return isinstance(self.contrast, Pairs)

    @property
    def verdict(self) -> Verdict:
        return self.verdict_at(1 - LEVEL)

    def verdict_at(self, level: float) -> Verdict:
        """The verdict if one accepts to be wrong with a probability of ``level``."""
        if self.adjusted_p > level or self.contrast.difference == 0:
            return Verdict.UNDECIDED
        return Verdict.BETTER if self.contrast.difference > 0 else Verdict.WORSE

    @property
    def more_episodes(self) -> int | None:
        """About so many more of each policy would show a true difference like the observed one with a probability of
        80 %; None where it is shown already, and where there is none.
        """
        # Among several comparisons p must be smaller, by as much as it was adjusted.
        needed = self.contrast.episodes_needed(1 - (1 - LEVEL) * self.p_value / self.adjusted_p)
        if needed is None or self.verdict is not Verdict.UNDECIDED:
            return None
        return max(1, needed - min(score.n for score in self.contrast.scores))

    @property
    def bounds(self) -> Interval | None:
        """Within which the difference lies whatever the episodes in error would have become; None without any."""
        a, b = self.a.bounds, self.b.bounds
        if a is None or b is None or not self.a.errors + self.b.errors:
            return None
        return Interval(b.low - a.high, b.high - a.low)


@dataclass(frozen=True)
class Challenge:
    """One evaluation against the first: over all tasks, and by task."""

    a: Measured
    b: Measured
    overall: Comparison
    tasks: tuple[Comparison, ...]
    n_tasks_left_out: int
    """Tasks that only one of the two has run."""

    @property
    def circumstances(self) -> list[str]:
        return circumstances(self.a, self.b)


@dataclass(frozen=True)
class Incomparable:
    """Two evaluations whose rates do not mean the same, and why."""

    a: Measured
    b: Measured
    reasons: tuple[str, ...]


def compare(evaluations: Sequence[Measured]) -> list[Challenge]:
    """Compare every evaluation with the first.

    Holm's adjustment is over the challengers for what is said of all tasks, and over tasks and challengers together for
    what is said of single tasks. A comparison is of pairs where its two evaluations share episodes, else of samples.

    Raises:
        ConfigError: two evaluations have no task in common in which both completed episodes.
    """
    first, *others = with_named_tasks(evaluations)
    challenges = [_challenge(first, other) for other in others]
    overall = iter(holm([challenge.overall.p_value for challenge in challenges]))
    single = iter(holm([task.p_value for challenge in challenges for task in challenge.tasks]))
    return [
        replace(
            challenge,
            overall=replace(challenge.overall, adjusted_p=next(overall)),
            tasks=tuple(replace(task, adjusted_p=next(single)) for task in challenge.tasks),
        )
        for challenge in challenges
    ]


def compare_where_possible(evaluations: Sequence[Measured]) -> list[Challenge | Incomparable]:
    """The same, without those that are another exam than the first or have no task in common with it."""
    first, *others = evaluations
    reasons = [_reasons_against(first, other) for other in others]
    comparable = [other for other, against in zip(others, reasons, strict=True) if not against]
    challenges = iter(compare([first, *comparable]))
    return [
        Incomparable(first, other, against) if against else next(challenges)
        for other, against in zip(others, reasons, strict=True)
    ]


def _reasons_against(a: Measured, b: Measured) -> tuple[str, ...]:
    return tuple(different_exams(a, b)) or (() if common_tasks(a, b) else ("no task of which both completed episodes",))


def common_tasks(a: Measured, b: Measured) -> list[TaskKey]:
    """Tasks of which both completed episodes."""
    return [key for key in a.tasks if key in b.tasks and _completed(a, key) and _completed(b, key)]


def different_exams(a: Measured, b: Measured) -> list[str]:
    """Why two evaluations are not the same exam: ``policy.n_action_steps: 8 and 4``. Empty where nothing is known.

    The benchmark, its protocol, every field of the environment but the choice of tasks, ``n_action_steps``.
    """
    return [
        f"{name}: {before} and {now}"
        for part in ("benchmark", "env", "policy")
        if part in a.fingerprint and part in b.fingerprint
        for name, (before, now) in differing({part: a.fingerprint[part]}, {part: b.fingerprint[part]}).items()
        if (part != "policy" or _both_have_action_steps(a, b, name)) and name != "env.task"
    ]


def different_versions(a: Measured, b: Measured) -> list[str]:
    """Packages on which results may depend and that were of different versions: ``mujoco: 3.3.1 and 3.3.7``."""
    if not (a.fingerprint and b.fingerprint):
        return []
    versions = differing(a.fingerprint.get("versions", {}), b.fingerprint.get("versions", {}))
    return [f"{name}: {before} and {now}" for name, (before, now) in versions.items()]


def circumstances(a: Measured, b: Measured) -> list[str]:
    """What one must know of how two evaluations came about, a sentence each."""
    differences, versions = different_exams(a, b), different_versions(a, b)
    remarks = []
    if versions:
        remarks.append(
            f"the two ran on different versions of what results depend on ({', '.join(versions)}): part of the "
            "difference may come from there, as a physics engine's version moves physics and images."
        )
    if differences:
        remarks.append(f"not the same exam: {', '.join(differences)}.")
    if stopped := [str(evaluation.path) for evaluation in (a, b) if evaluation.stopped_early]:
        remarks.append(
            f"{' and '.join(stopped)} stopped early, as its own results decided; tests and intervals here are for "
            "numbers of episodes that were fixed before."
        )
    if unknown := [str(evaluation.path) for evaluation in (a, b) if not evaluation.fingerprint]:
        remarks.append(f"what {' and '.join(unknown)} ran is not recorded; that it is the same exam is taken on trust.")
    return remarks


def _both_have_action_steps(a: Measured, b: Measured, name: str) -> bool:
    field = "n_action_steps"
    return name == f"policy.{field}" and field in a.fingerprint["policy"] and field in b.fingerprint["policy"]


# ---------------------------------------------------------------------------------------------------------- inside


_Sides = Sequence[tuple[MeasuredTask, MeasuredTask]]


def _challenge(a: Measured, b: Measured) -> Challenge:
    if not (common := common_tasks(a, b)):
        raise ConfigError(f"{a.path} and {b.path} have no task in common of which both completed episodes.")
    sides = [(a.tasks[key], b.tasks[key]) for key in common]
    whole, by_task = _of_pairs(sides) or _of_samples(sides)
    counts_a, counts_b = (sum((task.counts for task in side), Counts()) for side in zip(*sides, strict=True))
    return Challenge(
        a,
        b,
        _comparison("all tasks", counts_a, counts_b, whole),
        tuple(
            _comparison(task_a.name, task_a.counts, task_b.counts, contrast)
            for (task_a, task_b), contrast in zip(sides, by_task, strict=True)
        ),
        len(a.tasks.keys() | b.tasks.keys()) - len(common),
    )


def _completed(measured: Measured, key: TaskKey) -> int:
    return measured.tasks[key].counts.completed


def _of_pairs(sides: _Sides) -> tuple[Contrast, Sequence[Contrast]] | None:
    """Over all tasks, and each; None unless every task has episodes that both ran."""
    pairs = [_pairs(a.successes, b.successes) for a, b in sides]
    return (sum(pairs, Pairs()), pairs) if all(task.n for task in pairs) else None


def _pairs(a: Mapping[EpisodeId, bool], b: Mapping[EpisodeId, bool]) -> Pairs:
    return sum((Pairs.of(a[episode], b[episode]) for episode in a.keys() & b.keys()), Pairs())


def _of_samples(sides: _Sides) -> tuple[Contrast, Sequence[Contrast]]:
    counts = [(a.counts, b.counts) for a, b in sides]
    samples = [Samples(Score(a.successes, a.completed), Score(b.successes, b.completed)) for a, b in counts]
    return pool(samples), samples


def _comparison(name: str, a: Counts, b: Counts, contrast: Contrast) -> Comparison:
    p_value = contrast.p_value()
    return Comparison(name, a, b, contrast, p_value, p_value)
