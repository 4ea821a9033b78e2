"""``run.json``: what a run directory is an evaluation of, written down before the first episode runs.

Together with the journals beside it, it is all that a report, a merge or a resume needs. Shards of one run that share a
directory share it too: the plan in it is the whole one. What is each shard's own (its part, its machine, its command)
stands in ``run_K_of_N.json``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proctor.errors import ConfigError, FingerprintError
from proctor.identity.source_files import is_found
from proctor.results.files import write_json
from proctor.results.provenance import Provenance
from proctor.security.consent import GIVE_CONSENT, uninstalled_code, without_consent
from proctor.security.redaction import REDACTED, redact, redact_command, redact_for_comparison
from proctor.statistics.stopping import Precision
from proctor.types import EpisodeSpec, Task, TaskKey

RUN_FILE = "run.json"
_RUN_FILES = "run*.json"
FORMAT_VERSION = 1
_CODE = "code"
_ONLY_SOURCE = "policy.source_sha256"
_ABSENT = "absent"
_NOT_KNOWN = (
    "policy: it is a function of which an earlier version of Proctor recorded the source alone, and not what that "
    "depends on; so whether it is the same is not known"
)


class PlannedEpisode(NamedTuple):
    """One episode of a task, as short as it can be written."""

    episode_index: int
    seed: int
    init_state_id: int | None


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task and its episodes."""

    task: Task
    episodes: tuple[PlannedEpisode, ...]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """An evaluation, written down: everything that is known of it before it runs.

    ``fingerprint`` holds what the results depend on, and so what must not change when the run is continued; the
    number of episodes, the batch size and the shards are not in it. ``opened_policy`` is the policy's own fingerprint
    once its weights were loaded, None before: it says where inference runs when nobody asked for a place.
    ``code_places`` are the absolute directories in which code without a version was found, by its module's name.

    None of it holds a secret, whatever it is made of: see :mod:`proctor.security.redaction`.
    """

    config: dict[str, Any]
    fingerprint: dict[str, Any]
    provenance: Provenance
    command: tuple[str, ...]
    plan: tuple[PlannedTask, ...]
    opened_policy: dict[str, Any] | None = None
    code_places: dict[str, str] = field(default_factory=dict)
    format_version: int = field(default=FORMAT_VERSION, kw_only=True)

    def __post_init__(self) -> None:
        _require_mappings("config", self.config, ("policy", "env", "eval"))
        _require_mappings("fingerprint", self.fingerprint, (_CODE,))
        code, opened = self.fingerprint.get(_CODE, {}), self.opened_policy
        _require_mappings(f"fingerprint.{_CODE}", code, code)
        public = {
            "config": redact(self.config),
            "fingerprint": redact_for_comparison(self.fingerprint),
            "command": redact_command(self.command),
            "opened_policy": None if opened is None else redact_for_comparison(opened),
        }
        for name, value in public.items():
            object.__setattr__(self, name, value)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(planned.task for planned in self.plan)

    @property
    def specs(self) -> tuple[EpisodeSpec, ...]:
        """The plan as the engine takes it, all shards together."""
        return tuple(
            EpisodeSpec(planned.task.suite, planned.task.task_id, *episode)
            for planned in self.plan
            for episode in planned.episodes
        )

    @property
    def precision(self) -> Precision:
        """How uncertainty is stated, and whether the plan may end early for it."""
        return Precision.of(self.config.get("eval", {}))

    @property
    def success_key(self) -> str | None:
        """The key of info whose absence counts as a failure, None if there is none: ``--env.success_key``."""
        env = self.config.get("env", {})
        return env.get("success_key") if env.get("success_threshold") is None else None


