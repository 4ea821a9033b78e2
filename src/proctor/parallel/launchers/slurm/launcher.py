"""Runs each shard in a job of a Slurm cluster.

Slurm starts a job when it has room for it, and may take it back: it preempts it, its node fails, or its time is up. A
job that Slurm puts back into its queue starts again by itself, and its shard with it. In every other case the driver
submits another job. A shard whose job waits for room costs nothing: the other shards run the episodes.

A job needs the same Python, Proctor and packages as the driver, which it checks before the shard starts, and it needs
the run directory, the checkpoint and this Python on file systems that it shares with the driver's machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec

from proctor.engine.load import Load
from proctor.parallel.launchers.base import Launcher
from proctor.parallel.launchers.requirements import NodeRequirements
from proctor.parallel.launchers.slurm.folder import FolderHub
from proctor.parallel.launchers.slurm.host import ShardTask
from proctor.parallel.launchers.slurm.hub import CLOSED, OPENED, Hub
from proctor.parallel.launchers.slurm.jobs import JobState, SlurmJobs, require_slurm
from proctor.parallel.launchers.slurm.network import NetworkHub
from proctor.parallel.launchers.slurm.options import SlurmOptions
from proctor.parallel.messages import (
    LAST_EVENTS,
    EpisodeDone,
    Event,
    NoMore,
    Order,
    ShardEnded,
    ShardLost,
    ShardRun,
    ShardStatus,
    Stop,
    decode_reports,
    encode,
)

_DEFAULTS = SlurmOptions()
_FOLDER = "slurm_jobs"
"""The folder in the run directory for the jobs' scripts, logs and pickles."""
_LOOK_S = 10.0
"""Seconds between two looks at the states of the jobs."""
_QUICK_LOOK_S = 1.0
"""The same while it matters what became of a job, because its connection is closed."""
_WAITING_STATUS_S = 5.0
"""Seconds between two status events for a shard whose job waits."""
_CLOSED_S = 60.0
"""Seconds that a job may go on after its connection is closed; then its shard counts as lost."""
_END_S = 5.0
"""Seconds in which jobs may end by themselves after their shards have ended; then they are cancelled."""
_CANCEL_S = 40.0
"""Seconds that Slurm may take to end what was cancelled; by default it kills a job after 30."""
_SUBMITTED = JobState("PENDING")
_TAKEN = ("CANCELLED", "PREEMPTED", "NODE_FAIL", "TIMEOUT", "BOOT_FAIL", "DEADLINE", "REVOKED")
"""The states of a job that was taken back, and that Slurm does not put into its queue again."""


@dataclass(slots=True)
class _ShardJob:
    """One start of a shard, from the submission of its job to its last event."""

    run: ShardRun
    job: str = ""
    """The job's id; "" before it is submitted. The shards of an allocation share one."""
    state: JobState = _SUBMITTED
    n_looks_over: int = 0
    """How often in succession Slurm said that the job is over, while nothing came from it."""
    opened_at: float | None = None
    """When the connection was opened, on the monotonic clock; None if there is none."""
    closed_at: float | None = None
    """When the connection was closed without a last event."""
    has_result: bool = False
    """An episode was done since the connection was opened."""
    last_event_at: float = field(default_factory=monotonic)

    def requeued(self) -> None:
        """The job is in the queue again, and what follows is a new start of the shard."""
        self.opened_at = self.closed_at = None
        self.has_result, self.n_looks_over = False, 0


