"""A run directory: the names of its files, and everything that is read from and written to it.

::

    run.json                 what is evaluated, for all shards together
    run_K_of_N.json          the same as shard K of N was started
    journal.jsonl            one line per finished episode; of a shard journal_K_of_N.jsonl
    journal.actions.bin      the executed actions that the journal's lines refer to
    journal.lock             held by the process that writes the journal
    eval_info.json           the results; of a shard shard_K_of_N.json
    ended.json               the reason why the last session ended early; of a shard ended_K_of_N.json
    audit.json               what the policy was given beside what it was trained on
    trace.json, trace-2.json what each worker did when, a file per session (--eval.trace)
    worker.log, shard_N.log  what simulators and shards printed
    videos/SUITE_TASK/…mp4   videos of episodes
    recording/               a LeRobotDataset of the episodes; recording.part while it is made

Other modules take these names from :class:`RunDirectory` and spell none of them.
"""

from __future__ import annotations

import hashlib
import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Self

import msgspec

from proctor.errors import ConfigError, ResourceError, RunLockedError
from proctor.machine.files import read_file
from proctor.results.files import remove_leftovers, unreadable, write_json
from proctor.results.journal import EpisodeRecord, Journal, collection_paused, read_journal
from proctor.results.journal_records import FORMAT_VERSION as JOURNAL_FORMAT_VERSION
from proctor.results.journal_records import Header, actions_file_of, key_of
from proctor.results.journal_writer import JournalWriter
from proctor.results.lock import FileLock, holder_of
from proctor.results.merge import merge_journals
from proctor.results.run_info import FORMAT_VERSION, RunInfo
from proctor.types import EpisodeResult, EpisodeSpec

RUN_FILE = "run.json"
"""A directory that holds a file of this name is a run directory."""
RESULT_FILE = "eval_info.json"
"""The name under which LeRobot's readers look for results."""
AUDIT_FILE = "audit.json"

_VIDEO_FOLDER = "videos"
_LONGEST_SLUG = 60
"""The number of characters of a name that a file name keeps; file systems take 255 bytes."""
_SHOWN_VIDEO = re.compile(r"eval_episode_\d+\.mp4")
_RUN_FILE_OF_SHARD = re.compile(r"run_(\d+)_of_(\d+)\.json")


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """Part ``id`` of the ``count`` parts into which a plan is divided; ``Shard()`` is the whole plan."""

    id: int = 0
    count: int = 1

    @property
    def is_whole(self) -> bool:
        """There is only one part."""
        return self.count == 1

    @property
    def suffix(self) -> str:
        """The end of the names of the shard's files: ``_0_of_2``, and "" for the whole plan."""
        return "" if self.is_whole else f"_{self.id}_of_{self.count}"


WHOLE = Shard()


