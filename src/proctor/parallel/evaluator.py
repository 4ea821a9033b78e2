"""Runs one evaluation after another in shards, as a sweep asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from proctor.evaluation.prepared_run import PreparedRun
from proctor.evaluation.result import EvalResult
from proctor.evaluation.run import with_result
from proctor.parallel.driver import Sharding, run_in_shards


class ShardedEvaluator:
    """Takes the place of an :class:`~proctor.evaluation.evaluator.Evaluator` in a sweep.

    Each evaluation starts shards of its own: on a cluster, these are jobs for each checkpoint.
    """

    def __init__(self, sharding: Sharding) -> None:
        self._sharding = sharding

    def in_turn(self, runs: Sequence[PreparedRun]) -> Iterator[Callable[[], EvalResult]]:
        """Give, for each prepared evaluation, a function that runs it in shards and returns its result."""
        for prepared in runs:
            yield partial(self._run, prepared)

    def _run(self, prepared: PreparedRun) -> EvalResult:
        return with_result(run_in_shards(prepared, self._sharding))
