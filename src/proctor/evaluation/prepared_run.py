"""From a configuration to a job: everything that is decided before anything runs."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from proctor.benchmarks.base import Benchmark
from proctor.config import EvalConfig, RunConfig, structure
from proctor.config.lerobot_flags import without_lerobots
from proctor.engine import EngineOptions, EngineSetup
from proctor.engine.plan import choose_batch_size, plan_episodes, plan_tasks, shard_episodes
from proctor.engine.trace import new_trace_path
from proctor.errors import ConfigError, ResourceError, note
from proctor.identity.code import Code, code_of
from proctor.identity.source_files import unowned_places
from proctor.machine.home import prepare_surroundings
from proctor.machine.resources import available_memory, usable_cores, workers_by_open_files
from proctor.plugins import BENCHMARKS, POLICIES, find, installed, load_object
from proctor.policies.base import LocalPolicy, PolicySource, why_unidentified
from proctor.results.provenance import collect_provenance
from proctor.results.run_dir import RunInfo, plan_by_task, resume_command, run_file
from proctor.security.consent import CONSENT, GIVE_CONSENT, gives_consent, is_consent, without_consent
from proctor.security.foreign_code import encodable, refuse_while_importing, refusing_exits, require_utf8
from proctor.types import EpisodeSpec, Task

AnyPolicy = PolicySource | LocalPolicy

_FREE_ENV_FIELDS = ("type", "max_parallel_tasks", "render_device", CONSENT)
"""Fields of ``--env.*`` that identify no result: the benchmark's name stands for the type; what draws is provenance."""