def _require_mappings(whose: str, fields: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raises ValueError for a field that is there and no mapping: somebody edited the file."""
    for name in names:
        if not isinstance(fields.get(name, {}), Mapping):
            raise ValueError(f"{whose}.{name} is no mapping")  # noqa: TRY004 - msgspec's decoder passes on a ValueError


def plan_by_task(tasks: Sequence[Task], specs: Sequence[EpisodeSpec]) -> tuple[PlannedTask, ...]:
    """The plan in the form that :class:`RunInfo` holds."""
    episodes: dict[TaskKey, list[PlannedEpisode]] = {task.key: [] for task in tasks}
    for spec in specs:
        episodes[spec.task].append(PlannedEpisode(spec.episode_index, spec.seed, spec.init_state_id))
    return tuple(PlannedTask(task, tuple(episodes[task.key])) for task in tasks)


def require_code(run: RunInfo, sides: Collection[str], command: str) -> None:
    """Refuse to go on with a run whose own code (of the ``env``, of the ``policy``) is not found from here.

    Where it was is told and not looked at: a run directory may come from somebody else, and to name a folder in it must
    not be enough to run what lies there.

    Raises:
        ConfigError: names the modules, where they were, and a ``command`` that finds them.
    """
    names = {name for side in sides for name in run.fingerprint.get(_CODE, {}).get(side, {})}
    missing = [name for name in sorted(names & run.code_places.keys()) if not is_found(name)]
    if not missing:
        return
    places = list(dict.fromkeys(run.code_places[name] for name in missing))
    before = f"{os.pathsep}$PYTHONPATH" if os.environ.get("PYTHONPATH") else ""
    modules, are, they = ("module", "is", "it was") if len(missing) == 1 else ("modules", "are", "they were")
    raise ConfigError(
        f"The run's {modules} {', '.join(missing)} {are} not found from here; {they} in {', '.join(places)}. If you "
        f"trust the code there: PYTHONPATH={shlex.quote(os.pathsep.join(places))}{before} {command}"
    )


def resume_command(run: RunInfo, directory: Path, options: str = "") -> str:
    """What continues the run in ``directory``, as the end of a sentence: that holds no secret and no function."""
    where, policy = shlex.quote(str(directory)), run.config.get("policy")
    if isinstance(policy, Mapping) and "sha256" in policy:
        return f"the same call with output_dir={str(directory)!r}"
    if REDACTED in str(run.config):
        return f"the same command with --output_dir={where}"
    consent = f" {GIVE_CONSENT}" if uninstalled_code(run.config) else ""
    return f"proctor resume {where}{options}{consent}"


def run_file(shard_id: int, num_shards: int) -> str:
    """``run.json`` for a whole run, ``run_K_of_N.json`` for one of its shards."""
    return RUN_FILE if num_shards == 1 else f"run_{shard_id}_of_{num_shards}.json"


def write_run(directory: Path, run: RunInfo, name: str = RUN_FILE) -> None:
    """Write ``run.json``.

    Raises:
        ResourceError: it cannot be written.
    """
    write_json(directory / name, run)


def read_runs(directory: Path) -> dict[str, RunInfo]:
    """``run.json`` and those of shards, by file name.

    Raises:
        ConfigError: see :func:`read_run`.
    """
    names = sorted(path.name for path in directory.glob(_RUN_FILES))
    return {name: run for name in names if (run := read_run(directory, name)) is not None}


def read_run(directory: Path, name: str = RUN_FILE) -> RunInfo | None:
    """What ``directory`` is an evaluation of; None where it does not hold one.

    Raises:
        ConfigError: its ``run.json`` is damaged, or from a newer version of Proctor.
    """
    path = directory / name
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        run = msgspec.json.decode(content, type=RunInfo)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); choose another --output_dir.") from None
    if run.format_version > FORMAT_VERSION:
        raise ConfigError(f"{path} has format version {run.format_version}: update Proctor to read it.")
    return run


_Paths = tuple[str | None, str | None]


def check_fingerprint(
    old: Mapping[str, Any], new: Mapping[str, Any], *, allow_mismatch: bool, paths: _Paths = (None, None)
) -> list[str]:
    """The differences between two fingerprints, a line each: ``policy.n_action_steps: was 8, now 4``.

    What an earlier version of Proctor did not record (:func:`not_recorded`) is no difference. ``paths`` are where the
    two checkpoints are, so that the user is told of them and not of digests.

    Raises:
        FingerprintError: there are some, and ``allow_mismatch`` is false; shows all of them.
    """
    differences = _in_words(contradictions(old, new), paths)
    if differences and not allow_mismatch:
        raise FingerprintError(
            "The run directory holds results of a different evaluation:\n  "
            + "\n  ".join(differences)
            + "\nChoose another --output_dir, or mix the two with --eval.allow_mismatch=true."
        )
    return differences


def not_recorded(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The code in ``new`` of which ``old`` says nothing, as earlier versions of Proctor did, by its modules' names."""
    return [] if _CODE in old else sorted({name for side in new.get(_CODE, {}).values() for name in side})


def _in_words(found: Mapping[str, tuple[str, str]], paths: _Paths) -> list[str]:
    """Differences for people to read: who knows a checkpoint or code by its digest?"""
    if _ONLY_SOURCE in found and found[_ONLY_SOURCE][1] == _ABSENT:
        return [_NOT_KNOWN]
    return [_line(name, before, now, paths) for name, (before, now) in found.items()]


def _line(name: str, before: str, now: str, paths: _Paths) -> str:
    whose, _, what = name.rpartition(".")
    if what == "sha256" and all(paths) and whose in ("", "policy"):
        one, other = paths
        return (
            f"policy: the files of {one} have changed since"
            if one == other
            else f"policy: was the checkpoint {one}, now {other}"
        )
    if what == "sha256" and whose in ("", "policy"):
        return "policy: its code, or something that it depends on, is not what it was"
    if whose.partition(".")[0] == _CODE and _ABSENT not in (before, now):
        return f"{name}: the code has changed since"
    return f"{name}: was {before}, now {now}"


def contradictions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """In what two fingerprints differ, as :func:`differing`, apart from what the ``old`` one does not record."""
    if not_recorded(old, new):
        new = {name: value for name, value in new.items() if name != _CODE}
    return differing(old, new)


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """In what two fingerprints differ: dotted names, and both values as text."""
    before, now = dict(_leaves(_plain(old))), dict(_leaves(_plain(new)))
    return {
        name: (_shown(name, before), _shown(name, now))
        for name in sorted(before.keys() | now.keys())
        if name not in before or name not in now or before[name] != now[name]
    }


def _plain(fingerprint: Mapping[str, Any]) -> Any:
    """As it is read back from a file: tuples become lists. Earlier versions wrote consent and secrets into it."""
    return redact_for_comparison(without_consent(msgspec.json.decode(msgspec.json.encode(fingerprint)), mark=False))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _shown(name: str, leaves: Mapping[str, Any]) -> str:
    return msgspec.json.encode(leaves[name]).decode() if name in leaves else _ABSENT
