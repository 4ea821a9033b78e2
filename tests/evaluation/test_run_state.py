"""What is known of episodes while they run, and when it is on disk."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import count
from threading import Event
from time import monotonic

import numpy as np
import pytest

from proctor.engine.load import Load
from proctor.errors import ResourceError
from proctor.evaluation import run_state
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import configure
from proctor.evaluation.run_state import RunState
from proctor.results import journal_writer
from proctor.results.journal import read_array, read_journal
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import AttemptError, EpisodeResult, Outcome, Timings, pack_arrays


def test_times_add_up():
    """Part by part."""
    total = Timings(1.0, 2.0, 3.0, 4.0, 5.0, 6.0) + Timings(step=1.0)

    assert total == Timings(1.0, 2.0, 4.0, 4.0, 5.0, 6.0)
    assert total.total == 22.0


class Idle:
    """Runs nothing."""

    started_at = measuring_since = None

    def load(self):
        return Load()


@pytest.fixture
def opened(tmp_path):
    """Opens the state of a run of twenty episodes, none of which has a result, each time in a folder of its own."""
    numbers = count()

    @contextmanager
    def run():
        directory = tmp_path / f"run{next(numbers)}"
        config, policy = configure({"type": "expert"}, FAKE_BENCHMARK, n_episodes=20, output_dir=directory)
        with prepare(config, policy).in_own_directory() as prepared, prepared.open_session(2) as session:
            yield RunState(prepared, session)

    return run


@pytest.fixture
def state(opened):
    with opened() as state:
        yield state


def journal_of(state):
    return state.session.directory.journal_file


def n_on_disk(state):
    return len(read_journal(journal_of(state)).episodes)


def keep(state, *specs, outcome=Outcome.SUCCESS):
    for spec in specs:
        failed = outcome is Outcome.ERROR
        errors = (AttemptError("raised", "boom"),) if failed else ()
        state.keep(EpisodeResult(spec, outcome, 1.0, 1.0, 5, 1, "hash", errors), None)


def test_an_episode_that_comes_alone_is_on_disk_at_once(state, monkeypatch):
    """As each one does whose neighbours take longer than the time in which a group is collected."""
    monkeypatch.setattr(run_state, "GROUP_S", 0.0)
    for n, spec in enumerate(state.todo[:3], start=1):
        keep(state, spec)
        assert n_on_disk(state) == state.n_completed == n


def test_episodes_that_come_in_quick_succession_count_once_they_are_on_disk(state, monkeypatch):
    """Neither the number that is told nor the progress that is shown is ahead of the disk."""
    monkeypatch.setattr(run_state, "GROUP_S", 3600.0)
    keep(state, *state.todo[:4])
    assert n_on_disk(state) == state.n_completed == 1

    shown = state.progress(Idle())

    assert n_on_disk(state) == sum(task.counts.n_completed for task in shown.tasks) == 4
    keep(state, state.todo[4])
    assert n_on_disk(state) == state.n_completed == 4
    state.sync()
    assert n_on_disk(state) == state.n_completed == 5


def test_nothing_waits_for_the_disk_while_a_group_is_written(state, monkeypatch):
    """Its episodes count once it is on disk, and those that come meanwhile are the next group."""
    on_disk = Event()
    sync = journal_writer._sync
    monkeypatch.setattr(journal_writer, "_sync", lambda fd: on_disk.wait(60) and sync(fd))
    monkeypatch.setattr(run_state, "GROUP_S", 3600.0)
    state._synced_at = monotonic()
    keep(state, *state.todo[:2])
    monkeypatch.setattr(run_state, "GROUP_S", 0.0)

    keep(state, *state.todo[2:5])
    assert state.n_completed == 0
    assert state.session.journal.is_syncing
    on_disk.set()
    shown = state.progress(Idle())

    assert n_on_disk(state) == state.n_completed == sum(task.counts.n_completed for task in shown.tasks) == 5


def test_no_episode_counts_that_a_full_disk_has_refused(state, monkeypatch):
    """Neither one of the group that was being written, nor one that came meanwhile; nor does another try count them."""
    keep(state, state.todo[0])
    monkeypatch.setattr(run_state, "GROUP_S", 3600.0)
    keep(state, *state.todo[1:3])
    monkeypatch.setattr(run_state, "GROUP_S", 0.0)

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(journal_writer, "_sync", refuse)
        keep(state, state.todo[3])
        with pytest.raises(ResourceError, match="No space left"):
            state.progress(Idle())
    state.sync()

    assert n_on_disk(state) == state.n_completed == 1


def test_whenever_an_interrupt_comes_what_counts_is_on_disk_and_can_be_replayed(opened, tmp_path, monkeypatch):
    """After every line of what keeps and writes: the run ends in good order, and its last sync tells the truth."""
    monkeypatch.chdir(tmp_path)  # where no run asks Git
    files = {run_state.__file__, journal_writer.__file__}
    monkeypatch.setattr(run_state, "GROUP_S", 0.0003)  # some groups have one episode, and some have several
    for n in count(1):
        lines = count(1)

        def interrupt(frame, event, _, n=n, lines=lines):
            if frame.f_code.co_filename not in files:
                return None
            if event == "line" and next(lines) == n:
                raise KeyboardInterrupt
            return interrupt

        with opened() as state:
            sys.settrace(interrupt)
            try:
                for number, spec in enumerate(state.todo[:3]):
                    arrays = pack_arrays({"actions": np.full(20, number)})
                    state.keep(EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 5, 1, "hash"), arrays)
            except KeyboardInterrupt:
                interrupted = True
            else:
                interrupted = False
            finally:
                sys.settrace(None)
            state.sync()
            counted = set(state._results)
        on_disk = {each.result.spec: read_array(each, "actions") for each in read_journal(journal_of(state)).episodes}

        assert counted <= on_disk.keys()
        assert all(actions is not None for actions in on_disk.values())
        if not interrupted:
            assert n > 50
            return


def test_a_group_is_written_if_it_is_large_or_ends_with_an_error(state, monkeypatch):
    """An error may end the run."""
    monkeypatch.setattr(run_state, "GROUP_S", 3600.0)
    monkeypatch.setattr(run_state, "GROUP_MOST", 5)
    keep(state, *state.todo[:7])
    state.session.journal.end_sync()
    assert n_on_disk(state) == 6

    keep(state, state.todo[7], outcome=Outcome.ERROR)

    assert n_on_disk(state) == 8