@dataclass(frozen=True)
class PreparedRun:
    """One evaluation (or one shard of it), decided."""

    config: RunConfig
    benchmark: Benchmark
    address: str
    """Where workers find the benchmark's class, ``module:attribute``."""
    policy: AnyPolicy
    tasks: list[Task]
    plan: list[EpisodeSpec]
    """All episodes, of every shard."""
    directory: Path
    from_fields: bool = True
    """Whether the policy was built from ``config.policy``, so that the command line can build it again."""
    go_on_with: str = ""
    """Options with which ``proctor resume`` continues it as it was begun."""

    @property
    def how_to_go_on(self) -> str:
        """What continues this job, as the end of a sentence."""
        if self.unidentified:
            return f"another session cannot add the rest, because {self.unidentified}"
        return f"go on with: {self._command}"

    @property
    def _command(self) -> str:
        if self.config.eval.num_shards > 1:
            return f"the same command with --output_dir={shlex.quote(str(self.directory))}"
        if self.from_fields:
            return resume_command(self.run_info, self.directory, self.go_on_with)
        return f"the same call with output_dir={str(self.directory)!r}"

    @cached_property
    def specs(self) -> list[EpisodeSpec]:
        """The episodes of this shard."""
        positions = shard_episodes(len(self.plan), self.config.eval.shard_id, self.config.eval.num_shards)
        return [self.plan[position] for position in positions]

    @property
    def episodes_per_pass(self) -> int:
        """How many episodes had better share a forward pass."""
        return 1 if isinstance(self.policy, LocalPolicy) else self.policy.episodes_per_pass

    @property
    def draws(self) -> bool:
        """Whether a simulator draws something: for a policy that is not beside it, or for a video."""
        config = self.config.eval
        films = config.video == "all" or (config.video != "none" and config.n_episodes_to_render > 0)
        return films or not isinstance(self.policy, LocalPolicy)

    @property
    def journal_stem(self) -> str:
        shard_id, num_shards = self.config.eval.shard_id, self.config.eval.num_shards
        return "journal" if num_shards == 1 else f"journal_{shard_id}_of_{num_shards}"

    @property
    def run_file(self) -> str:
        """Where :attr:`run_info` is written."""
        return run_file(self.config.eval.shard_id, self.config.eval.num_shards)

    @property
    def unidentified(self) -> str:
        """Why nobody can tell whether another evaluation is this one, "" if its fingerprint tells."""
        if why := why_unidentified(self.policy):
            return f"the policy cannot be recognised again: it is or holds {why}"
        code = next((why for code in self._code.values() if (why := code.unidentified)), "")
        return code and f"the code that runs cannot be recognised again: it holds {code}"

    @cached_property
    def _code(self) -> dict[str, Code]:
        """Of the environment and of the policy, the code that has no version."""
        benchmark, policy = self.benchmark, self.policy
        kinds = {"env": type(benchmark), "policy": type(policy)}
        given = self.config.policy if self.from_fields else {}
        loader = (_policy_loader(given).partition(":")[0],) if given else ()
        sources = {"env": benchmark.sources, "policy": (*loader, *getattr(policy, "sources", ()))}
        distributions = {"env": benchmark.distributions, "policy": _distributions(policy)}
        return {side: code_of([*kind.__mro__, *sources[side]], distributions[side]) for side, kind in kinds.items()}

    @cached_property
    def run_info(self) -> RunInfo:
        """What is written down of it."""
        distributions = [*self.benchmark.distributions, *_distributions(self.policy), "proctor"]
        provenance = collect_provenance(distributions, usable_cores())
        versions = {name: known for name, known in provenance.packages.items() if name != "proctor"}
        env = asdict(self.benchmark.config)
        fingerprint = {
            "benchmark": {"name": self.benchmark.name, "protocol": self.benchmark.protocol},
            "env": {name: value for name, value in env.items() if name not in _FREE_ENV_FIELDS},
            "policy": dict(self.policy.fingerprint()),
            "rename_map": self.config.rename_map,
            "seed": self.config.seed,
            "inference": {
                "batch_size": self.config.eval.inference_batch_size,
                "threads": self.config.eval.inference_threads,
            },
            "versions": versions,
        }
        code = {side: code.digests for side, code in self._code.items() if code.digests}
        fingerprint |= {
            name: value for name, value in {"code": code, "unidentified": self.unidentified}.items() if value
        }
        config = {**asdict(self.config), "env": env, "output_dir": str(self.directory)}
        plan = plan_by_task(self.tasks, self.plan)
        places = unowned_places(name for digests in code.values() for name in digests)
        return RunInfo(
            without_consent(config),
            without_consent(fingerprint, mark=False),
            provenance,
            tuple(encodable(argument) for argument in sys.argv),
            plan,
            code_places=places,
        )

    @property
    def whole_run_info(self) -> RunInfo:
        """The same for all shards together: what ``run.json`` says, whichever shard writes it."""
        whole = {**self.run_info.config["eval"], "shard_id": 0, "num_shards": 1}
        return replace(self.run_info, config={**self.run_info.config, "eval": whole})

    def engine_setup(self, batch_size: int | None = None) -> EngineSetup:
        """What an engine needs for it: ``batch_size`` simulators in parallel, or as many as this machine can bear.

        Raises:
            ResourceError: there is too little memory for those that were asked for, or too few files may be open.
        """
        batch_size = batch_size or n_simulators(
            self.benchmark, self.config.eval, len(self.specs), self.episodes_per_pass
        )
        require_open_files(batch_size)
        stem = self.journal_stem.replace("journal", "trace")
        return EngineSetup(
            benchmark=self.address,
            env=asdict(self.benchmark.config),
            tasks={task.key: task for task in self.tasks},
            action_source=self.policy.source if isinstance(self.policy, LocalPolicy) else None,
            options=EngineOptions.of(self.config.eval, self.benchmark.config.max_parallel_tasks),
            batch_size=batch_size,
            log=self.directory / "worker.log",
            trace=new_trace_path(self.directory, stem) if self.config.eval.trace else None,
            in_process=runs_in_process(self.benchmark, self.config.eval),
            known=self.benchmark.known_here(),
        )


