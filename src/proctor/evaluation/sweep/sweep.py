"""Evaluates one checkpoint after another on the same episodes, with the same workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from proctor.config import RunConfig
from proctor.engine.plan import plan_tasks
from proctor.errors import (
    CheckpointError,
    ConfigError,
    ContractError,
    Interrupted,
    MissingExtraError,
    NoResultError,
    ResourceError,
)
from proctor.evaluation.components import make_benchmark
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.evaluation.result import EvalResult
from proctor.evaluation.sweep.record import SweptCheckpoint, read_record, write_record
from proctor.evaluation.sweep.targets import Checkpoint
from proctor.evaluation.sweep.verdict import SweepVerdict, verdict_of
from proctor.results.run_index import replace_link

_OF_ONE_CHECKPOINT = (CheckpointError, ContractError, MissingExtraError, NoResultError)
"""Errors that say something of one checkpoint. Any other one ends the sweep, because it would meet all of them."""


class RunsInTurn(Protocol):
    """Runs one evaluation after another, as an :class:`~proctor.evaluation.evaluator.Evaluator` does."""

    def in_turn(self, runs: Sequence[PreparedRun]) -> Iterator[Callable[[], EvalResult]]:
        """Give, for each prepared evaluation, a function that runs it and returns its result."""


OnCheckpoint = Callable[[SweptCheckpoint, EvalResult | None], None]


class Sweep:
    """A sweep in the directory ``folder``. What it holds already is kept, and checked as when a run is resumed.

    Args:
        config: the evaluation of each checkpoint, without a policy's path.
        folder: the directory of the sweep, in which each checkpoint has a run directory.
        evaluator: what runs the evaluations, most often the owner of the workers.
        decides: the record has a verdict, which is valid for numbers of episodes that do not depend on the results.
        on_checkpoint: receives each checkpoint once it was evaluated or has failed, and the result, None if there is
            none.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        evaluator: RunsInTurn,
        on_checkpoint: OnCheckpoint,
        *,
        decides: bool = True,
    ) -> None:
        if config.policy.get("path"):
            raise ConfigError("policy.path is given, but the checkpoints of a sweep are its targets; leave it out.")
        self._config, self._folder, self._evaluator, self._on_checkpoint = config, folder, evaluator, on_checkpoint
        self._swept: dict[str, SweptCheckpoint] = {}
        self._decides = decides
        self.add(read_record(folder))
        self._signal = 0

    @property
    def n_episodes(self) -> int:
        """The number of episodes of each task that every checkpoint is to have."""
        return self._config.eval.n_episodes

    @cached_property
    def n_tasks(self) -> int:
        """The number of tasks of the benchmark."""
        benchmark, _ = make_benchmark(self._config.env, trust_remote_code=self._config.trust_remote_code)
        return len(plan_tasks(benchmark))

    def interrupt(self, signal_number: int) -> None:
        """End the sweep before the next checkpoint. May be called from a signal handler."""
        self._signal = signal_number

    def check_interrupted(self) -> None:
        """Raise :class:`~proctor.errors.Interrupted` if the sweep is to end."""
        if self._signal:
            raise Interrupted(self._signal)

    @property
    def swept(self) -> list[SweptCheckpoint]:
        """Every checkpoint that belongs to the sweep by now, by series and step."""
        return sorted(
            self._swept.values(),
            key=lambda each: (each.checkpoint.series, each.checkpoint.step is None, each.checkpoint.step or 0),
        )

    @property
    def verdict(self) -> SweepVerdict | None:
        """The verdict on the checkpoints that were evaluated by now."""
        return verdict_of(self.swept)

    def add(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Add checkpoints to the sweep, with the results that their run directories hold."""
        for checkpoint in checkpoints:
            self._swept[checkpoint.name] = SweptCheckpoint.read(checkpoint, self._folder / checkpoint.name)
        self._write()

    def evaluate(self, checkpoints: Sequence[Checkpoint], **eval_fields: Any) -> list[Checkpoint]:
        """Evaluate checkpoints, or what is missing of them; return those that failed.

        ``eval_fields`` replace fields of the evaluation.

        Raises:
            ProctorError: the sweep cannot go on. What finished is on disk.
        """
        config = replace(self._config, eval=replace(self._config.eval, **eval_fields))
        ready: list[tuple[Checkpoint, PreparedRun]] = []
        for checkpoint in checkpoints:
            self.check_interrupted()
            with self._recording(checkpoint):
                ready.append((checkpoint, prepare(self._config_of(checkpoint, config))))
        turns = self._evaluator.in_turn([prepared for _, prepared in ready])
        for (checkpoint, _), turn in zip(ready, turns, strict=True):
            self.check_interrupted()
            with self._recording(checkpoint):
                result = turn()
                self._keep(checkpoint, "", result)
        return [each for each in checkpoints if self._swept[each.name].status == "failed"]

    def fail(self, checkpoint: Checkpoint, problem: str) -> None:
        """Record that a checkpoint cannot be evaluated, and why."""
        self._keep(checkpoint, problem, None)

    def _config_of(self, checkpoint: Checkpoint, config: RunConfig) -> RunConfig:
        directory = self._folder / checkpoint.name
        policy = {**config.policy, "path": checkpoint.path}
        return replace(config, policy=policy, output_dir=str(directory), job_name=checkpoint.name)

    @contextmanager
    def _recording(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Record an error of the block that says something of the checkpoint. It goes no further."""
        try:
            yield
        except _OF_ONE_CHECKPOINT as error:
            self.fail(checkpoint, str(error))

    def _keep(self, checkpoint: Checkpoint, problem: str, result: EvalResult | None) -> None:
        swept = SweptCheckpoint.read(checkpoint, self._folder / checkpoint.name, problem)
        self._swept[checkpoint.name] = swept
        self._write()
        self._on_checkpoint(swept, result)

    def _write(self) -> None:
        verdict = self.verdict if self._decides else None
        write_record(self._folder, self.swept, None if verdict is None else verdict.as_values())


def link_to(checkpoint: Checkpoint, link: Path) -> None:
    """Make ``link`` a symbolic link to a checkpoint's directory; a link that is there is replaced at once.

    Raises:
        ConfigError: the checkpoint is not a directory here, or something else than a link is at ``link``.
        ResourceError: the link cannot be made.
    """
    target = Path(checkpoint.path)
    if not target.is_dir():
        raise ConfigError(f"{checkpoint.path} is not a directory here, so that no link can lead to it.")
    if link.exists() and not link.is_symlink():
        raise ConfigError(f"{link} exists and is not a link; remove it, or give another name for the link.")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        replace_link(link, target)
    except OSError as error:
        raise ResourceError(f"{link} cannot be made: {error.strerror or error}.") from error
