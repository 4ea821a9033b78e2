"""Constructing a benchmark from its fields: in this process, or for workers that are another Python (``env.python``).

Another Python is asked once for everything that planning needs to know: its own process constructs the benchmark there
and describes it. Neither the benchmark's module nor anything of its simulator is imported here then.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, field, fields, make_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from proctor.benchmarks.base import Benchmark, SimEnv
from proctor.child.calls import Call, ChildError
from proctor.child.other_python import Companions
from proctor.config import EnvConfig, structure
from proctor.config.structure import read_value
from proctor.errors import ConfigError, Note, note
from proctor.identity.code import Code, code_of
from proctor.identity.source_files import unowned_places
from proctor.plugins import BENCHMARKS, companions_of, find, installed, load_object
from proctor.security.consent import CONSENT
from proctor.security.foreign_code import refusing_exits, without_stdin
from proctor.types import Task

_LIMIT_S = 600.0
_FIRST_STARTS = 64
_MORE_STARTS = 16
"""If an episode beyond the first 64 of a task is planned, the initial states of 16 times as many are asked for."""

_DECLARED = (
    "name",
    "extra",
    "protocol",
    "groups",
    "distributions",
    "draws_with_gl",
    "needs_gl",
    "worker_memory_mb",
)
"""Attributes of a benchmark that are plain values, and the same for one that is described."""


class Origin(msgspec.Struct, frozen=True):
    """The software that a benchmark's environments consist of, as its own interpreter sees it.

    ``versions`` maps the benchmark's distributions, numpy and ``python`` to what that interpreter has, None for what it
    does not have; it is empty if that is this interpreter. ``places`` are the directories of code without a version.
    """

    code: Code
    places: dict[str, str]
    versions: dict[str, str | None] = {}


class Description(msgspec.Struct, frozen=True):
    """The answer of another Python that is asked about a benchmark.

    ``env`` has the fields of its configuration, ``declared`` the attributes of :data:`_DECLARED`, and ``starts`` the
    initial states of the first episodes of each task. ``notes`` are the sentences that the user should read.
    """

    env: dict[str, Any]
    declared: dict[str, Any]
    tasks: list[Task]
    starts: list[list[int | None]]
    known: dict[str, Any]
    only_there: str
    cautions: list[str]
    origin: Origin
    notes: list[str]


def construct(address: str, given: Mapping[str, Any], *, trust_remote_code: bool = False) -> Benchmark:
    """Construct the benchmark at ``address`` (``module:attribute``) from its fields, under the Python that they name.

    Consent to running foreign code is passed to a benchmark whose configuration has a field for it.

    Raises:
        ConfigError: there is no benchmark at that address, or its configuration is wrong.
        MissingExtraError: a package that the benchmark needs is not installed.
    """
    if given.get("python") is None:
        return _constructed(address, given, trust_remote_code=trust_remote_code)
    return BenchmarkElsewhere(address, given, trust_remote_code=trust_remote_code)


def address_of(name: str, python: str | None) -> str:
    """Find the address of a benchmark's class, ``module:attribute``; also that of a plug-in that only ``python`` has.

    Raises:
        ConfigError: there is no such benchmark; the message suggests the nearest name.
    """
    if python is None or ":" in name or name in installed(BENCHMARKS):
        return find(BENCHMARKS, name)
    return Call(f"{__name__}:plug_ins", result=dict[str, str], interpreter=python).result().get(name) or find(
        BENCHMARKS, name
    )


def plug_ins() -> dict[str, str]:
    """Give the addresses of the benchmarks that are installed here, by name; called under another Python."""
    return {name: point.value for name, point in installed(BENCHMARKS).items()}


def _constructed(address: str, given: Mapping[str, Any], *, trust_remote_code: bool) -> Benchmark:
    kind = load_object(address)
    if not (isinstance(kind, type) and issubclass(kind, Benchmark)):
        raise ConfigError(f"{address} is not a benchmark: a benchmark is a subclass of proctor.Benchmark.")
    if trust_remote_code and any(each.name == CONSENT for each in fields(kind.config_class)):
        given = {**given, CONSENT: trust_remote_code}
    return kind(structure(kind.config_class, given, "env"))


def listed_tasks(benchmark: Benchmark) -> list[Task]:
    """Return the tasks that a benchmark selects; its code reads no standard input and cannot end this process.

    Raises:
        ConfigError: a task is unknown, or there is none.
    """
    with without_stdin(), refusing_exits(f"{benchmark.name} cannot say which tasks there are"):
        tasks = benchmark.tasks()
    if not tasks:
        raise ConfigError(f"{benchmark.name} has no task for env.task={benchmark.config.task}.")
    return tasks


def origin_of(benchmark: Benchmark) -> Origin:
    """Find the software that the environments of a benchmark consist of, after its tasks were listed."""
    if isinstance(benchmark, BenchmarkElsewhere):
        return benchmark.origin
    code = code_of([*type(benchmark).__mro__, *benchmark.sources], benchmark.distributions)
    return Origin(code, unowned_places(code.digests))


class BenchmarkElsewhere(Benchmark):
    """A benchmark as another Python has described it. Its simulators can be built there only, by workers."""

    def __init__(self, address: str, given: Mapping[str, Any], *, trust_remote_code: bool = False) -> None:
        self._address, self._python = address, str(given["python"])
        self._companions = companions_of(address)
        given = {name: read_value(value) for name, value in given.items()}  # YAML is read here, as PyYAML is not there
        described: Description = self._asked(describe, given, trust_remote_code, result=Description)
        if described.only_there:
            raise ConfigError(f"{self._python} cannot run it in workers: {described.only_there}")
        for sentence in described.notes:
            note(sentence)
        super().__init__(_configuration(described.env))
        self.__dict__.update(described.declared)
        self._described: Description = described
        self._starts: list[list[int | None]] = described.starts
        self._numbers = {task.key: number for number, task in enumerate(described.tasks)}
        self.origin: Origin = described.origin

    def tasks(self) -> list[Task]:
        return list(self._described.tasks)

    def known_here(self) -> dict[str, Any]:
        return self._described.known

    def cautions(self) -> list[str]:
        return self._described.cautions

    def init_state_id(self, task: Task, episode_index: int) -> int | None:
        number = self._numbers[task.key]
        while episode_index >= len(self._starts[number]):
            n = _MORE_STARTS * len(self._starts[number])
            self._starts = self._asked(starts, asdict(self.config), n, result=list[list[int | None]])
        return self._starts[number][episode_index]

    def make_env(self, task: Task) -> SimEnv:
        raise ConfigError(
            f"{task.name} runs under another interpreter, env.python={self._python}, and so only in a worker process; "
            "leave env.python out to have its simulator in this process."
        )

    def _asked(self, function: Callable[..., Any], *arguments: Any, result: Any) -> Any:
        name = f"{__name__}:{function.__name__}"
        try:
            return Call(
                name,
                self._address,
                self._companions,
                *arguments,
                result=result,
                limit_s=_LIMIT_S,
                interpreter=self._python,
            ).result()
        except ChildError as error:
            reason = f"it {error.how}" if error.status is None else error.last_line or f"it {error.how}"
            raise ConfigError(
                f"env.python={self._python} cannot list the tasks of {self._address}: {reason}"
            ) from error


def _configuration(env: Mapping[str, Any]) -> EnvConfig:
    """Make a configuration of the fields that another Python has found valid; their class need not be known here."""
    known = {each.name for each in fields(EnvConfig)}
    more = [(name, Any, field(default=None)) for name in env if name not in known]
    kind = make_dataclass("EnvConfigElsewhere", more, bases=(EnvConfig,), frozen=True, kw_only=True)
    made: EnvConfig = kind(**env)
    return made


# --------------------------------------------------------------------------------------- in the other interpreter


def describe(
    address: str,
    companions: Companions,
    given: dict[str, Any],
    trust_remote_code: bool,  # noqa: FBT001 - of a call
) -> Description:
    """Describe a benchmark; called in the process of another Python.

    Raises:
        ConfigError: see :func:`construct` and :func:`listed_tasks`.
    """
    companions.join()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Note)
        benchmark = _constructed(address, given, trust_remote_code=trust_remote_code)
        tasks = listed_tasks(benchmark)
        cautions = benchmark.cautions()
    versions = {name: _version(name, companions) for name in {*benchmark.distributions, "numpy"}}
    return Description(
        env=asdict(benchmark.config),
        declared={name: getattr(benchmark, name) for name in _DECLARED},
        tasks=tasks,
        starts=_starts(benchmark, tasks, _FIRST_STARTS),
        known=benchmark.known_here(),
        only_there=benchmark.only_here(),
        cautions=cautions,
        origin=msgspec.structs.replace(
            origin_of(benchmark), versions={**versions, "python": platform.python_version()}
        ),
        notes=[str(each.message) for each in caught if issubclass(each.category, Note)],
    )


def starts(address: str, companions: Companions, given: dict[str, Any], n: int) -> list[list[int | None]]:
    """Give the initial states of the first ``n`` episodes of each task; called in the process of another Python."""
    companions.join()
    benchmark = _constructed(address, given, trust_remote_code=False)
    return _starts(benchmark, listed_tasks(benchmark), n)


def _starts(benchmark: Benchmark, tasks: Iterable[Task], n: int) -> list[list[int | None]]:
    return [[benchmark.init_state_id(task, index) for index in range(n)] for task in tasks]


def _version(distribution: str, companions: Companions) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return companions.versions.get(distribution)