def prepare(config: RunConfig, policy: AnyPolicy | None = None) -> PreparedRun:
    """Decide everything ``config`` leaves open. Imports no simulator; loads no weights.

    Raises:
        ConfigError: what is asked for cannot be done; the message says what to do.
    """
    _require_writable_names(config)
    benchmark, address = make_benchmark(config.env, trust_remote_code=config.trust_remote_code)
    for caution in benchmark.cautions():
        note(caution)
    chosen = (
        policy
        if policy is not None
        else load_policy(config.policy, config.rename_map, trust_remote_code=config.trust_remote_code)
    )
    tasks = plan_tasks(benchmark)
    plan = plan_episodes(benchmark, tasks, config.eval.n_episodes, config.seed)
    directory = _run_directory(config, benchmark, chosen)
    # With what planning pinned, for shards and later sessions too.
    env = {name: value for name, value in asdict(benchmark.config).items() if not is_consent(name)}
    pinned = {**config.policy, **getattr(chosen, "pinned", {})}
    config = dataclasses.replace(config, env=env, policy=pinned)
    return PreparedRun(config, benchmark, address, chosen, tasks, plan, directory, from_fields=policy is None)


def _require_writable_names(config: RunConfig) -> None:
    """Refuse names that could not be written into run.json or sent to a worker, or that no directory can have."""
    require_utf8([*_texts(asdict(config)), str(Path.cwd()), *sys.path])
    for name, value in (("output_dir", config.output_dir), ("job_name", config.job_name)):
        try:
            Path(value or "").lstat()
        except (OSError, ValueError) as error:  # a NUL, or what the locale cannot name, is a ValueError
            if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG:
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"{name} is no name of a directory: {reason}; choose another one.") from None


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def make_benchmark(fields: Mapping[str, Any], *, trust_remote_code: bool = False) -> tuple[Benchmark, str]:
    """The benchmark that ``--env.*`` describes, and the address of its class. Consent goes to a benchmark that asks.

    Raises:
        ConfigError: there is no such benchmark; or its fields are to give consent themselves.
    """
    refuse_while_importing()
    prepare_surroundings()
    if gives_consent({name: value for name, value in fields.items() if is_consent(name)}):
        raise ConfigError(f"env.{CONSENT} gives no consent; give {GIVE_CONSENT} itself ({CONSENT}=True in Python).")
    fields = {name: value for name, value in fields.items() if not is_consent(name)}
    name = fields.get("type")
    if not name:
        raise ConfigError(f"Which benchmark? Give --env.type, one of {', '.join(sorted(installed(BENCHMARKS)))}.")
    if (fields_elsewhere := _fields_of_another(str(name), fields)) is not None:
        fields = fields_elsewhere
    address = find(BENCHMARKS, str(fields["type"]))
    benchmark_class = _benchmark_class(address)
    config_class = benchmark_class.config_class
    if trust_remote_code and any(field.name == CONSENT for field in dataclasses.fields(config_class)):
        fields = {**fields, CONSENT: trust_remote_code}
    return benchmark_class(structure(config_class, fields, "env")), address


def _benchmark_class(address: str) -> type[Benchmark]:
    found = load_object(address)
    if not (isinstance(found, type) and issubclass(found, Benchmark)):
        raise ConfigError(f"{address} is not a benchmark: a benchmark is a subclass of proctor.Benchmark.")
    return found


