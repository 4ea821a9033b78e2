"""Evaluates one policy after another on a benchmark, as in a training loop, with the same workers and simulators."""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, Unpack, overload

from proctor.config import EnvConfig, RunConfig
from proctor.config.eval_fields import EvalFields
from proctor.engine import WorkerKeeper
from proctor.errors import ConfigError, Interrupted
from proctor.evaluation.arguments import path_text
from proctor.evaluation.capacity import runs_in_process
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.evaluation.prepared_run import PreparedRun, prepare
from proctor.evaluation.result import EvalResult
from proctor.evaluation.run import PolicyArgument, configure, measure, run, with_result
from proctor.machine.threads import start_call
from proctor.policies.base import AnyPolicy, LocalPolicy, Policy
from proctor.results.run_dir import RunDirectory
from proctor.streams import global_generators_held, global_generators_restored


class Changes(EvalFields, total=False):
    """Arguments of :func:`proctor.evaluate` that an :class:`Evaluator` is given for one evaluation."""

    env: str | Mapping[str, Any] | EnvConfig
    preprocessor: Any
    postprocessor: Any
    device: str | None
    seed: int
    output_dir: str | Path | None
    trust_remote_code: bool


class RunningEvaluation:
    """An evaluation that runs in the background."""

    def __init__(self, future: Future[EvalResult]) -> None:
        self._future = future

    def poll(self) -> EvalResult | None:
        """Return the result; None if the evaluation has not ended.

        Raises:
            ProctorError: the evaluation ended early; see :func:`proctor.evaluate`.
        """
        return self._future.result() if self._future.done() else None

    def result(self, timeout: float | None = None) -> EvalResult:
        """Wait for the result, up to ``timeout`` seconds or without a limit.

        Raises:
            TimeoutError: the evaluation has not ended in time; it goes on.
            ProctorError: the evaluation ended early; see :func:`proctor.evaluate`.
        """
        return self._future.result(timeout)


class Evaluator:
    """Evaluates policies on a benchmark; simulators that one evaluation has built are used by the next.

    In a training loop::

        with proctor.Evaluator("pusht", n_episodes=50, output_dir="outputs/eval") as evaluator:
            for step in range(n_steps):
                ...
                if step % 1000 == 0:
                    result = evaluator(policy, preprocessor=preprocessor, postprocessor=postprocessor)

    Results are those of :func:`proctor.evaluate`, to the bit, whatever was evaluated before. Workers are replaced if
    the benchmark's configuration, the working directory or the environment variables are no longer those that they
    were started with, if they have died, or if an evaluation ended early. They end with the ``with`` block, with
    :meth:`close`, with the object, and with the process. In a forked process the object has no workers and must not be
    used.

    Args:
        env: the benchmark, as for :func:`proctor.evaluate`.
        seed: episode *i* of a task runs with ``seed + i``.
        output_dir: the folder in which each evaluation makes its run directory: ``evaluation``, ``evaluation_2``, …
            By default they are where :func:`proctor.evaluate` makes them.
        trust_remote_code: consent to running code that is not installed here.
        eval_fields: fields of :class:`~proctor.config.EvalConfig`, as for :func:`proctor.evaluate`.

    Raises:
        ConfigError: an argument is wrong; the message says what to give.
    """

    def __init__(
        self,
        env: str | Mapping[str, Any] | EnvConfig,
        *,
        seed: int = 1000,
        output_dir: str | Path | None = None,
        trust_remote_code: bool = False,
        **eval_fields: Unpack[EvalFields],
    ) -> None:
        self._arguments: dict[str, Any] = {"env": env, "seed": seed, "trust_remote_code": trust_remote_code}
        self._arguments |= eval_fields
        self._folder = path_text("output_dir", output_dir)
        config, _ = configure({"type": "zero"}, **self._arguments)  # which refuses wrong arguments, as the next line
        make_benchmark(config.env, trust_remote_code=trust_remote_code)
        self._keeper = WorkerKeeper()
        self._one_at_a_time = threading.Lock()
        # Linux ends a process with the thread that started it, so that thread must live as long as the workers.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluation")
        self._running: Future[EvalResult] | None = None
        self._closed = False
        self._end = weakref.finalize(self, _end, self._keeper, self._thread)

    @overload
    def __call__(
        self, policy: PolicyArgument, *, wait: Literal[True] = True, **changes: Unpack[Changes]
    ) -> EvalResult: ...

    @overload
    def __call__(
        self, policy: PolicyArgument, *, wait: Literal[False], **changes: Unpack[Changes]
    ) -> RunningEvaluation: ...

    def __call__(
        self, policy: PolicyArgument, *, wait: bool = True, **changes: Unpack[Changes]
    ) -> EvalResult | RunningEvaluation:
        """Evaluate a policy.

        Args:
            policy: whatever :func:`proctor.evaluate` takes as a policy.
            wait: if False, the evaluation runs in the background and a :class:`RunningEvaluation` is returned at once.
                A policy object is copied before, so that it can be trained meanwhile; a checkpoint is loaded before,
                on the first of its devices. Evaluations in the background run one after another.
            changes: arguments of :func:`proctor.evaluate` for this evaluation: ``preprocessor``, ``postprocessor``,
                ``device``, ``output_dir``, ``n_episodes``, ``env``, … Those that are not given are the evaluator's.

        Raises:
            ConfigError: what is asked for cannot be done; the message says what to do.
            ProctorError: see :func:`proctor.evaluate`.
        """
        if self._closed:
            raise ConfigError("This evaluator is closed, and with it its workers; make another one.")
        usual: dict[str, Any] = {} if wait else {"display": "none"}
        config, given = configure(policy, **{**usual, **self._arguments, **changes})
        if config.output_dir is None and self._folder is not None:
            config = replace(config, output_dir=str(RunDirectory.create(Path(self._folder) / "evaluation").path))
        if wait:
            return self._wait_for(lambda: self._run(prepare(config, given)))
        prepared = _for_background(prepare(config, _apart(config, given)))
        self._running = self._thread.submit(self._run, prepared)
        return RunningEvaluation(self._running)

    def run(self, prepared: PreparedRun) -> EvalResult:
        """Run a prepared evaluation.

        Raises:
            ProctorError: see :func:`proctor.evaluate`.
        """
        return self._wait_for(partial(self._run, prepared))

    def in_turn(self, runs: Sequence[PreparedRun], *, load_ahead: bool = True) -> Iterator[Callable[[], EvalResult]]:
        """Give, for each prepared evaluation, a function that runs it with the same workers and returns its result.

        Each function is called before the next is taken; what it raises does not concern the others. If
        ``load_ahead``, the policy of the next evaluation is loaded while one runs, so that memory holds two.
        """
        following: _LoadedAhead | None = None
        policies: list[_LoadedAhead | None] = []
        for prepared in reversed(runs):
            following = _LoadedAhead(prepared.policy, following) if load_ahead and _can_wait(prepared.policy) else None
            policies.append(following)
        for prepared, policy in zip(runs, reversed(policies), strict=True):
            yield partial(self._wait_for, partial(self._run, prepared, policy))

    def close(self) -> None:
        """End the workers, and an evaluation in the background, whose finished episodes are kept."""
        self._closed = True
        running = self._running
        while running is not None and not running.done():
            self._keeper.interrupt(signal.SIGTERM)
            with suppress(Exception):
                running.exception(0.1)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the workers; unless the block has raised, evaluations in the background are waited for."""
        if kind is None and self._running is not None:
            with suppress(Exception):  # it is raised by RunningEvaluation.result
                self._running.exception()
        self.close()

    def _wait_for(self, evaluation: Callable[[], EvalResult]) -> EvalResult:
        """Run an evaluation on the main thread, where signals end it in good order, or else on the evaluator's own."""
        with global_generators_restored():
            if threading.current_thread() is threading.main_thread():
                return evaluation()
            return self._thread.submit(evaluation).result()

    def _run(self, prepared: PreparedRun, policy: _LoadedAhead | None = None) -> EvalResult:
        with self._one_at_a_time, closing(policy) if policy is not None else nullcontext():
            if self._closed:
                raise Interrupted(signal.SIGTERM)
            measured = partial(measure, keeper=self._keeper, loaded_ahead=policy)
            return with_result(run(prepared, measure_with=measured, keeper=self._keeper))


