"""A job's place in its run directory: what it must agree with there, whom it must not disturb, what it writes down.

One run may write to a directory, or several shards of it side by side. All must be the same evaluation, with the
policy on the same kind of device; each sees the others by what they wrote down and by the locks they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proctor.errors import RunLockedError
from proctor.job import Job
from proctor.results.journal import read_journals
from proctor.results.lock import holder_of
from proctor.results.run_dir import RUN_FILE, RunInfo, check_fingerprint, read_runs, write_run


class Claim:
    """Made before the job's journal is opened.

    Raises:
        FingerprintError: the directory holds results of another evaluation.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._measured = {journal.path.stem for journal in read_journals(job.directory) if journal.measured}
        for run in self._binding().values():
            self._check(run.fingerprint, job.run_info.fingerprint)

    def write_down(self) -> None:
        """Write ``run.json``, and what is this shard's own beside it; to be called with the journal locked.

        Raises:
            RunLockedError: what is being written there and what this job would write exclude each other.
        """
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

    def _check(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        check_fingerprint(before, now, allow_mismatch=self._job.config.eval.allow_mismatch)

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