def _fields_of_another(name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields with which a benchmark of another name runs ``name``; None if there is no such benchmark."""
    if ":" in name or name in installed(BENCHMARKS):
        return None
    for point in installed(BENCHMARKS).values():
        try:
            found = _benchmark_class(point.value).fields_for(name, fields)
        except ConfigError:  # a plug-in that cannot be imported is none that was asked for
            continue
        if found is not None:
            return found
    return None


def runs_in_process(benchmark: Benchmark, config: EvalConfig) -> bool:
    """Whether the user wants simulators in this process: by asking for one at a time, or by a benchmark that no other
    process has. That Proctor itself chose one worker is no such wish.
    """
    return config.batch_size == 1 or not config.use_async_envs or bool(benchmark.only_here())


def n_simulators(benchmark: Benchmark, config: EvalConfig, n_episodes: int, episodes_per_pass: int = 1) -> int:
    """How many simulators step in parallel: as many as asked for, else as many as cores, episodes and memory allow.

    Raises:
        ResourceError: there is too little memory for those that were asked for, or for one.
    """
    n = choose_batch_size(config, n_episodes, usable_cores(), episodes_per_pass)
    if not config.batch_size:
        n = max(1, min(n, simulators_in_memory(benchmark, n)))
    require_memory(benchmark, 1 if runs_in_process(benchmark, config) else n)
    return n


def simulators_in_memory(benchmark: Benchmark, otherwise: int) -> int:
    """How many of a benchmark's simulators the available memory holds; ``otherwise`` where that cannot be told."""
    available = available_memory()
    if benchmark.worker_memory_mb is None or available is None:
        return otherwise
    return available // (benchmark.worker_memory_mb << 20)


def require_memory(benchmark: Benchmark, n: int) -> None:
    """Refuse more simulators at a time than there is memory for.

    Raises:
        ResourceError: says how much is missing, and what to lower.
    """
    fitting = simulators_in_memory(benchmark, otherwise=n)
    if fitting < n:
        each, available = benchmark.worker_memory_mb, available_memory()
        assert each is not None and available is not None  # noqa: PT018 - else any number fits
        raise ResourceError(
            f"{n} simulators of {benchmark.name} at a time take {n * each} MB of memory ({each} MB each, as measured), "
            f"and {available >> 20} MB are available: "
            + (f"lower eval.batch_size to {fitting}." if fitting else "free some of it.")
        )


def require_open_files(n: int) -> None:
    """Refuse more simulators at a time than this process may have files open for.

    Raises:
        ResourceError: says what to lower, or to raise.
    """
    if (possible := workers_by_open_files(n)) < n:
        raise ResourceError(
            f"{n} simulators at a time need more open files than this process may have (ulimit -n): "
            f"lower eval.batch_size to {possible}, or raise that limit."
        )


def load_policy(
    fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None, *, trust_remote_code: bool = False
) -> AnyPolicy:
    """The policy that ``--policy.*`` describes, as far as it can be known without loading its weights.

    Consent goes to a loader that has a parameter for it.
    """
    prepare_surroundings()
    if not fields.get("path") and not fields.get("type"):
        raise ConfigError(
            "Which policy? Give --policy.path=<checkpoint>, or --policy.type, one of "
            f"{', '.join(sorted(set(installed(POLICIES)) - {'lerobot'}))}."
        )
    loader = load_object(_policy_loader(fields))
    named = {name.replace("-", "_"): value for name, value in without_lerobots("policy", fields, known=()).items()}
    asks = trust_remote_code and "trust_remote_code" in inspect.signature(loader).parameters
    with refusing_exits("The policy cannot be loaded"):
        policy: AnyPolicy = loader(named, rename_map or None, **({"trust_remote_code": True} if asks else {}))
    return policy


def _policy_loader(fields: Mapping[str, Any]) -> str:
    """Where the function is found that makes the policy, ``module:attribute``."""
    return find(POLICIES, "lerobot" if fields.get("path") else str(fields["type"]))


def _distributions(policy: AnyPolicy) -> tuple[str, ...]:
    return getattr(policy, "distributions", ())


def _run_directory(config: RunConfig, benchmark: Benchmark, policy: AnyPolicy) -> Path:
    if config.output_dir:
        return Path(config.output_dir)
    kind = "" if config.policy.get("path") else config.policy.get("type", "")
    name = config.job_name or f"{benchmark.name}_{kind or policy.fingerprint()['type']}"
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return Path(datetime.now().strftime(f"outputs/eval/%Y-%m-%d/%H-%M-%S_{slug}"))  # noqa: DTZ005 - the user's clock