def _end(keeper: WorkerKeeper, thread: ThreadPoolExecutor) -> None:
    """End the workers, and only then the thread that may have started them."""
    keeper.close()
    thread.shutdown(wait=False)


def _apart(config: RunConfig, policy: AnyPolicy | None) -> AnyPolicy:
    """Give a policy that is loaded, and that nothing changes while it is evaluated in the background.

    Raises:
        ConfigError: the policy draws from generators that belong to the whole process.
    """
    chosen = policy if policy is not None else _loaded(config)
    if isinstance(chosen, LocalPolicy):
        return chosen
    frozen = chosen.snapshot() if hasattr(chosen, "snapshot") else chosen
    opened: Policy = frozen.open(config.eval.inference_threads)
    if opened.runs_alone:
        raise ConfigError(
            f"A policy of the type {opened.fingerprint()['type']} draws from the global random generators, which "
            "belong to the training while it is evaluated in the background; leave wait=False out."
        )
    return opened


def _loaded(config: RunConfig) -> AnyPolicy:
    return load_policy(config.policy, config.rename_map, trust_remote_code=config.trust_remote_code)


def _for_background(prepared: PreparedRun) -> PreparedRun:
    """Check that an evaluation uses nothing that belongs to the process in whose background it runs.

    Raises:
        ConfigError: it uses the terminal, or simulators in this process, which share its random generators.
    """
    if (display := prepared.config.eval.display) != "none":
        raise ConfigError(f"display is '{display}', but an evaluation in the background shows nothing; leave it out.")
    if runs_in_process(prepared.benchmark, prepared.config.eval):
        raise ConfigError(
            "An evaluation in the background has its simulators in processes of their own: give batch_size=2 or more, "
            "without use_async_envs=False, or leave wait=False out."
        )
    return prepared


def _can_wait(policy: AnyPolicy) -> bool:
    """Say whether a policy is still to be loaded, on one device."""
    return not isinstance(policy, LocalPolicy | Policy) and len(policy.per_device) == 1


class _LoadedAhead:
    """A policy that is loaded as soon as that of the evaluation before is loaded; in all else it is ``source``."""

    def __init__(self, source: Any, following: _LoadedAhead | None) -> None:
        self._source, self._following = source, following
        self._loading: Future[Policy] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @property
    def per_device(self) -> Sequence[Any]:
        return (self,)

    def begin(self, n_threads: int) -> None:
        """Begin to load the policy, on a thread of its own."""
        self._loading = start_call(partial(self._load, n_threads), "loading-ahead")

    def open(self, n_threads: int) -> Policy:
        """Give the policy, once it is loaded; see :meth:`PolicySource.open`."""
        try:
            opened: Policy = self._loading.result() if self._loading is not None else self._source.open(n_threads)
            return opened
        finally:
            if self._following is not None:
                self._following.begin(n_threads)

    def close(self) -> None:
        """Drop the policy, whose evaluation has ended."""
        self._loading = None

    def _load(self, n_threads: int) -> Policy:
        with global_generators_held():  # loading may draw from them, and so may the episodes of the other policy
            policy: Policy = self._source.open(n_threads)
            return policy