class _End(msgspec.Struct):
    """The content of ``ended.json``."""

    reason: str


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The run directory at ``path``, as the process that runs ``shard`` of the plan uses it.

    The object holds no state: whatever it gives is read from the files at that moment. The directory need not exist.
    """

    path: Path
    shard: Shard = WHOLE

    @classmethod
    def create(cls, wanted: Path, shard: Shard = WHOLE) -> Self:
        """Make a new directory under the name ``wanted``, or under ``wanted_2``, ``wanted_3``, … if that exists.

        The operating system makes a directory only once, so that of two processes that start in the same second each
        gets its own.

        Raises:
            ResourceError: the directory cannot be made.
        """
        names = chain([wanted], (wanted.with_name(f"{wanted.name}_{number}") for number in count(2)))
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            return cls(next(filter(_make_new, names)), shard)
        except OSError as error:
            raise ResourceError(f"{wanted} cannot be made: {error.strerror or error}.") from error

    @property
    def whole(self) -> Self:
        """The directory without the choice of a shard."""
        return replace(self, shard=WHOLE)

    # --------------------------------------------------------------------------------------------------------- names

    @property
    def run_file(self) -> Path:
        """The file that holds the :class:`RunInfo`."""
        return self.path / f"run{self.shard.suffix}.json"

    @property
    def journal_file(self) -> Path:
        """The journal that this run or shard writes."""
        return self.path / f"journal{self.shard.suffix}.jsonl"

    @property
    def lock_file(self) -> Path:
        """The lock that the writer of :attr:`journal_file` holds."""
        return self.path / f"journal{self.shard.suffix}.lock"

    @property
    def eval_info_file(self) -> Path:
        """The results of this run or shard."""
        return self.path / (RESULT_FILE if self.shard.is_whole else f"shard{self.shard.suffix}.json")

    @property
    def end_file(self) -> Path:
        """The reason why the last session of this run or shard ended early; there is no such file if it did not."""
        return self.path / f"ended{self.shard.suffix}.json"

    @property
    def audit_file(self) -> Path:
        """The audit of what the policy was given, by the whole run."""
        return self.path / AUDIT_FILE

    @property
    def worker_log(self) -> Path:
        """The file that receives what simulators and libraries print."""
        return self.path / "worker.log"

    def shard_log(self, number: int) -> Path:
        """The file that receives what shard ``number`` of ``proctor parallel`` prints."""
        return self.path / f"shard_{number}.log"

    def new_trace_file(self) -> Path:
        """The first trace file name that is not in use: each session writes a trace of its own."""
        stem = f"trace{self.shard.suffix}"
        names = chain([stem], (f"{stem}-{session}" for session in count(2)))
        return next(path for name in names if not os.path.lexists(path := self.path / f"{name}.json"))

    @property
    def videos(self) -> Path:
        """The folder of all videos."""
        return self.path / _VIDEO_FOLDER

    def video_file(self, spec: EpisodeSpec, variant: str = "") -> Path:
        """The video of an episode, whether it exists or not; see :func:`video_name`."""
        return self.path / video_name(spec, variant)

    @property
    def recording(self) -> Path:
        """The folder of the dataset that is recorded of the run, unless the user chooses another one."""
        return self.path / "recording"

    # ------------------------------------------------------------------------------------------------------- reading

    @property
    def holds_run(self) -> bool:
        """The directory has a ``run.json``.

        Raises:
            ConfigError: that cannot be seen.
        """
        try:
            return self.whole.run_file.exists()
        except OSError as error:
            raise unreadable(self.whole.run_file, error) from error

    def read_run(self) -> RunInfo | None:
        """Read what is evaluated here, by the whole run or by this shard; None if there is no such file.

        Raises:
            ConfigError: the file is damaged or cannot be read, or a newer version of Proctor wrote it.
        """
        try:
            content = read_file(self.run_file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(self.run_file, error) from error
        return _decode_run(self.run_file, content)

    def require_run(self) -> RunInfo:
        """Read ``run.json``.

        Raises:
            ConfigError: there is none; or see :meth:`read_run`.
        """
        if (run := self.whole.read_run()) is None:
            raise ConfigError(f"{self.path} is not a run directory: it has no {RUN_FILE}.")
        return run

    def read_runs(self) -> dict[Shard, RunInfo]:
        """Read ``run.json`` and the file of every shard, in the order of shards; the whole run first.

        Raises:
            ConfigError: see :meth:`read_run`.
        """
        shards = [WHOLE, *sorted(map(_shard_of, self.run_files_of_shards()))]
        return {shard: run for shard in shards if (run := replace(self, shard=shard).read_run()) is not None}

    def run_files_of_shards(self) -> list[Path]:
        """Every ``run_K_of_N.json`` that exists."""
        return [path for path in sorted(self.path.glob("run_*.json")) if _RUN_FILE_OF_SHARD.fullmatch(path.name)]

    def journal_files(self) -> list[Path]:
        """Every journal: that of a whole run, those of shards, and those that a merge copied here under new names."""
        return sorted(self.path.glob("journal*.jsonl"))

    @collection_paused()
    def read_journals(self) -> list[Journal]:
        """Read every journal from its beginning to its end.

        Raises:
            ConfigError: a newer version of Proctor wrote one of them.
        """
        return [read_journal(path) for path in self.journal_files()]

    def records_of(self, results: Iterable[EpisodeResult]) -> list[EpisodeRecord]:
        """Find the record that counts of each episode with one of ``results``.

        Raises:
            ConfigError: a newer version of Proctor wrote one of the journals.
            MergeError: journals contradict each other.
        """
        records = merge_journals(self.read_journals())
        return [records[key_of(result.spec)] for result in results]

    def existing_videos(self, specs: Iterable[EpisodeSpec]) -> dict[EpisodeSpec, str]:
        """Find the videos of ``specs``: file names relative to the run directory, for those episodes that have one."""
        found = {path.relative_to(self.path).as_posix() for path in self.video_files()}
        return {spec: name for spec in specs if (name := video_name(spec)) in found} if found else {}

    def video_files(self) -> Iterator[Path]:
        """Every video that exists and that reports show, so no variant of one, and no link out of the directory, whose
        target would become part of a page or of a merged run.
        """
        found = (path for path in self.videos.glob("*/*.mp4") if _SHOWN_VIDEO.fullmatch(path.name))
        return (path for path in found if path.is_file() and not (path.is_symlink() and self._leads_out(path)))

    def _leads_out(self, path: Path) -> bool:
        return not path.resolve().is_relative_to(self.path.resolve())

    def shown_files(self) -> Iterator[Path]:
        """Every file by which a page about the run may change: results, videos, and locks, which show a writer."""
        yield self.whole.run_file
        for pattern in (RESULT_FILE, AUDIT_FILE, "shard_*.json", "ended*.json", "journal*.jsonl", "journal*.lock"):
            yield from sorted(self.path.glob(pattern))
        yield from sorted(self.video_files())

    def files_of_a_start(self) -> Iterator[Path]:
        """Every file that a whole run writes before its first result; not the lock."""
        yield from (self.run_file, self.journal_file, actions_file_of(self.journal_file), self.worker_log)
        for pattern in ("shard_*.log", "trace*.json"):
            yield from self.path.glob(pattern)

    # -------------------------------------------------------------------------------------------------------- status

    def writer(self) -> str | None:
        """Describe the process that writes any journal of the directory; None if there is none."""
        return next(filter(None, map(holder_of, sorted(self.path.glob("journal*.lock")))), None)

    def read_end(self) -> str:
        """Read why the last session ended early, of shards that of the first of them; "" if that is not recorded."""
        for path in sorted(self.path.glob("ended*.json")):
            with suppress(OSError, msgspec.MsgspecError):
                return msgspec.json.decode(read_file(path), type=_End).reason
        return ""

    def journals_being_written(self) -> list[Path]:
        """Every journal that a process writes."""
        locks = [path for path in sorted(self.path.glob("journal*.lock")) if holder_of(path) is not None]
        return [path.with_suffix(".jsonl") for path in locks]

    @property
    def has_lost_writer(self) -> bool:
        """A process that wrote a journal did not release its lock: it was killed, or its machine failed."""
        return any(holder_of(path) is None for path in self.path.glob("journal*.lock"))

    def own_writer(self) -> str | None:
        """Describe the process that writes the journal of this run or shard; None if there is none."""
        return holder_of(self.lock_file)

    def _refuse_excluded_writer(self) -> None:
        """A whole run has the directory to itself; a shard shares it with other shards."""
        excluded = self.path.glob("journal_*.lock") if self.shard.is_whole else [self.whole.lock_file]
        if (writer := next(filter(None, map(holder_of, excluded)), None)) is not None:
            raise RunLockedError(
                f"{self.path} is being written to by {writer}: wait for it, stop it, or choose another --output_dir."
            )

    # ------------------------------------------------------------------------------------------------------- writing

    def write_run(self, run: RunInfo) -> None:
        """Write what is evaluated, by the whole run or by this shard.

        Raises:
            ResourceError: the file cannot be written.
        """
        write_json(self.run_file, run)

    @contextmanager
    def recording_end(self, redacted: Callable[[str], str] = str) -> Iterator[None]:
        """Write the reason into :attr:`end_file` if the block fails; the error passes unchanged.

        ``redacted`` removes secrets from the reason. The file of an earlier session is removed. If the disk does not
        take the file, there is none.
        """
        self.end_file.unlink(missing_ok=True)
        try:
            yield
        except BaseException as error:
            with suppress(ResourceError):
                if self.run_file.exists():  # else the run was withdrawn
                    write_json(self.end_file, {"reason": redacted(str(error) or type(error).__name__)})
            raise

    def write_eval_info(self, info: Mapping[str, Any]) -> Path:
        """Write the results (:func:`~proctor.results.eval_info.stream_eval_info`), atomically; gives their file.

        Raises:
            ResourceError: the file cannot be written.
        """
        write_json(self.eval_info_file, info)
        return self.eval_info_file

    def open_journal(
        self,
        fingerprint: Mapping[str, Any],
        n_workers: int = 0,
        check: Callable[[Sequence[Journal]], None] = lambda _: None,
    ) -> JournalWriter:
        """Lock the journal of this run or shard, read every journal of the directory once, and begin a session.

        ``check`` is called with the journals while the lock is held and before the journal is written to; an error that
        it raises ends the call. The writer holds the lock until it is closed. ``n_workers`` workers will run the
        session's episodes; 0 if the number is not known.

        Raises:
            RunLockedError: another process writes this journal, or a whole run and a shard exclude each other; names
                that process.
            ResourceError: the files cannot be created.
            ConfigError: a newer version of Proctor wrote one of the journals.
        """
        lock = FileLock(self.lock_file)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            self._refuse_excluded_writer()
            remove_leftovers(self.run_file, self.eval_info_file)
            journals = self.read_journals()
            check(journals)
            header = Header(JOURNAL_FORMAT_VERSION, dict(fingerprint), n_workers)
            return JournalWriter(self.journal_file, header, journals, lock)
        except OSError as error:
            lock.release()
            raise ResourceError(f"{self.path} cannot be written to: {error.strerror}.") from error
        except BaseException:
            lock.release()
            raise


def video_name(spec: EpisodeSpec, variant: str = "") -> str:
    """Name the video of an episode, relative to the run directory.

    A ``variant`` of the video that reports show, such as another camera's, has a file of its own beside it.
    """
    suite, kind = slug_of(spec.suite), slug_of(variant)
    name = f"eval_episode_{spec.episode_index}{kind and '-'}{kind}.mp4"
    return f"{_VIDEO_FOLDER}/{suite}_{spec.task_id}/{name}"


def slug_of(name: str) -> str:
    """Turn a name into a part of a file name as LeRobot does, and add a digest if another name would give the same."""
    slug = re.sub(r"[^\w.-]+", "_", name)[:_LONGEST_SLUG]
    return slug if slug == name else f"{slug}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _make_new(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def _shard_of(run_file: Path) -> Shard:
    match = _RUN_FILE_OF_SHARD.fullmatch(run_file.name)
    assert match is not None
    return Shard(int(match[1]), int(match[2]))


def _decode_run(path: Path, content: bytes) -> RunInfo:
    try:
        run = msgspec.json.decode(content, type=RunInfo)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); choose another --output_dir.") from None
    if run.format_version > FORMAT_VERSION:
        raise ConfigError(f"{path} has format version {run.format_version}: update Proctor to read it.")
    return run
