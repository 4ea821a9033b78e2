"""From a configuration to a prepared run: everything that is decided before anything runs."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from proctor.benchmarks.base import Benchmark
from proctor.config import EvalConfig, RunConfig
from proctor.config.structure import read_value
from proctor.engine import EngineOptions, EngineSetup
from proctor.engine.plan import plan_episodes, plan_tasks, shard_episodes
from proctor.errors import ConfigError, note
from proctor.evaluation.capacity import n_simulators, require_open_files, runs_in_process
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.evaluation.identity import Identity, identify
from proctor.interpreters.choice import python_to_record
from proctor.machine.resources import available_memory, usable_cores
from proctor.policies.base import AnyPolicy, LocalPolicy
from proctor.results.run_dir import RunDirectory, Shard
from proctor.results.run_index import EVALUATIONS, register_run, unregister_run, without_latest
from proctor.results.run_info import RunInfo, plan_by_task, resume_command
from proctor.results.session import RunSession
from proctor.security.consent import is_consent, without_consent
from proctor.security.foreign_code import encodable, require_utf8
from proctor.security.redaction import redact_text, secrets_in
from proctor.types import EpisodeSpec, Task

_SHARE, _LEAST_WORKER_MEMORY = 0.8, 2e9
"""The part of the available memory that all workers together may take, and the bytes that each may take at least."""


@dataclass(frozen=True)
class PreparedRun:
    """One evaluation, or one shard of it, about which everything is decided that decides its results.

    ``address`` names the benchmark's class for workers, ``module:attribute``. ``plan`` has the episodes of all
    shards. ``from_fields`` is True if the policy was made from ``config.policy``, so that the command line can make it
    again. ``resume_options`` are options with which ``proctor resume`` continues the run as it was started.
    """

    config: RunConfig
    benchmark: Benchmark
    address: str
    policy: AnyPolicy
    tasks: list[Task]
    plan: list[EpisodeSpec]
    directory: Path
    from_fields: bool = True
    resume_options: str = ""

    @property
    def run_directory(self) -> RunDirectory:
        """The run directory, as this run or shard uses it."""
        return RunDirectory(self.directory, Shard(self.config.eval.shard_id, self.config.eval.num_shards))

    def without_secrets(self, text: str) -> str:
        """Remove the secrets of the configuration from a text that is to be written down."""
        return redact_text(text, secrets_in([self.config.policy, self.config.env]))

    @property
    def resume_hint(self) -> str:
        """The way to continue this run, as the end of a sentence."""
        if self.identity.unidentified:
            return f"another session cannot add the rest, because {self.identity.unidentified}"
        return f"go on with: {self._resume_command}"

    @property
    def _resume_command(self) -> str:
        if self.config.eval.num_shards > 1:
            return f"the same command with --output_dir={shlex.quote(str(self.directory))}"
        if self.from_fields:
            return resume_command(self.run_info, self.directory, self.resume_options)
        return f"the same call with output_dir={str(self.directory)!r}"

    @cached_property
    def specs(self) -> list[EpisodeSpec]:
        """The episodes of this shard."""
        positions = shard_episodes(len(self.plan), self.config.eval.shard_id, self.config.eval.num_shards)
        return [self.plan[position] for position in positions]

    @property
    def episodes_per_pass(self) -> int:
        """The number of episodes that share a forward pass for little more than the cost of one."""
        return 1 if isinstance(self.policy, LocalPolicy) else self.policy.episodes_per_pass

    @property
    def draws(self) -> bool:
        """A simulator draws images: for a policy outside the worker, for a video or for a dataset."""
        config = self.config.eval
        films = config.video == "all" or (config.video != "none" and config.n_episodes_to_render != 0)
        return films or config.recording or not isinstance(self.policy, LocalPolicy)

    @cached_property
    def identity(self) -> Identity:
        """Everything that the results depend on."""
        return identify(self.config, self.benchmark, self.policy, from_fields=self.from_fields)

    @cached_property
    def run_info(self) -> RunInfo:
        """The content of the run file of this run or shard."""
        identity = self.identity
        # An interpreter that the user did not name is found anew whenever the run is continued, on any machine.
        env = {**asdict(self.benchmark.config), "python": self.config.env.get("python")}
        return RunInfo(
            without_consent({**asdict(self.config), "env": env, "output_dir": str(self.directory)}),
            without_consent(identity.fingerprint, mark=False),
            identity.provenance,
            tuple(encodable(argument) for argument in sys.argv),
            plan_by_task(self.tasks, self.plan),
            code_places=dict(identity.code_places),
        )

    @contextmanager
    def in_own_directory(self) -> Iterator[Self]:
        """Give the run the directory that the user chose, or else a new one that no other run has.

        The new directory is made at once, so that of two runs that start in the same second, in threads or processes,
        each has its own. If it is empty in the end, it is removed, as are the folders above it that are.

        Raises:
            ResourceError: the directory cannot be made.
        """
        if self.config.output_dir:
            yield self
            return
        directory = RunDirectory.create(self.directory).path
        try:
            yield dataclasses.replace(self, directory=directory)
        finally:
            with suppress(OSError):  # it is not empty
                os.removedirs(directory)
                unregister_run(directory)

    def open_session(self, n_workers: int = 0) -> RunSession:
        """Open the run directory for results that ``n_workers`` workers will measure; 0 if the number is not known.

        Raises:
            ProctorError: see :class:`~proctor.results.session.RunSession`.
        """
        opens_policy = not isinstance(self.policy, LocalPolicy)
        session = RunSession(self.run_directory, self.run_info, n_workers=n_workers, opens_policy=opens_policy)
        register_run(self.directory)
        return session

    def engine_setup(self, batch_size: int | None = None, n_running: int = 0) -> EngineSetup:
        """Give the engine ``batch_size`` simulators in parallel, or as many as this machine can bear.

        ``n_running`` of them have been built and have their memory already.

        Raises:
            ResourceError: there is too little memory for the number that was asked for, or too few files may be open.
        """
        batch_size = batch_size or n_simulators(
            self.benchmark, self.config.eval, len(self.specs), self.episodes_per_pass, n_running
        )
        require_open_files(batch_size)
        files = self.run_directory
        return EngineSetup(
            benchmark=self.address,
            env=asdict(self.benchmark.config),
            tasks={task.key: task for task in self.tasks},
            action_source=self.policy.source if isinstance(self.policy, LocalPolicy) else None,
            options=self._engine_options(batch_size),
            batch_size=batch_size,
            log=files.worker_log,
            trace=files.new_trace_file() if self.config.eval.trace else None,
            in_process=runs_in_process(self.benchmark, self.config.eval),
            known=self.benchmark.known_here(),
            cores=usable_cores(),
            episodes_per_pass=self.episodes_per_pass,
        )

    def _engine_options(self, n_workers: int) -> EngineOptions:
        options = EngineOptions.of(self.config.eval, self.benchmark.config.max_parallel_tasks)
        if self.config.eval.worker_memory_gb is not None or (available := available_memory()) is None:
            return options
        return dataclasses.replace(options, worker_memory=max(_LEAST_WORKER_MEMORY, _SHARE * available / n_workers))


def prepare(config: RunConfig, policy: AnyPolicy | None = None) -> PreparedRun:
    """Decide everything that ``config`` leaves open. Imports no simulator; loads no weights.

    If ``policy`` is given, it is evaluated in place of the one that ``config.policy`` describes.

    Raises:
        ConfigError: what is asked for cannot be done; the message says what to do.
    """
    _require_writable_names(config)
    config = _with_timeout(config)
    benchmark, address = make_benchmark(config.env, trust_remote_code=config.trust_remote_code)
    for caution in benchmark.cautions():
        note(caution)
    chosen = (
        policy
        if policy is not None
        else load_policy(config.policy, config.rename_map, trust_remote_code=config.trust_remote_code)
    )
    _require_inference(config.eval, chosen)
    tasks = plan_tasks(benchmark)
    plan = plan_episodes(benchmark, tasks, config.eval.n_episodes, config.seed)
    directory = _choose_directory(config, benchmark, chosen)
    # The configuration keeps what planning pinned, so that shards and later sessions use the same.
    env = {name: value for name, value in asdict(benchmark.config).items() if not is_consent(name)}
    env["python"] = python_to_record(read_value(config.env.get("python")), env["python"])
    pinned = {**config.policy, **chosen.pinned}
    config = dataclasses.replace(config, env=env, policy=pinned)
    return PreparedRun(config, benchmark, address, chosen, tasks, plan, directory, from_fields=policy is None)


def _with_timeout(config: RunConfig) -> RunConfig:
    """Give the time-out of a checkpoint's passes, which may be spelled as that of a server's, its place."""
    if not config.policy.get("path") or "timeout_s" not in config.policy:
        return config
    policy = {name: value for name, value in config.policy.items() if name != "timeout_s"}
    try:
        seconds = float(config.policy["timeout_s"])
    except (TypeError, ValueError):
        raise ConfigError(f"policy.timeout_s is {config.policy['timeout_s']!r}; give a number of seconds.") from None
    return dataclasses.replace(
        config, policy=policy, eval=dataclasses.replace(config.eval, inference_timeout_s=seconds)
    )


def _require_inference(config: EvalConfig, policy: AnyPolicy) -> None:
    """Refuse a delay of a policy that has no inference to delay."""
    for name in ("inference_delay_steps", "inference_delay_ms"):
        if getattr(config, name) and isinstance(policy, LocalPolicy):
            raise ConfigError(
                f"eval.{name} is {getattr(config, name)}, but this policy acts inside the workers and has no inference "
                "that could be delayed; leave the option out."
            )


def _require_writable_names(config: RunConfig) -> None:
    """Refuse names that cannot be written into run.json or sent to a worker, or that no directory can have."""
    require_utf8([*_texts(asdict(config)), str(Path.cwd()), *sys.path])
    for name, value in (("output_dir", config.output_dir), ("job_name", config.job_name)):
        try:
            Path(value or "").lstat()
        except (OSError, ValueError) as error:  # a NUL, or what the locale cannot name, is a ValueError
            if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG:
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"{name} is not a valid name of a directory: {reason}; choose another one.") from None


def _texts(value: Any) -> Iterator[str]:
    """Find every text in nested values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _choose_directory(config: RunConfig, benchmark: Benchmark, policy: AnyPolicy) -> Path:
    if config.output_dir:
        return without_latest(Path(config.output_dir))
    kind = "" if config.policy.get("path") else config.policy.get("type", "")
    name = config.job_name or f"{benchmark.name}_{kind or policy.fingerprint()['type']}"
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return EVALUATIONS / datetime.now().strftime(f"%Y-%m-%d/%H-%M-%S_{slug}")  # noqa: DTZ005 - the user's clock
