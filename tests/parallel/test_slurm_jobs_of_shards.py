"""What the launcher makes of what its channel and Slurm tell about a shard's job. Nothing is started."""

from __future__ import annotations

from time import monotonic

import pytest

from proctor.config import RunConfig
from proctor.engine.load import Load
from proctor.errors import PackedError
from proctor.parallel.launchers.slurm import launcher as launcher_module
from proctor.parallel.launchers.slurm.hub import CLOSED, OPENED
from proctor.parallel.launchers.slurm.jobs import JobState
from proctor.parallel.launchers.slurm.launcher import SlurmLauncher
from proctor.parallel.launchers.slurm.options import SlurmOptions
from proctor.parallel.messages import (
    EpisodeDone,
    NoMore,
    ShardEnded,
    ShardFailed,
    ShardLost,
    ShardReady,
    ShardRun,
    ShardStatus,
    encode_reports,
)
from proctor.types import EpisodeResult, EpisodeSpec, Outcome

DONE = EpisodeDone(EpisodeResult(EpisodeSpec("fake", 0, 0, 1000), Outcome.ERROR), None)
READY = ShardReady(2)


class Jobs:
    """Slurm as a script: ``states`` are the present states of the jobs."""

    def __init__(self):
        self.submitted, self.cancelled, self.states, self.ended = [], [], {}, []

    def submit(self, tasks, n_ranks=1):
        number = len(self.submitted) + 1
        ids = [f"{number}_{task}" for task in range(len(tasks))] if len(tasks) > 1 else [str(number)]
        self.submitted.append((len(tasks), n_ranks))
        self.states.update(dict.fromkeys(ids, "PENDING"))
        return ids

    def look(self, ids):
        return {job: JobState(self.states[job]) for job in ids} if self.states else None

    def cancel(self, ids):
        self.cancelled += ids

    def end(self, unfinished, grace_s, limit_s):
        self.ended.append(unfinished)

    def log_of(self, job):
        return f"{job}.err"

    def clean(self):
        pass


class Hub:
    """Channels as a script: ``happenings`` is what the next poll reports."""

    def __init__(self):
        self.happenings, self.sent, self.dropped = [], [], []

    def expect(self, shard_id):
        return f"address {shard_id}"

    def poll(self, timeout_s):
        now, self.happenings = self.happenings, []
        return now

    def send(self, shard_id, message):
        self.sent.append(shard_id)

    def drop(self, shard_id):
        self.dropped.append(shard_id)

    def close(self):
        pass

    def __str__(self):
        return "here"


class Clock:
    def __init__(self):
        self.now = monotonic()

    def __call__(self):
        return self.now


class Scripted:
    """A launcher of two shards, whose jobs are submitted; ``happens`` lets time pass and returns the events."""

    def __init__(self, monkeypatch, tmp_path, **options):
        self.jobs, self.hub, self.clock = Jobs(), Hub(), Clock()
        monkeypatch.setattr(launcher_module, "require_slurm", lambda: None)
        monkeypatch.setattr(launcher_module, "NetworkHub", lambda host: self.hub)
        monkeypatch.setattr(launcher_module, "SlurmJobs", lambda folder, options: self.jobs)
        monkeypatch.setattr(launcher_module.NodeRequirements, "of", lambda config: None)
        monkeypatch.setattr(launcher_module, "monotonic", self.clock)
        self.launcher = SlurmLauncher(SlurmOptions(**options))
        self.runs = [ShardRun(k, RunConfig(output_dir=str(tmp_path)), {}, None, [], "log", 2) for k in range(2)]
        for run in self.runs:
            self.launcher.submit(run)
        self.happens()

    def happens(self, *happenings, seconds=11.0, **states):
        self.clock.now += seconds
        self.hub.happenings = [(0, encode_reports(what) if not isinstance(what, str) else what) for what in happenings]
        self.jobs.states.update({job.replace("job", ""): state for job, state in states.items()})
        return [event for shard_id, event in self.launcher.poll(0) if shard_id == 0]


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    return Scripted(monkeypatch, tmp_path)


def test_the_shards_that_start_together_are_one_array(scripted):
    """One that is lost later gets a job of its own."""
    assert scripted.jobs.submitted == [(2, 1)]
    scripted.happens(OPENED, ShardFailed(PackedError("ResourceError", "no room", "", 4)), job1_0="RUNNING")
    scripted.launcher.submit(scripted.runs[0])
    scripted.happens()

    assert scripted.jobs.submitted == [(2, 1), (1, 1)]


def test_an_allocation_is_one_job_with_a_rank_for_each_shard(monkeypatch, tmp_path):
    """Cancelling one of its shards does not cancel the job, on which the other one depends."""
    scripted = Scripted(monkeypatch, tmp_path, slurm_mode="allocation")
    assert scripted.jobs.submitted == [(1, 2)]

    scripted.launcher.cancel(0)
    assert scripted.jobs.cancelled == []
    assert scripted.hub.dropped == [0]
    scripted.launcher.cancel(1)
    assert scripted.jobs.cancelled == ["1"]


