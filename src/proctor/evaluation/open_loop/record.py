"""The directory of an evaluation in open loop.

``open_loop_run.json`` says what is evaluated, ``episodes/`` holds a file for each finished episode, and a lock keeps
other processes away. An episode's file appears only once it is whole, so that the process may be killed at any time:
what is left to do are the selected episodes without a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from proctor.errors import ConfigError, FingerprintError
from proctor.evaluation.open_loop.predictions import Predictions
from proctor.machine.files import read_file
from proctor.results.files import write_json
from proctor.results.fingerprint import differing
from proctor.results.lock import FileLock

RUN_FILE = "open_loop_run.json"
_EPISODES, _LOCK, LOG = "episodes", ".open_loop.lock", "open_loop.log"


@dataclass(frozen=True)
class OpenLoopRun:
    """An evaluation in open loop before it runs: the user's options, what results depend on, where and when it began.

    ``unidentified`` is the reason why another evaluation cannot be recognised as this one; "" if ``fingerprint``
    identifies it. ``opened_policy`` is the policy's own fingerprint once it was loaded, with its device.
    """

    config: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    unidentified: str
    command: tuple[str, ...]
    provenance: Mapping[str, Any]
    opened_policy: Mapping[str, Any] | None = None


class OpenLoopDirectory:
    """The directory of an evaluation; a context manager that holds its lock.

    Raises:
        RunLockedError: another process writes to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / _EPISODES).mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / _LOCK)

    def __enter__(self) -> Self:
        self._lock.acquire()
        for leftover in (self.path / _EPISODES).glob(".*.tmp"):  # of a process that was killed
            leftover.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def begin(self, run: OpenLoopRun) -> None:
        """Write down what is evaluated, or compare it with what was begun here.

        Raises:
            FingerprintError: the directory holds results of another evaluation, or of one that cannot be recognised.
        """
        file = self.path / RUN_FILE
        if self._holds_results:
            _require_same(self.path, _read(file), run)
        elif not file.exists() or _read(file).fingerprint != run.fingerprint:
            write_json(file, msgspec.to_builtins(run))

    def opened(self, policy: Mapping[str, Any]) -> None:
        """Write down the fingerprint of the loaded policy: what was begun on a GPU must not continue on a CPU.

        Raises:
            FingerprintError: the results here are of a policy that was loaded differently.
        """
        begun = self.begun
        if begun.opened_policy is not None and self._holds_results:
            _require_equal(self.path, begun.opened_policy, policy)
        else:
            write_json(self.path / RUN_FILE, msgspec.to_builtins(replace(begun, opened_policy=policy)))

    @property
    def _holds_results(self) -> bool:
        return any((self.path / _EPISODES).glob("*.npz"))

    @property
    def begun(self) -> OpenLoopRun:
        """The evaluation that was begun here."""
        return _read(self.path / RUN_FILE)

    def file_of(self, episode: int) -> Path:
        """Name the file of an episode, whether it exists or not."""
        return self.path / _EPISODES / f"episode_{episode:06d}.npz"

    def finished(self, episodes: Iterable[int]) -> Iterator[tuple[int, Predictions]]:
        """Read episodes that are finished, one after another.

        Raises:
            ConfigError: a file is damaged.
        """
        return ((episode, Predictions.read(self.file_of(episode))) for episode in episodes)


def _read(file: Path) -> OpenLoopRun:
    try:
        return msgspec.json.decode(read_file(file), type=OpenLoopRun)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is damaged ({error}); choose another --output_dir.") from None


def _require_same(path: Path, begun: OpenLoopRun, run: OpenLoopRun) -> None:
    if run.unidentified:
        raise FingerprintError(
            f"{path} holds results, and nothing can be added to them: the policy is or holds {run.unidentified}; "
            "choose another --output_dir."
        )
    _require_equal(path, begun.fingerprint, run.fingerprint)


def _require_equal(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if found := differing(begun, now):
        changes = "; ".join(f"{name}: was {before}, now {after}" for name, (before, after) in found.items())
        raise FingerprintError(
            f"{path} holds results of another evaluation ({changes}); choose another --output_dir, or remove it."
        )
