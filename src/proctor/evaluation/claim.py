"""A job's place in its run directory: what it must agree with there, whom it must not disturb, what it writes down.

One run may write to a directory, or several shards of it side by side. All must be the same evaluation, with the
policy on the same kind of device; each sees the others by what they wrote down and by the locks they hold. What an
earlier session measured is known by the header of its session in the journal, also where ``run.json`` is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from proctor.errors import FingerprintError, ResourceError, RunLockedError, note
from proctor.evaluation.prepared_run import PreparedRun
from proctor.policies.base import LocalPolicy
from proctor.results.journal import Journal, read_journals
from proctor.results.lock import holder_of
from proctor.results.run_dir import RUN_FILE, RunInfo, check_fingerprint, not_recorded, read_runs, write_run


@contextmanager
def in_own_directory(job: PreparedRun) -> Iterator[PreparedRun]:
    """The job in the run directory that the user gave, or else in a new one that nobody else has.

    The new one is made at once, under the next free name: of two jobs that begin in the same second, in threads or
    processes, each has its own. If nothing has been written to it in the end, it is removed again.

    Raises:
        ResourceError: it cannot be made.
    """
    if job.config.output_dir:
        yield job
        return
    try:
        directory = _new_directory(job.directory)
    except OSError as error:
        raise ResourceError(f"{job.directory} cannot be made: {error.strerror or error}.") from error
    try:
        yield replace(job, directory=directory)
    finally:
        with suppress(OSError):  # there is something in it
            directory.rmdir()


def _new_directory(wanted: Path) -> Path:
    wanted.parent.mkdir(parents=True, exist_ok=True)
    directory = wanted
    for number in count(2):
        try:
            directory.mkdir()
        except FileExistsError:
            directory = wanted.with_name(f"{wanted.name}_{number}")
        else:
            break
    return directory


class Claim:
    """Made before the job's journal is opened.

    Raises:
        FingerprintError: the directory holds results of another evaluation, or of one that cannot be recognised.
    """

    def __init__(self, job: PreparedRun) -> None:
        self._job = job
        journals = [journal for journal in read_journals(job.directory) if journal.measured]
        self._measured = {journal.path.stem for journal in journals}
        binding = self._binding().values()
        recorded = self._require_same(journals, [run.fingerprint for run in binding])
        if journals:
            self._say_what_is_not_known(recorded, opened=any(run.opened_policy for run in binding))

    def write_down(self, journal: Journal | None = None) -> None:
        """Write ``run.json``, and what is this shard's own beside it; to be called with the journal locked.

        ``journal`` is what it held then: another run may have come and gone since this one looked.

        Raises:
            FingerprintError: see the class.
            RunLockedError: what is being written there and what this job would write exclude each other.
        """
        if journal is not None and journal.measured:
            self._require_same([journal], [])
        self._refuse_company()
        job, before = self._job, self._binding()
        if job.run_file != RUN_FILE:
            self._write_whole(before.get(RUN_FILE))
        ours = before.get(job.run_file)
        write_run(
            job.directory, replace(job.run_info, opened_policy=ours.opened_policy if ours else None), job.run_file
        )

    def write_down_policy(self, opened: Mapping[str, Any]) -> None:
        """Write down which policy was opened: a run begun on a GPU must not go on on a CPU.

        Raises:
            FingerprintError: an earlier session, or another shard, opened it differently.
        """
        self._check_policy(opened)
        write_run(self._job.directory, replace(self._job.run_info, opened_policy=dict(opened)), self._job.run_file)
        self._check_policy(opened)  # of two shards that open it at the same time, one at least sees the other's

    def _write_whole(self, before: RunInfo | None) -> None:
        whole = self._job.whole_run_info
        if before is None or before.plan != whole.plan:
            write_run(self._job.directory, replace(whole, opened_policy=before.opened_policy if before else None))

    def _check_policy(self, opened: Mapping[str, Any]) -> None:
        for run in self._binding().values():
            if run.opened_policy is not None:
                self._check(run.opened_policy, opened)

    def _require_same(
        self, journals: Sequence[Journal], recorded: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """Compare the job with what journals and ``run.json`` record; gives all fingerprints that they hold."""
        recorded = [*recorded, *(header.fingerprint for journal in journals for header in journal.measured_by)]
        if recorded or journals:
            self._require_known(recorded)
        for fingerprint in recorded:
            self._check(fingerprint, self._job.run_info.fingerprint)
        return recorded

    def _check(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        check_fingerprint(before, now, allow_mismatch=self._allows_mismatch, paths=self._paths)

    @property
    def _allows_mismatch(self) -> bool:
        return self._job.config.eval.allow_mismatch

    @property
    def _paths(self) -> tuple[str | None, str | None]:
        """Where the checkpoint was that ``run.json`` names, and where the job's is."""
        before = read_runs(self._job.directory).get(RUN_FILE)
        asked = {} if before is None else before.config.get("policy", {})
        return asked.get("path"), self._job.config.policy.get("path")

    def _require_known(self, recorded: Sequence[Mapping[str, Any]]) -> None:
        """Refuse to add to results if nobody can tell that they are this evaluation's."""
        reason = self._job.unidentified
        if not (reason or recorded):
            reason = "neither its run.json nor the header of its journal can be read"
        if reason and not self._allows_mismatch:
            raise FingerprintError(
                f"Whether the results in {self._job.directory} are this evaluation's is not known, because {reason}. "
                "Choose another --output_dir, or mix the two with --eval.allow_mismatch=true."
            )

    def _say_what_is_not_known(self, recorded: Sequence[Mapping[str, Any]], *, opened: bool) -> None:
        """A sentence for each thing that an earlier version of Proctor did not write down, or that was lost."""
        now, where = self._job.run_info.fingerprint, self._job.directory
        if code := sorted({name for before in recorded for name in not_recorded(before, now)}):
            note(
                f"{where} was begun by an earlier version of Proctor, which did not record the code of "
                f"{', '.join(code)}: whether that has changed since is not known."
            )
        if not (opened or isinstance(self._job.policy, LocalPolicy)):
            note(f"{where} does not say on which kind of device its results were computed: that is not compared.")

    def _binding(self) -> dict[str, RunInfo]:
        """What the directory says of runs that measured something, or are about to: nothing else binds."""
        runs = read_runs(self._job.directory)
        return {name: run for name, run in runs.items() if self._binds(name.removesuffix(".json"))}

    def _binds(self, run: str) -> bool:
        journal = run.replace("run", "journal", 1)
        if journal == "journal":  # speaks for all shards
            return bool(self._measured)
        others = journal != self._job.journal_stem
        return journal in self._measured or (others and self._holder(journal) is not None)

    def _refuse_company(self) -> None:
        """A whole run has the directory to itself; a shard shares it with others."""
        for journal in self._excluded():
            if (holder := self._holder(journal)) is not None:
                raise RunLockedError(
                    f"{self._job.directory} is being written to by {holder}: "
                    "wait for it, stop it, or choose another --output_dir."
                )

    def _excluded(self) -> Iterator[str]:
        if self._job.journal_stem != "journal":
            yield "journal"
        else:
            yield from (path.stem for path in self._job.directory.glob("journal_*.lock"))

    def _holder(self, journal: str) -> str | None:
        lock: Path = self._job.directory / f"{journal}.lock"
        return holder_of(lock)
