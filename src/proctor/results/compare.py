"""Compares evaluations of several policies with the first of them, by task and over all tasks: is B better than A?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from proctor.errors import ConfigError
from proctor.results.fingerprint import differing
from proctor.results.measured import EpisodeId, MeasuredRun, MeasuredTask, are_one_task, with_named_tasks
from proctor.statistics.counts import Counts
from proctor.statistics.differences import Contrast, Pairs, Samples, Score, agreeing_interval, holm, pool
from proctor.statistics.intervals import LEVEL, Interval
from proctor.types import TaskKey

_MOST_NAMES = 3
_STEPS = "n_action_steps"


class Verdict(StrEnum):
    """The outcome of a comparison: B is better than A, worse, or neither is shown."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """The comparison of B with A, in one task or over all tasks.

    ``a`` and ``b`` count all episodes there, ``contrast`` holds those that are compared. ``p_value`` is the result of
    its test alone; ``adjusted_p`` is adjusted by Holm's method among all ``n_comparisons`` of the kind.
    """

    name: str
    a: Counts
    b: Counts
    contrast: Contrast
    p_value: float
    adjusted_p: float
    n_comparisons: int = 1

    @property
    def paired(self) -> bool:
        """The comparison is of the same episodes under both policies."""
        return isinstance(self.contrast, Pairs)

    @property
    def verdict(self) -> Verdict:
        """The verdict at the usual level of significance, 5 %."""
        return self.verdict_at(1 - LEVEL)

    def verdict_at(self, level: float) -> Verdict:
        """Return the verdict at a level of significance: the probability of a difference that is not there."""
        if self.adjusted_p > level or self.contrast.difference == 0:
            return Verdict.UNDECIDED
        return Verdict.BETTER if self.contrast.difference > 0 else Verdict.WORSE

    @property
    def error(self) -> float:
        """The largest ``p_value`` with which :attr:`verdict` is a difference: 5 %, or less among several comparisons,
        by the factor by which p was adjusted.
        """
        return (1 - LEVEL) * self.p_value / self.adjusted_p if self.adjusted_p else 1 - LEVEL

    @property
    def is_adjusted(self) -> bool:
        """The comparison is one of several of its kind, so that its p value was adjusted."""
        return self.n_comparisons > 1

    @cached_property
    def interval(self) -> Interval:
        """The interval of the difference at the level of its test: it contains 0 if and only if no difference is
        shown.
        """
        return agreeing_interval(self.contrast, self.p_value, self.error)

    @property
    def more_episodes(self) -> int | None:
        """About how many more episodes of each policy would show a true difference like the observed one with a
        probability of 80 %; None if the difference is shown already, or if there is none.
        """
        needed = self.contrast.episodes_needed(1 - self.error)
        if needed is None or self.verdict is not Verdict.UNDECIDED:
            return None
        return max(1, needed - min(score.n for score in self.contrast.scores))

    @property
    def bounds(self) -> Interval | None:
        """The bounds of the difference, whatever the episodes in error would have become; None if there are none."""
        a, b = self.a.bounds, self.b.bounds
        if a is None or b is None or not self.a.n_errors + self.b.n_errors:
            return None
        return Interval(b.low - a.high, b.high - a.low)


@dataclass(frozen=True)
class RunComparison:
    """The comparison of an evaluation ``b`` with the first, ``a``: over all tasks, and by task."""

    a: MeasuredRun
    b: MeasuredRun
    overall: Comparison
    tasks: tuple[Comparison, ...]
    n_tasks_left_out: int
    """The number of tasks that only one of the two has run. Tasks without a rate are named in :attr:`circumstances`."""

    @property
    def task_keys(self) -> list[TaskKey]:
        """The tasks of :attr:`tasks`."""
        return common_tasks(self.a, self.b)

    @property
    def circumstances(self) -> list[str]:
        """Sentences on how the two evaluations came about that a reader of the comparison needs."""
        return circumstances(self.a, self.b)


@dataclass(frozen=True)
class Incomparable:
    """Two evaluations whose rates cannot be compared, and the reasons."""

    a: MeasuredRun
    b: MeasuredRun
    reasons: tuple[str, ...]


def compare(evaluations: Sequence[MeasuredRun]) -> list[RunComparison]:
    """Compare every evaluation with the first.

    The p values over all tasks are adjusted for the number of evaluations, and those of single tasks for the number of
    evaluations times tasks (Holm's method). If two evaluations share episodes in every task, these pairs are compared,
    else independent samples.

    Raises:
        ConfigError: two evaluations have no task in common in which both completed episodes and have a success rate.
    """
    first, *others = with_named_tasks(evaluations)
    compared = [_compare(first, other) for other in others]
    overall = _adjusted([each.overall for each in compared])
    single = _adjusted([task for each in compared for task in each.tasks])
    return [replace(each, overall=next(overall), tasks=tuple(next(single) for _ in each.tasks)) for each in compared]


def _adjusted(family: Sequence[Comparison]) -> Iterator[Comparison]:
    adjusted = holm([comparison.p_value for comparison in family])
    for comparison, p in zip(family, adjusted, strict=True):
        yield replace(comparison, adjusted_p=p, n_comparisons=len(family))


def compare_where_possible(
    evaluations: Sequence[MeasuredRun], *, anyway: bool = False
) -> list[RunComparison | Incomparable]:
    """Compare every evaluation with the first, if it has a task in common with it and is the same exam, or ``anyway``.

    Returns:
        A comparison for each evaluation but the first, or the reasons why there is none.
    """
    with suppress(ConfigError):  # if a task without a name could be any of several, it has none in common
        evaluations = with_named_tasks(evaluations)
    first, *others = evaluations
    reasons = [_reasons_against(first, other, anyway=anyway) for other in others]
    comparable = [other for other, against in zip(others, reasons, strict=True) if not against]
    compared = iter(compare([first, *comparable]))
    return [
        Incomparable(first, other, against) if against else next(compared)
        for other, against in zip(others, reasons, strict=True)
    ]


def _reasons_against(a: MeasuredRun, b: MeasuredRun, *, anyway: bool) -> tuple[str, ...]:
    exams = () if anyway else tuple(different_exams(a, b))
    return exams or (() if common_tasks(a, b) else (_why_nothing_in_common(a, b),))


def common_tasks(a: MeasuredRun, b: MeasuredRun) -> list[TaskKey]:
    """Return the tasks in which both completed episodes and have a success rate."""
    return [key for key in _completed_by_both(a, b) if _unknown(a, key) + _unknown(b, key) == 0]


def tasks_without_rate(a: MeasuredRun, b: MeasuredRun) -> list[TaskKey]:
    """Return the tasks in which both completed episodes, but for one of which the success of an episode is unknown."""
    return [key for key in _completed_by_both(a, b) if _unknown(a, key) + _unknown(b, key)]


def different_exams(a: MeasuredRun, b: MeasuredRun) -> list[str]:
    """Return the differences by which two evaluations are not the same exam: ``env.episode_length: 100 and 200``.

    The benchmark, its protocol, and every field of the environment but the choice of tasks are compared, as far as both
    evaluations recorded them.
    """
    found = _differing_parts(a, b, "benchmark", "env")
    return [line for name, line in found.items() if name != "env.task"]


def different_settings(a: MeasuredRun, b: MeasuredRun) -> list[str]:
    """Return the differences in ``n_action_steps`` and in the delay of inference: ``policy.n_action_steps: 8 and 4``.

    They belong to what is compared, as the checkpoint does, so that they are no reason against a comparison.
    """
    if not ("policy" in a.fingerprint and "policy" in b.fingerprint):
        return []
    both = a.fingerprint["policy"].keys() & b.fingerprint["policy"].keys()
    found = _differing_parts(a, b, "policy", "inference")
    return [
        line
        for name, line in found.items()
        if name.startswith("inference.delay") or (name == f"policy.{_STEPS}" and _STEPS in both)
    ]


def _differing_parts(a: MeasuredRun, b: MeasuredRun, *parts: str) -> dict[str, str]:
    """Describe what differs in parts of the fingerprints that both have, by dotted name."""
    return {
        name: f"{name}: {before} and {now}"
        for part in parts
        if part in a.fingerprint and part in b.fingerprint
        for name, (before, now) in differing({part: a.fingerprint[part]}, {part: b.fingerprint[part]}).items()
    }


def different_versions(a: MeasuredRun, b: MeasuredRun) -> list[str]:
    """Return what differs in version and may change results: ``mujoco: 3.3.1 and 3.3.7``, ``the code of my_env``."""
    if not (a.fingerprint and b.fingerprint):
        return []
    one, other = (evaluation.fingerprint.get("versions", {}) for evaluation in (a, b))
    both = one.keys() & other.keys()  # a policy depends on packages that another does without
    versions = differing(*({name: each[name] for name in both} for each in (one, other)))
    one, other = (evaluation.fingerprint.get("code", {}).get("env", {}) for evaluation in (a, b))
    code = sorted(name for name in one | other if one.get(name) != other.get(name))
    return [
        *(f"{name}: {before} and {now}" for name, (before, now) in versions.items()),
        *map("the code of {}".format, code),
    ]


def circumstances(a: MeasuredRun, b: MeasuredRun) -> list[str]:
    """Return sentences on how two evaluations came about that a reader of their comparison needs."""
    differences, versions = different_exams(a, b), different_versions(a, b)
    remarks = []
    if versions:
        remarks.append(
            f"the two ran on different versions of what results depend on ({', '.join(versions)}): part of the "
            "difference may come from there, as a physics engine's version moves physics and images."
        )
    if differences:
        remarks.append(f"not the same exam: {', '.join(differences)}.")
    if settings := different_settings(a, b):
        remarks.append(f"the policies were not run alike: {', '.join(settings)}.")
    if stopped := [str(evaluation.path) for evaluation in (a, b) if evaluation.stopped_early]:
        remarks.append(
            f"{' and '.join(stopped)} stopped early, as its own results decided; tests and intervals here are for "
            "numbers of episodes that were fixed before."
        )
    if silent := tasks_without_rate(a, b):
        remarks.append(f"left out: {_without_rate(a, b, silent)}.")
    if unknown := [str(evaluation.path) for evaluation in (a, b) if not evaluation.fingerprint]:
        remarks.append(f"what {' and '.join(unknown)} ran is not recorded; that it is the same exam is taken on trust.")
    return remarks


# ---------------------------------------------------------------------------------------------------------- inside


_Sides = Sequence[tuple[MeasuredTask, MeasuredTask]]


def _compare(a: MeasuredRun, b: MeasuredRun) -> RunComparison:
    if not (common := common_tasks(a, b)):
        raise ConfigError(f"{a.path} and {b.path} have {_why_nothing_in_common(a, b)}.")
    sides = [(a.tasks[key], b.tasks[key]) for key in common]
    whole, by_task = _of_pairs(sides) or _of_samples(sides)
    counts_a, counts_b = (sum((task.counts for task in side), Counts()) for side in zip(*sides, strict=True))
    return RunComparison(
        a,
        b,
        _comparison("all tasks", counts_a, counts_b, whole),
        tuple(
            _comparison(task_a.name, task_a.counts, task_b.counts, contrast)
            for (task_a, task_b), contrast in zip(sides, by_task, strict=True)
        ),
        len(a.tasks) + len(b.tasks) - len(_tasks_of_both(a, b)) - len(common) - len(tasks_without_rate(a, b)),
    )


def _completed_by_both(a: MeasuredRun, b: MeasuredRun) -> list[TaskKey]:
    return [key for key in _tasks_of_both(a, b) if _completed(a, key) and _completed(b, key)]


def _tasks_of_both(a: MeasuredRun, b: MeasuredRun) -> list[TaskKey]:
    return [key for key in a.tasks if key in b.tasks and are_one_task(key, a.tasks[key].name, b.tasks[key].name)]


def _completed(measured: MeasuredRun, key: TaskKey) -> int:
    return measured.tasks[key].counts.n_completed


def _unknown(measured: MeasuredRun, key: TaskKey) -> int:
    return measured.tasks[key].counts.n_unknown


def _why_nothing_in_common(a: MeasuredRun, b: MeasuredRun) -> str:
    if silent := tasks_without_rate(a, b):
        return f"no success rates to compare: {_without_rate(a, b, silent)}"
    return "no task in common of which both completed episodes"


def _without_rate(a: MeasuredRun, b: MeasuredRun, tasks: Sequence[TaskKey]) -> str:
    """Explain why success rates in these tasks cannot be compared, and give the mean rewards."""
    names = ", ".join(a.tasks[key].name for key in tasks[:_MOST_NAMES]) + (", …" if len(tasks) > _MOST_NAMES else "")
    counts = [sum((evaluation.tasks[key].counts for key in tasks), Counts()) for evaluation in (a, b)]
    rewards = ["none" if each.mean_sum_reward is None else f"{each.mean_sum_reward:.2f}" for each in counts]
    return (
        f"the environment of {names} did not report for every episode whether it succeeded (with --env.success_key or "
        f"--env.success_threshold it does); the mean rewards there are {rewards[0]} and {rewards[1]}"
    )


def _of_pairs(sides: _Sides) -> tuple[Contrast, Sequence[Contrast]] | None:
    """Return the pairs over all tasks, and of each task; None unless every task has episodes that both ran."""
    pairs = [_pairs(a.successes, b.successes) for a, b in sides]
    return (sum(pairs, Pairs()), pairs) if all(task.n for task in pairs) else None


def _pairs(a: Mapping[EpisodeId, bool], b: Mapping[EpisodeId, bool]) -> Pairs:
    return sum((Pairs.of(a[episode], b[episode]) for episode in a.keys() & b.keys()), Pairs())


def _of_samples(sides: _Sides) -> tuple[Contrast, Sequence[Contrast]]:
    counts = [(a.counts, b.counts) for a, b in sides]
    samples = [Samples(Score(a.n_successes, a.n_completed), Score(b.n_successes, b.n_completed)) for a, b in counts]
    return pool(samples), samples


def _comparison(name: str, a: Counts, b: Counts, contrast: Contrast) -> Comparison:
    p_value = contrast.p_value()
    return Comparison(name, a, b, contrast, p_value, p_value)
