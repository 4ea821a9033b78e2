"""Finds out early that a policy fails in every episode, and reports it in one sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from proctor.errors import NoResultError, PolicyError
from proctor.types import POLICY_FAILED, AttemptError, EpisodeResult, EpisodeSpec, Outcome, TaskKey

_N_FIRST = 3
_VARIES = re.compile(r"0x[0-9a-fA-F]+|[-+]?\d+(\.\d+)?([eE][-+]?\d+)?|\s+")
"""The parts that differ between two messages of the same error: addresses, numbers and white space."""
_FRAME = re.compile(r'^ +File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)


def first_episodes(plan: Sequence[EpisodeSpec]) -> list[EpisodeSpec]:
    """The three episodes that show whether a policy fails everywhere: the first one of each of the first three tasks.

    Several tasks are taken because a policy may fail at one task's instruction only. If there are fewer tasks, their
    second and third episodes make up the number. If the plan is shorter, all its episodes are returned.
    """
    n_before: Counter[TaskKey] = Counter()
    in_rounds = []
    for position, spec in enumerate(plan):
        in_rounds.append((n_before[spec.task], position, spec))
        n_before[spec.task] += 1
    return [spec for _, _, spec in sorted(in_rounds)[:_N_FIRST]]


class FewestFailures:
    """Says which tasks to go on with while no episode has reached its end: those at which the policy failed least.

    In this way a policy that fails everywhere soon fails at several tasks. Once an episode has reached its end, any
    task may go on.
    """

    def __init__(self) -> None:
        self._n_failed: Counter[TaskKey] = Counter()
        self._some_ended = False

    def failed(self, spec: EpisodeSpec) -> None:
        """Take note that the last attempt at an episode failed in the policy."""
        self._n_failed[spec.task] += 1

    def ended(self) -> None:
        """Take note that an episode has reached its end."""
        self._some_ended = True

    @property
    def everywhere(self) -> bool:
        """True if the policy has failed in every episode that is over."""
        return bool(self._n_failed) and not self._some_ended

    def fewest_of(self, tasks: Sequence[TaskKey]) -> list[TaskKey]:
        """The tasks, among ``tasks``, to go on with."""
        fewest = min((self._n_failed[task] for task in tasks), default=0)
        return [task for task in tasks if self._n_failed[task] == fewest]


class FirstFailures:
    """The errors of the first episodes of a plan. They do not depend on which worker ran them, or in which order."""

    def __init__(self, plan: Sequence[EpisodeSpec]) -> None:
        self._missing = set(first_episodes(plan))
        self._errors: dict[EpisodeSpec, AttemptError] = {}

    def add(self, result: EpisodeResult) -> None:
        """Take note of an episode that is over, after its last attempt."""
        if result.spec not in self._missing:
            return
        self._missing.remove(result.spec)
        if result.outcome is Outcome.ERROR:
            self._errors[result.spec] = result.errors[-1]
        else:
            self._missing.clear()  # the policy does not fail everywhere
            self._errors.clear()

    def check(self) -> None:
        """Raise as soon as it is known that the policy fails everywhere.

        Raises:
            NoResultError: the policy failed alike in every one of the first episodes.
        """
        errors = [self._errors[spec] for spec in sorted(self._errors)]
        kinds = {error.kind for error in errors}
        if not self._missing and kinds == {POLICY_FAILED} and len({alike(error) for error in errors}) == 1:
            n = "the first episode" if len(errors) == 1 else f"each of the first {len(errors)} episodes"
            raise no_result(f"The policy fails alike in {n} of the plan", errors[0])


def alike(error: AttemptError) -> str:
    """The error's message without the parts that differ from episode to episode."""
    return _VARIES.sub("#", error.message)


def require_result(n_completed: int, first_error: tuple[EpisodeSpec, AttemptError] | None) -> None:
    """See that at least one episode was run to its end.

    Raises:
        NoResultError: there is none; the message shows the first error.
    """
    if not n_completed and first_error is not None:
        spec, error = first_error
        raise no_result(f"Every episode ended in an error, so there is no result; the first one, {spec}", error)


def no_result(what: str, error: AttemptError) -> NoResultError:
    """Make an exception that has an episode's error in its message, and the whole traceback as its cause."""
    first_line = next(iter(error.message.strip().splitlines()), error.kind)
    frames: Sequence[re.Match[str]] = list(_FRAME.finditer(error.traceback))
    where = ""
    if frames:
        file, line, function = frames[-1].group("file", "line", "function")
        where = f" ({PurePath(file).name}, line {line}, in {function})"
    no_result = NoResultError(f"{what}: {first_line.rstrip('.')}{where}.")
    no_result.__cause__ = PolicyError(error.traceback or error.message)
    return no_result