def test_a_shard_whose_job_waits_gives_signs_of_life_and_ends_at_once(scripted):
    """However long the queue is, the shard does not count as silent; and nobody waits for it at the end."""
    assert scripted.happens() == [ShardStatus(Load(starting=1), measuring=False)]
    scripted.launcher.send(0, NoMore())

    assert scripted.happens(seconds=0) == [ShardEnded()]
    assert scripted.hub.sent == []


def test_a_job_that_runs_and_does_not_connect_gives_no_signs_of_life(scripted):
    """So that the driver's patience with it ends."""
    assert scripted.happens(job1_0="RUNNING") == []


def test_reports_are_passed_on_and_orders_sent_while_the_channel_is_open(scripted):
    """After the last report nothing more happens."""
    assert scripted.happens(OPENED, READY, DONE, job1_0="RUNNING") == [READY, DONE]
    scripted.launcher.send(0, NoMore())
    assert scripted.hub.sent == [0]
    assert scripted.happens(ShardEnded(), CLOSED) == [ShardEnded()]
    assert scripted.happens(job1_0="COMPLETED") == []
    assert scripted.jobs.cancelled == []


@pytest.mark.parametrize("noticed", ["at the end of the channel", "in the queue alone", "when it connects again"])
def test_a_requeued_job_is_waited_for_and_neither_attempt_nor_restart_is_counted(scripted, noticed):
    """Whatever shows it first; no other job is submitted, and orders go to the new channel."""
    scripted.happens(OPENED, READY, DONE, job1_0="RUNNING")
    if noticed == "at the end of the channel":
        assert scripted.happens(CLOSED, job1_0="COMPLETING") == []
        (lost,) = scripted.happens(job1_0="PENDING")
    elif noticed == "in the queue alone":
        (lost,) = scripted.happens(job1_0="PENDING")
    else:
        (lost,) = scripted.happens(OPENED)
    assert (lost.taken, lost.counted) == (True, False)
    scripted.launcher.submit(scripted.runs[0])
    later = () if noticed == "when it connects again" else (OPENED,)

    assert scripted.happens(*later, READY, job1_0="RUNNING") == [READY]
    assert scripted.jobs.submitted == [(2, 1)]


@pytest.mark.parametrize(
    ("state", "result", "taken", "counted"),
    [
        ("TIMEOUT", DONE, True, False),
        ("TIMEOUT", None, True, True),
        ("CANCELLED", DONE, True, False),
        ("CANCELLED", None, True, True),
        ("NODE_FAIL", DONE, True, False),
        ("FAILED", DONE, False, True),
        ("OUT_OF_MEMORY", DONE, False, True),
    ],
)
def test_what_became_of_a_job_says_whether_its_end_is_counted(scripted, state, result, taken, counted):
    """A crash may be the fault of the episode. A job that was taken back is not, unless it never does anything."""
    scripted.happens(OPENED, READY, *([result] if result else []), job1_0="RUNNING")
    assert scripted.happens(CLOSED) == []

    (lost,) = scripted.happens(job1_0=state)

    assert lost == ShardLost(f"ended with its Slurm job 1_0 ({state})", taken, counted)


def test_the_end_of_a_job_is_believed_at_the_second_look_if_its_channel_is_open(scripted):
    """Its last messages may still be on their way."""
    scripted.happens(OPENED, READY, job1_0="RUNNING")
    assert scripted.happens(job1_0="NODE_FAIL") == []

    assert [type(event) for event in scripted.happens()] == [ShardLost]


def test_a_job_that_never_reached_the_driver_is_lost_with_the_place_of_its_log(scripted):
    """That is where the reason is: a wrong address, a Python that is not there."""
    assert scripted.happens(job1_0="FAILED") == []

    (lost,) = scripted.happens()

    assert lost.reason == "ended with its Slurm job 1_0 (FAILED) before it had reached the driver (here; see 1_0.err)"


def test_a_job_that_goes_on_without_its_channel_is_cancelled_after_a_while(scripted):
    """A node may have lost its network."""
    scripted.happens(OPENED, READY, job1_0="RUNNING")
    scripted.happens(CLOSED)
    assert scripted.happens(seconds=30) == []

    assert scripted.happens(seconds=40) == [ShardLost("closed its connection")]
    assert scripted.jobs.cancelled == ["1_0"]


def test_a_message_that_cannot_be_decoded_loses_the_shard(scripted):
    """Only a shard of another version sends one."""
    scripted.happens(OPENED, READY, job1_0="RUNNING")
    scripted.hub.happenings = [(0, b"not a report")]

    ((_, lost),) = scripted.launcher.poll(0)

    assert lost.reason.startswith("sent a message that cannot be decoded")
    assert scripted.hub.dropped == [0]


def test_while_slurm_does_not_answer_what_was_known_still_holds(scripted):
    """No shard is lost because a controller restarts."""
    scripted.happens(OPENED, READY, job1_0="RUNNING")
    scripted.jobs.states = {}

    assert scripted.happens(CLOSED) == []
    assert scripted.happens(DONE) == [DONE]


def test_the_jobs_of_shards_that_have_not_ended_are_cancelled_at_once(scripted):
    """The job of a shard that has ended may end by itself."""
    scripted.happens(OPENED, READY, ShardEnded(), job1_0="RUNNING")

    scripted.launcher.close()

    assert scripted.jobs.ended == [{"1_1"}]
