"""When a checkpoint of a training that goes on is complete."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proctor.config import WatchConfig
from proctor.errors import ConfigError, Interrupted
from proctor.evaluation.sweep import watching
from proctor.evaluation.sweep.targets import Checkpoint
from proctor.evaluation.sweep.watching import STABLE_S, Watcher, watch_and_evaluate


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def write(run, step, content="x"):
    directory = run / "checkpoints" / step / "pretrained_model"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(content)
    return directory


def last(run, step):
    (run / "checkpoints" / "last").unlink(missing_ok=True)
    (run / "checkpoints" / "last").symlink_to(step)


def steps(watcher):
    return [checkpoint.step for checkpoint in watcher.complete()]


def test_a_checkpoint_is_complete_once_last_has_passed_it(tmp_path):
    """The training moves the link after the last file."""
    clock, watcher = Clock(), Watcher([str(tmp_path)])
    assert steps(watcher) == [], "there is no training yet"

    write(tmp_path, "1000")
    last(tmp_path, "1000")
    write(tmp_path, "2000")
    clock.now += 1000
    assert steps(watcher) == [1000]

    last(tmp_path, "2000")
    assert steps(watcher) == [1000, 2000]


def test_without_the_link_it_is_complete_once_nothing_has_changed(tmp_path):
    """Another trainer may write no link."""
    clock = Clock()
    watcher = Watcher([str(tmp_path)], clock)
    write(tmp_path, "1000")
    assert steps(watcher) == []

    clock.now += STABLE_S - 1
    assert steps(watcher) == []
    write(tmp_path, "1000", "longer")
    clock.now += 2
    assert steps(watcher) == [], "a file has changed"
    clock.now += STABLE_S
    assert steps(watcher) == [1000]


def test_removed_checkpoints_are_gone_and_new_trainings_are_found(tmp_path):
    """Names do not change when a second training begins."""
    watcher = Watcher([str(tmp_path / "a"), str(tmp_path / "b")])
    first = write(tmp_path / "a", "1000")
    last(tmp_path / "a", "1000")
    assert [checkpoint.name for checkpoint in watcher.complete()] == ["a-1000"]

    write(tmp_path / "b", "500")
    last(tmp_path / "b", "500")
    assert [checkpoint.name for checkpoint in watcher.complete()] == ["a-1000", "b-500"]

    (first / "config.json").unlink()
    first.rmdir()
    assert [checkpoint.name for checkpoint in watcher.complete()] == ["b-500"]


class Training:
    """Stands for both sides: which checkpoints are complete, and what the sweep makes of them."""

    n_episodes = 10

    def __init__(self, *steps, broken=()):
        self.there = dict.fromkeys(steps, ("v1",))
        self.broken, self.results, self.evaluated = set(broken), {}, []
        self.after = {}

    def complete(self):
        return {Checkpoint(f"/{step}", "run", step, str(step)): files for step, files in self.there.items()}

    def signature(self, path):
        return self.there[int(path.name)]

    @property
    def swept(self):
        return list(self.results.values())

    def check_interrupted(self):
        pass

    def evaluate(self, checkpoints, n_episodes=10):
        (checkpoint,) = checkpoints
        step = checkpoint.step
        self.evaluated.append((step, n_episodes))
        status = "failed" if (step, self.there[step]) in self.broken else "done"
        self.results[step] = SimpleNamespace(checkpoint=checkpoint, status=status, n_per_task=n_episodes)
        self.there |= self.after.pop(step, {})


@pytest.fixture
def watched(monkeypatch):
    """Watches a training until nothing is left to do; gives what was evaluated, with the number of episodes."""

    def watch(training, **options):
        monkeypatch.setattr(watching, "signature_of", training.signature)
        watch_and_evaluate(training, training, WatchConfig(watch=True, stop_after_idle_s=0, **options), lambda: None)
        return training.evaluated

    return watch


def test_checkpoints_are_evaluated_in_turn_and_each_once(watched):
    """Also those that appear meanwhile."""
    training = Training(1000, 2000)
    training.after = {1000: {3000: ("v1",)}}

    assert watched(training) == [(1000, 10), (2000, 10), (3000, 10)]


def test_the_newest_may_come_first(watched):
    """Those that appear meanwhile go in front."""
    training = Training(1000, 2000)
    training.after = {2000: {3000: ("v1",)}}

    assert watched(training, newest_first=True) == [(2000, 10), (3000, 10), (1000, 10)]


def test_fewer_episodes_while_others_wait_and_the_rest_afterwards(watched):
    """The newest is completed first."""
    assert watched(Training(1, 2, 3), n_episodes_if_busy=4) == [(1, 4), (2, 4), (3, 10), (2, 10), (1, 10)]


def test_a_failed_checkpoint_is_tried_once_more_and_again_once_its_files_have_changed(watched):
    """It keeps nobody else waiting for ever."""
    training = Training(1000, 2000, broken={(1000, ("v1",))})
    training.after = {2000: {1000: ("v2",)}}

    assert watched(training) == [(1000, 10), (1000, 10), (2000, 10), (1000, 10)]
    assert training.results[1000].status == "done"


def test_a_signal_ends_the_wait(watched):
    """In good order: as an interruption of the sweep."""
    training = Training()

    def interrupted():
        raise Interrupted(15)

    training.check_interrupted = interrupted
    with pytest.raises(Interrupted):
        watched(training)


@pytest.mark.parametrize("option", [{"newest_first": True}, {"n_episodes_if_busy": 3}, {"stop_after_idle_s": 5}])
def test_options_of_watching_need_it(option):
    """They would mean nothing."""
    with pytest.raises(ConfigError, match="is for --watch"):
        WatchConfig(**option)
