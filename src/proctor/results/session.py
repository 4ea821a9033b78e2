"""One session of a run in its run directory: it agrees with what is there, excludes others, and writes results down.

A run directory is written by one run, or by several shards of one run side by side. All of them must be the same
evaluation, with the policy on the same kind of device. Each shard recognises the others by the files they wrote and by
the locks they hold. What an earlier session measured is known by the header of that session in the journal, also if
``run.json`` is lost.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from proctor.errors import FingerprintError, note
from proctor.results.fingerprint import check_fingerprint, not_recorded
from proctor.results.journal import EpisodeRecord, Journal
from proctor.results.journal_records import EpisodeKey
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RUN_FILE, WHOLE, RunDirectory, Shard
from proctor.results.run_index import unregister_run
from proctor.results.run_info import RunInfo

_Runs = Mapping[Shard, RunInfo]


class RunSession:
    """Opens the journal for ``run``; a context manager. Every journal of the directory is read once, when it is opened.

    ``journal`` is the writer of this session's results. ``n_workers`` workers will run its episodes, 0 if the number is
    not known. ``opens_policy`` is False for a policy that no process loads, so that its device is not compared.

    Raises:
        RunLockedError: another process writes this journal, or a run and a shard exclude each other.
        FingerprintError: the directory holds results of another evaluation, or of one that cannot be recognised.
        ResourceError: the files cannot be created.
    """

    def __init__(self, directory: RunDirectory, run: RunInfo, *, n_workers: int = 0, opens_policy: bool = True) -> None:
        self.directory, self._run, self._opens_policy = directory, run, opens_policy
        self._measured: set[Path] = set()
        self._existed, self._was_run, self._is_withdrawn = directory.path.exists(), directory.holds_run, False
        self.journal = directory.open_journal(run.fingerprint, n_workers, self._join)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        if self._is_withdrawn and not self._existed:
            with suppress(OSError):  # it holds something that is not this session's
                self.directory.path.rmdir()
                unregister_run(self.directory.path)

    def withdraw(self) -> None:
        """Remove the files of a run that was refused at its start, so that no run without a result is left behind.

        Files of an earlier session stay, and so do those of a shard, because they also belong to the other shards. The
        lock is held until the session ends, which also removes the directory if the session made it.
        """
        if self._was_run or self.journal.n_episodes or not self.directory.shard.is_whole:
            return
        self._is_withdrawn = True
        for file in self.directory.files_of_a_start():
            file.unlink(missing_ok=True)

    @cached_property
    def kept(self) -> dict[EpisodeKey, EpisodeRecord]:
        """The record that counts of each episode that was in the directory when the session began.

        Raises:
            MergeError: journals contradict each other.
        """
        return merge_journals(self.journal.found)

    @property
    def records(self) -> Mapping[EpisodeKey, EpisodeRecord]:
        """The record that counts of each episode by now; what this session measured was missing before, or an error."""
        return ChainMap(self.journal.appended, self.kept)

    def write_opened_policy(self, opened: Mapping[str, Any]) -> None:
        """Write down the fingerprint of the loaded policy: a run begun on a GPU must not continue on a CPU.

        Raises:
            FingerprintError: an earlier session, or another shard, opened the policy differently.
        """
        self._check_policy(opened)
        self.directory.write_run(replace(self._run, opened_policy=dict(opened)))
        # If two shards open the policy at the same time, at least one of them sees here what the other wrote.
        self._check_policy(opened)

    # ------------------------------------------------------------------------------- while the journal is being opened

    def _join(self, journals: Sequence[Journal]) -> None:
        """Compare the run with what the directory holds, and write the run down; the journal's lock is held."""
        measured = [journal for journal in journals if journal.measured]
        self._measured = {journal.path for journal in measured}
        runs = self.directory.read_runs()
        binding = self._binding(runs)
        headers = [header.fingerprint for journal in measured for header in journal.measured_by]
        recorded = [*(run.fingerprint for run in binding.values()), *headers]
        if measured or recorded:
            self._require_identified(recorded)
        for fingerprint in recorded:
            self._compare(fingerprint, self._run.fingerprint, runs.get(WHOLE))
        if measured:
            self._note_what_is_not_known(recorded, opened=any(run.opened_policy for run in binding.values()))
        self._write_run(binding)

    def _require_identified(self, recorded: Sequence[Mapping[str, Any]]) -> None:
        """Refuse to add to results that cannot be recognised as results of this evaluation."""
        reason = self._run.unidentified
        if not (reason or recorded):
            reason = f"neither its {RUN_FILE} nor the header of its journal can be read"
        if reason and not self._run.may_mix:
            raise FingerprintError(
                f"Whether the results in {self.directory.path} are this evaluation's is not known, because {reason}. "
                "Choose another --output_dir, or mix the two with --eval.allow_mismatch=true."
            )

    def _note_what_is_not_known(self, recorded: Sequence[Mapping[str, Any]], *, opened: bool) -> None:
        """Tell the user what an earlier version of Proctor did not write down, or what was lost."""
        now, where = self._run.fingerprint, self.directory.path
        if code := sorted({name for before in recorded for name in not_recorded(before, now)}):
            note(
                f"{where} was begun by an earlier version of Proctor, which did not record the code of "
                f"{', '.join(code)}: whether that has changed since is not known."
            )
        if self._opens_policy and not opened:
            note(f"{where} does not say on which kind of device its results were computed: that is not compared.")

    def _write_run(self, binding: _Runs) -> None:
        """Write ``run.json``, and the file of this shard beside it. The policy that was opened before stays in them."""
        shard, before = self.directory.shard, binding.get(WHOLE)
        if shard != WHOLE and (before is None or before.plan != self._run.plan):
            self.directory.whole.write_run(_with_policy_of(before, self._run.of_all_shards()))
        self.directory.write_run(_with_policy_of(binding.get(shard), self._run))

    # ------------------------------------------------------------------------------------------------------ comparison

    def _check_policy(self, opened: Mapping[str, Any]) -> None:
        runs = self.directory.read_runs()
        for run in self._binding(runs).values():
            if run.opened_policy is not None:
                self._compare(run.opened_policy, opened, runs.get(WHOLE))

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any], written: RunInfo | None) -> None:
        """Compare fingerprints; ``written`` is the ``run.json`` that names the checkpoint of the results."""
        config = {} if written is None else written.config
        paths = config.get("policy", {}).get("path"), self._run.config.get("policy", {}).get("path")
        check_fingerprint(before, now, allow_mismatch=self._run.may_mix, paths=paths)

    def _binding(self, runs: _Runs) -> _Runs:
        """Select the runs that measured something or are about to; a run that did neither binds no other."""
        return {shard: run for shard, run in runs.items() if self._binds(shard)}

    def _binds(self, shard: Shard) -> bool:
        if shard.is_whole:  # run.json is what all shards have in common
            return bool(self._measured)
        theirs = replace(self.directory, shard=shard)
        runs_now = shard != self.directory.shard and theirs.own_writer() is not None
        return runs_now or theirs.journal_file in self._measured


def _with_policy_of(before: RunInfo | None, run: RunInfo) -> RunInfo:
    return replace(run, opened_policy=before.opened_policy if before else None)