class SlurmLauncher(Launcher):
    """Runs each shard in a job.

    Raises:
        MissingExtraError: submitit is not installed.
        ConfigError: Slurm's commands are missing, or this machine has no such address.
    """

    shares_machine = False

    def __init__(self, options: SlurmOptions = _DEFAULTS) -> None:
        require_slurm()
        self._options = options
        self._hub: Hub | None = NetworkHub(options.slurm_address) if options.slurm_connection == "network" else None
        self._jobs: SlurmJobs | None = None
        self._requirements: NodeRequirements | None = None
        self._shards: dict[int, _ShardJob] = {}
        self._ended: list[tuple[int, Event]] = []
        self._looked_at = 0.0

    def submit(self, run: ShardRun) -> None:
        """Have a job submitted with the next :meth:`poll`, unless Slurm starts the shard's job again by itself."""
        if run.shard_id not in self._shards:
            self._shards[run.shard_id] = _ShardJob(run)

    def send(self, shard_id: int, order: Order) -> None:
        if (shard := self._shards.get(shard_id)) is None:
            return
        if shard.opened_at is not None and self._hub is not None:
            self._hub.send(shard_id, encode(order))
        elif isinstance(order, NoMore | Stop):
            # The job may wait for room for ever, and its shard has no episode: the driver need not wait for it.
            self._forget(shard_id)
            self._ended.append((shard_id, ShardEnded()))

    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        events, self._ended = self._ended, []
        if waiting := [shard for shard in self._shards.values() if not shard.job]:
            self._submit(waiting)
        if self._jobs is None or self._hub is None:
            return events
        self._look(self._jobs)
        for shard_id, what in self._hub.poll(0 if events else timeout_s):
            if (shard := self._shards.get(shard_id)) is not None:
                events += [(shard_id, event) for event in self._happened(shard_id, shard, what)]
        for shard_id, shard in list(self._shards.items()):
            if (event := self._silently(shard_id, shard, self._jobs)) is not None:
                shard.last_event_at = monotonic()
                events.append((shard_id, event))
        return events

    def cancel(self, shard_id: int) -> None:
        if (shard := self._shards.get(shard_id)) is not None:
            self._forget(shard_id)
            # The job of an allocation goes on for its other shards; this one ends because its connection is closed.
            if self._jobs is not None and shard.job and shard.job not in {other.job for other in self._shards.values()}:
                self._jobs.cancel([shard.job])

    def close(self) -> None:
        unfinished = {shard.job for shard in self._shards.values()}
        for shard_id in list(self._shards):
            self._forget(shard_id)
        if self._jobs is not None:
            self._jobs.end(unfinished, _END_S, _CANCEL_S)
        if self._hub is not None:
            self._hub.close()
        if self._jobs is not None:
            self._jobs.clean()

    # --------------------------------------------------------------------------------------------------- from the jobs

    def _submit(self, waiting: list[_ShardJob]) -> None:
        """Submit jobs for shards that have none: the allocation, if that is asked for and they are all, or an array."""
        jobs, hub = self._prepared(waiting[0].run)
        if self._requirements is None:
            self._requirements = NodeRequirements.of(waiting[0].run.config)
        runs = tuple(encode(shard.run) for shard in waiting)
        addresses = tuple(hub.expect(shard.run.shard_id) for shard in waiting)
        requeues = self._options.slurm_requeue
        if self._options.slurm_mode == "allocation" and len(waiting) > 1:
            task = ShardTask(runs, addresses, self._requirements, requeues)
            ids = jobs.submit([task], n_ranks=len(runs)) * len(runs)
        else:
            pairs = zip(runs, addresses, strict=True)
            ids = jobs.submit([ShardTask((run,), (to,), self._requirements, requeues) for run, to in pairs])
        for shard, job in zip(waiting, ids, strict=True):
            shard.job = job

    def _prepared(self, run: ShardRun) -> tuple[SlurmJobs, Hub]:
        """Make the jobs' folder when the first run says which run directory it is in."""
        if self._jobs is None:
            folder = Path(str(run.config.output_dir)) / _FOLDER
            self._jobs = SlurmJobs(folder, self._options)
        if self._hub is None:
            self._hub = FolderHub(self._jobs.folder)
        return self._jobs, self._hub

    def _look(self, jobs: SlurmJobs) -> None:
        """Look at the states of the jobs now and then: more often while it matters what became of one."""
        is_closed = any(shard.closed_at is not None for shard in self._shards.values())
        if monotonic() - self._looked_at < (_QUICK_LOOK_S if is_closed else _LOOK_S):
            return
        states = jobs.look(shard.job for shard in self._shards.values())
        if states is None:
            return  # Slurm does not answer now, and what was known still holds
        self._looked_at = monotonic()
        for shard in self._shards.values():
            shard.state = states[shard.job]
            shard.n_looks_over = shard.n_looks_over + 1 if shard.state.over else 0

    def _happened(self, shard_id: int, shard: _ShardJob, what: bytes | str) -> Iterator[Event]:
        """Yield the events that follow from what has arrived."""
        shard.last_event_at, shard.n_looks_over = monotonic(), 0
        if what == OPENED:
            if shard.opened_at is not None or shard.closed_at is not None:
                shard.requeued()
                yield ShardLost(f"was started again with its Slurm job {shard.job}", taken=True, counted=False)
            shard.opened_at = monotonic()
        elif what == CLOSED:
            shard.opened_at, shard.closed_at = None, monotonic()
        elif isinstance(what, bytes):
            for event in _decoded(what):
                shard.has_result |= isinstance(event, EpisodeDone)
                if isinstance(event, LAST_EVENTS):
                    self._forget(shard_id)
                yield event

    def _silently(self, shard_id: int, shard: _ShardJob, jobs: SlurmJobs) -> Event | None:
        """Return the event that follows from the state of the job alone."""
        since = shard.closed_at or shard.opened_at
        if shard.state.waits and since is not None and self._looked_at > since:
            shard.requeued()
            reason = f"was put back into the queue with its Slurm job {shard.job}"
            return ShardLost(reason, taken=True, counted=False)
        if shard.state.over and (shard.closed_at is not None or shard.n_looks_over > 1):
            self._forget(shard_id)
            where = "" if since else f" before it had reached the driver ({self._hub}; see {jobs.log_of(shard.job)})"
            reason = f"ended with its Slurm job {shard.job} ({shard.state}){where}"
            taken = shard.state.name in _TAKEN
            return ShardLost(reason, taken, counted=not (taken and shard.has_result))
        if shard.closed_at is not None and monotonic() - shard.closed_at > _CLOSED_S:
            self.cancel(shard_id)
            return ShardLost("closed its connection")
        if since is None and shard.state.waits and monotonic() - shard.last_event_at > _WAITING_STATUS_S:
            return ShardStatus(Load(starting=1), measuring=False)
        return None

    def _forget(self, shard_id: int) -> None:
        """Close a shard's connection; no event of this start of it follows."""
        del self._shards[shard_id]
        if self._hub is not None:
            self._hub.drop(shard_id)


def _decoded(message: bytes) -> Sequence[Event]:
    try:
        return decode_reports(message)
    except msgspec.MsgspecError as error:
        return [ShardLost(f"sent a message that cannot be decoded: {error}")]
