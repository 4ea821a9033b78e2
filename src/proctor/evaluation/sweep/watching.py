"""Tells which checkpoints of trainings that go on are complete.

LeRobot's training moves the link ``checkpoints/last`` after it has written all files of a checkpoint, so a checkpoint
is complete once the link leads to it or to a later one. Without the link (another trainer, or the moment at which it is
replaced), a checkpoint is complete once no file of it has changed for some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from proctor.config import WatchConfig
from proctor.errors import ConfigError
from proctor.evaluation.sweep.sweep import Sweep
from proctor.evaluation.sweep.targets import LAST, Checkpoint, find_checkpoints

STABLE_S = 10.0
"""Seconds without a change after which a checkpoint counts as complete if there is no link ``last``."""

_POLL_S = 1.0
_TRIES = 2

Signature = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of the last change in nanoseconds of each file of a checkpoint."""


class Watcher:
    """Looks for complete checkpoints, each time it is asked.

    Args:
        targets: as for :func:`~proctor.evaluation.sweep.targets.find_checkpoints`; they need not exist yet.
        clock: seconds that only grow.
    """

    def __init__(self, targets: Sequence[str], clock: Callable[[], float] = monotonic) -> None:
        self._targets, self._clock = targets, clock
        self._seen: dict[str, tuple[Signature, float]] = {}

    def complete(self) -> dict[Checkpoint, Signature]:
        """Give the checkpoints that are complete now, by series and step, each with the state of its files."""
        found = {}
        for checkpoint in self._there():
            signature = signature_of(Path(checkpoint.path))
            if self._passed(checkpoint) or self._unchanged(checkpoint, signature):
                found[checkpoint] = signature
        return found

    def _there(self) -> list[Checkpoint]:
        existing = []
        for target in self._targets:
            with suppress(ConfigError):  # it has no checkpoint yet
                find_checkpoints([target])
                existing.append(target)
        return find_checkpoints(existing, named_by_series=len(self._targets) > 1) if existing else []

    def _passed(self, checkpoint: Checkpoint) -> bool:
        """Say whether the training's link leads to the checkpoint or to a later one."""
        last = Path(checkpoint.path).parent.parent / LAST
        with suppress(OSError):
            newest = last.readlink().name
            return newest.isdigit() and checkpoint.step is not None and int(newest) >= checkpoint.step
        return False

    def _unchanged(self, checkpoint: Checkpoint, signature: Signature) -> bool:
        """Say whether a checkpoint without a link beside it has not changed for a while."""
        if (Path(checkpoint.path).parent.parent / LAST).is_symlink():
            return False
        now = self._clock()
        before, since = self._seen.get(checkpoint.path, (None, now))
        if signature != before:
            since = now
        self._seen[checkpoint.path] = signature, since
        return bool(signature) and now - since >= STABLE_S


def signature_of(directory: Path) -> Signature:
    """Describe the files of a checkpoint; () if there are none, or the checkpoint is not a directory here."""
    return tuple(sorted(_files(directory)))


def _files(directory: Path) -> Iterator[tuple[str, int, int]]:
    with suppress(OSError):  # the training removes old checkpoints
        for path in directory.iterdir():
            status = path.stat()
            yield path.name, status.st_size, status.st_mtime_ns


class _Queue:
    """The checkpoints that are still to be evaluated."""

    def __init__(self, sweep: Sweep, watcher: Watcher) -> None:
        self._sweep, self._watcher = sweep, watcher
        self._tried: dict[str, list[Signature]] = {}

    def waiting(self) -> list[Checkpoint]:
        """List the complete checkpoints without a result; one that failed waits again once its files have changed, and
        once more with the same files.
        """
        by_name = {each.checkpoint.name: each for each in self._sweep.swept}
        return [
            checkpoint
            for checkpoint, signature in self._watcher.complete().items()
            if (swept := by_name.get(checkpoint.name)) is None
            or swept.status in {"waiting", "unfinished"}
            or (swept.status == "failed" and self._tried.get(checkpoint.name, []).count(signature) < _TRIES)
        ]

    def shortened(self) -> list[Checkpoint]:
        """List the checkpoints that were evaluated with fewer episodes, because others waited."""
        there = {checkpoint.name for checkpoint in self._watcher.complete()}
        return [
            each.checkpoint
            for each in self._sweep.swept
            if each.checkpoint.name in there and each.status == "done" and each.n_per_task < self._sweep.n_episodes
        ]

    def tried(self, checkpoint: Checkpoint) -> None:
        """Take note that a checkpoint is evaluated now, with the files that it has."""
        self._tried.setdefault(checkpoint.name, []).append(signature_of(Path(checkpoint.path)))


def watch_and_evaluate(sweep: Sweep, watcher: Watcher, options: WatchConfig, on_idle: Callable[[], None]) -> None:
    """Evaluate each checkpoint once it is complete, until a signal ends the sweep, or it was idle for long enough.

    Raises:
        Interrupted: a signal ended the sweep. What finished is on disk.
    """
    queue, idle_since = _Queue(sweep, watcher), monotonic()
    said = False
    while True:
        sweep.check_interrupted()
        if waiting := queue.waiting():
            checkpoint = waiting[-1] if options.newest_first else waiting[0]
            busy = len(waiting) > 1 and options.n_episodes_if_busy is not None
            fields = {"n_episodes": options.n_episodes_if_busy} if busy else {}
        elif shortened := queue.shortened():
            checkpoint, fields = shortened[-1], {}
        elif options.stop_after_idle_s is not None and monotonic() - idle_since >= options.stop_after_idle_s:
            return
        else:
            if not said:
                on_idle()
            said = True
            sleep(_POLL_S)
            continue
        said = False
        queue.tried(checkpoint)
        sweep.evaluate([checkpoint], **fields)
        idle_since = monotonic()
