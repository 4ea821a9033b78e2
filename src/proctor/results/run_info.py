"""Describes an evaluation before its first episode runs: the content of ``run.json``.

Together with the journals beside it, ``run.json`` is all that a report, a merge or a resume needs. If several shards of
one run share a directory, ``run.json`` holds the plan of all shards, and ``run_K_of_N.json`` what is a single shard's
own: its part of the plan, its machine and its command.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from proctor.errors import ConfigError
from proctor.identity.source_files import is_found
from proctor.results.fingerprint import CODE
from proctor.results.provenance import Provenance
from proctor.security.consent import GIVE_CONSENT, uninstalled_code
from proctor.security.redaction import REDACTED, redact, redact_command, redact_for_comparison
from proctor.statistics.stopping import Precision
from proctor.types import EpisodeSpec, Task, TaskKey

FORMAT_VERSION = 1

_OF_A_STEP = re.compile(r"(?:^|/)checkpoints/(\d+)(?:/|$)")


class PlannedEpisode(NamedTuple):
    """One episode of a task, without the fields that the task has already."""

    episode_index: int
    seed: int | None
    init_state_id: int | None


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task and its episodes."""

    task: Task
    episodes: tuple[PlannedEpisode, ...]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Everything that is known of an evaluation before it runs.

    ``fingerprint`` holds what the results depend on, and so what must not change when the run is continued; the
    number of episodes, the batch size and the shards are not in it. ``opened_policy`` is the policy's own fingerprint
    once its weights were loaded, None before: it contains the device if the user asked for none.
    ``code_places`` are the absolute directories in which code without a version was found, by the module's name.

    Secrets are removed from every field when the object is made: see :mod:`proctor.security.redaction`.

    Raises:
        ValueError: a field that must be a mapping is not one, or the plan has an episode twice; :mod:`msgspec` passes
            that on for a file that was edited.
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
        _require_mappings("fingerprint", self.fingerprint, (CODE, "versions"))
        code, opened = self.fingerprint.get(CODE, {}), self.opened_policy
        _require_mappings(f"fingerprint.{CODE}", code, code)
        _require_each_once(self.plan)
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
        """The tasks of the plan, in its order."""
        return tuple(planned.task for planned in self.plan)

    @property
    def specs(self) -> tuple[EpisodeSpec, ...]:
        """The episodes of all shards, in the order of the plan."""
        return tuple(
            EpisodeSpec(planned.task.suite, planned.task.task_id, *episode)
            for planned in self.plan
            for episode in planned.episodes
        )

    @property
    def checkpoint_step(self) -> int | None:
        """The training step of the policy's checkpoint, None if its path is not one that LeRobot's training writes."""
        found = _OF_A_STEP.search(str(self.config.get("policy", {}).get("path", "")))
        return int(found[1]) if found else None

    @property
    def precision(self) -> Precision:
        """The way uncertainty is stated, and the width of an interval at which the plan ends early, if any."""
        return Precision.of(self.config.get("eval", {}))

    @property
    def success_key(self) -> str | None:
        """The key of info whose absence counts as a failure, None if there is none: ``--env.success_key``."""
        env = self.config.get("env", {})
        return env.get("success_key") if env.get("success_threshold") is None else None

    @property
    def may_mix(self) -> bool:
        """The user allowed results of another evaluation beside those of this one: ``--eval.allow_mismatch``."""
        return bool(self.config.get("eval", {}).get("allow_mismatch"))

    @property
    def unidentified(self) -> str:
        """The reason why another evaluation cannot be recognised as this one; "" if the fingerprint identifies it."""
        return str(self.fingerprint.get("unidentified", ""))

    def of_all_shards(self, **config: Any) -> Self:
        """Give the same evaluation without the choice of a shard; ``config`` replaces more fields of it."""
        whole = {**self.config.get("eval", {}), "shard_id": 0, "num_shards": 1}
        return replace(self, config={**self.config, "eval": whole, **config})


def _require_mappings(whose: str, fields: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ValueError if a field is present and is not a mapping, as in a file that was edited by hand."""
    for name in names:
        if not isinstance(fields.get(name, {}), Mapping):
            raise ValueError(f"{whose}.{name} is not a mapping")  # noqa: TRY004 - msgspec passes on a ValueError


def _require_each_once(plan: Sequence[PlannedTask]) -> None:
    """Raise ValueError if a plan has a task or an episode twice, whose result would be counted twice."""
    if len({planned.task.key for planned in plan}) < len(plan):
        raise ValueError("plan has a task twice")
    for planned in plan:
        if len({episode.episode_index for episode in planned.episodes}) < len(planned.episodes):
            raise ValueError(f"plan has an episode of {planned.task.suite}/{planned.task.task_id} twice")


def plan_by_task(tasks: Sequence[Task], specs: Sequence[EpisodeSpec]) -> tuple[PlannedTask, ...]:
    """Group ``specs`` by task, in the form that :class:`RunInfo` holds."""
    episodes: dict[TaskKey, list[PlannedEpisode]] = {task.key: [] for task in tasks}
    for spec in specs:
        episodes[spec.task].append(PlannedEpisode(spec.episode_index, spec.seed, spec.init_state_id))
    return tuple(PlannedTask(task, tuple(episodes[task.key])) for task in tasks)


def require_code(run: RunInfo, sides: Collection[str], command: str) -> None:
    """Refuse to continue a run if code of its ``env`` or its ``policy`` cannot be found from here.

    The message names the directory in which the code was, and nothing is imported from there: a run directory may come
    from somebody else, and naming a folder in it must not be enough to run the code in that folder.

    Raises:
        ConfigError: a module is not found; the message names it, where it was, and a ``command`` that finds it.
    """
    if run.config.get("env", {}).get("python"):
        sides = set(sides) - {"env"}  # the other interpreter has that code, or says that it does not
    names = {name for side in sides for name in run.fingerprint.get(CODE, {}).get(side, {})}
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
    """Give the command that continues the run in ``directory``, as the end of a sentence.

    A run whose configuration held a secret or a function is not continued by ``proctor resume``, because ``run.json``
    has neither; the command or the call has to be repeated.
    """
    where, policy = shlex.quote(str(directory)), run.config.get("policy")
    if isinstance(policy, Mapping) and "sha256" in policy:
        return f"the same call with output_dir={str(directory)!r}"
    if REDACTED in str(run.config):
        return f"the same command with --output_dir={where}"
    consent = f" {GIVE_CONSENT}" if uninstalled_code(run.config) else ""
    return f"proctor resume {where}{options}{consent}"
