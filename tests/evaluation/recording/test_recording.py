"""A run is recorded as one dataset, whole after any crash, whoever recorded it; and what cannot be recorded is said."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest

import proctor
from proctor.cli import main
from proctor.config import EvalConfig, RunConfig
from proctor.engine import rollouts
from proctor.engine.worker import rollout_recorder
from proctor.errors import ConfigError, MissingExtraError, ResourceError, RunLockedError
from proctor.evaluation.recording import Staging, dataset, record_run, recording, staging_of
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.results.summary import load_summary
from proctor.testing.fakes import FAKE_BENCHMARK

ENV = {"type": FAKE_BENCHMARK, "max_steps": 4, "image_size": 64}
N_EPISODES = 4
_ENCODERS_CHOICE = 0.5
"""The most by which a frame of a video may differ on average, of 255. Frames of successive steps differ by 1."""


def evaluate(directory: Path, env=ENV, policy="expert", **fields):
    """Two tasks of four episodes, of which the expert reaches the goal in time in some."""
    fields = {"n_episodes": N_EPISODES, "batch_size": 1, **fields}
    return proctor.evaluate({"type": policy}, env, output_dir=directory, **fields)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run that was recorded as it ended."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    evaluate(directory, recording=True)
    return directory


@pytest.fixture
def unrecorded(tmp_path) -> Path:
    """The same run, of which no dataset has been made."""
    evaluate(tmp_path / "run")
    return tmp_path / "run"


def record(directory: Path, output: Path | None = None):
    run, summary = load_summary(directory)
    return record_run(directory, run, summary.episodes, output)


def tables(folder: Path) -> dict[str, list]:
    """All rows of all Parquet files of a dataset, by the name of the file."""
    return {path.relative_to(folder).as_posix(): pq.read_table(path).to_pylist() for path in folder.rglob("*.parquet")}


def assert_same_content(ours: Path, theirs: Path, watch) -> None:
    """Both datasets hold the same: rows and what describes them, and videos that show the same.

    The bytes of a video may differ: encoders read memory that nobody has written.
    """
    assert tables(ours) == tables(theirs)
    rest = [{p.relative_to(folder) for p in folder.rglob("*") if p.suffix != ".parquet"} for folder in (ours, theirs)]
    assert rest[0] == rest[1]
    for name in rest[0]:
        if name.suffix == ".json":
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()
        elif name.suffix == ".mp4":
            one, other = watch(ours / name), watch(theirs / name)
            assert (one.times, one.frames.shape) == (other.times, other.frames.shape)
            assert np.abs(one.frames.astype(int) - other.frames).mean(axis=(1, 2, 3)).max() < _ENCODERS_CHOICE


def episodes_of(folder: Path) -> list[dict]:
    return [row for name, rows in sorted(tables(folder).items()) if name.startswith("meta/episodes") for row in rows]


# ------------------------------------------------------------------------------------------------------ what is in it


def test_one_dataset_holds_all_tasks_in_the_order_of_the_plan(finished):
    """With the seed, the success, the reward and the text of each."""
    run, summary = load_summary(finished)

    rows = episodes_of(finished / "recording")

    assert [row["episode_index"] for row in rows] == list(range(2 * N_EPISODES))
    found = [(row["suite"], row["task_id"], row["task_episode"], row["episode_seed"]) for row in rows]
    assert found == [(spec.suite, spec.task_id, spec.episode_index, spec.seed) for spec in run.specs]
    assert [row["success"] for row in rows] == [episode.success for episode in summary.episodes]
    assert {row["success"] for row in rows} == {True, False}
    assert [row["sum_reward"] for row in rows] == [episode.sum_reward for episode in summary.episodes]
    assert [row["length"] for row in rows] == [episode.length for episode in summary.episodes]
    assert [row["tasks"] for row in rows] == [["steer to 0"]] * N_EPISODES + [["steer to 1"]] * N_EPISODES


def test_each_row_has_the_outcome_of_its_step(finished):
    """Rewards add up to the episode's, the last step is the end, and success is reported where it was."""
    (rows,) = (rows for name, rows in tables(finished / "recording").items() if name.startswith("data"))

    for episode in episodes_of(finished / "recording"):
        steps = [row for row in rows if row["episode_index"] == episode["episode_index"]]
        assert sum(step["next.reward"] for step in steps) == pytest.approx(episode["sum_reward"], abs=1e-5)
        assert [step["next.done"] for step in steps] == [False] * (len(steps) - 1) + [True]
        assert any(step["next.success"] for step in steps) is episode["success"]
        assert [step["timestamp"] for step in steps] == pytest.approx([i / 10 for i in range(len(steps))])
    assert [row["index"] for row in rows] == list(range(len(rows)))


def test_nothing_but_the_dataset_is_left(finished):
    """No folder of single episodes, and no file that is none of LeRobot's, apart from one."""
    assert not (finished / "recording.part").exists()
    names = {path.relative_to(finished / "recording").parts[0] for path in (finished / "recording").rglob("*.*")}
    assert names == {"data", "meta", "videos"}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_does_not_depend_on_the_number_of_workers(finished, tmp_path, batch_size, watch):
    """Nor on whether it is made at once or later."""
    evaluate(tmp_path / "run", batch_size=batch_size, recording=batch_size > 1)
    if batch_size == 1:
        record(tmp_path / "run")

    assert_same_content(tmp_path / "run" / "recording", finished / "recording", watch)


def test_results_are_the_same_with_and_without_it(tmp_path):
    """Also the number of looks, if episodes are recorded while they run and so are looked at in each step."""
    env = ENV | {"deterministic": False}
    evaluate(tmp_path / "with", env, recording=True)
    evaluate(tmp_path / "without", env)

    (ours, theirs) = (load_summary(tmp_path / name)[1].episodes for name in ("with", "without"))

    assert [(e.outcome, e.n_looks, e.final_state_hash) for e in ours] == [
        (e.outcome, e.n_looks, e.final_state_hash) for e in theirs
    ]


def test_frames_are_found_at_their_time_after_many_episodes(tmp_path):
    """At 30 frames per second a frame's duration is no whole number of microseconds; still none is found late."""
    import av

    path, n_videos, length = tmp_path / "one.mp4", 300, 7
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264rgb", 30, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        for value in range(length):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 10 * value, np.uint8), format="rgb24")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())

    firsts = dataset.join_videos([(path, length)] * n_videos, tmp_path / "joined.mp4", 30)

    assert firsts == [length * number for number in range(n_videos)]
    with av.open(str(tmp_path / "joined.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert times == pytest.approx([number / 30 for number in range(n_videos * length)], abs=1e-6)


def test_large_datasets_are_divided_into_files(unrecorded):
    """As LeRobot divides them: a file is begun before it would be too large."""
    sizes = {"data_files_size_in_mb": 1e-3, "video_files_size_in_mb": 3e-3, "chunks_size": 2}
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    create = LeRobotDatasetMetadata.create
    with patch.object(LeRobotDatasetMetadata, "create", lambda *args, **kwargs: create(*args, **kwargs, **sizes)):
        record(unrecorded)

    folder = unrecorded / "recording"
    assert len(list((folder / "videos").rglob("*.mp4"))) > 2
    assert len({path.parent.name for path in (folder / "data").rglob("*.parquet")}) > 1
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    read = LeRobotDataset("user/name", root=folder, video_backend="pyav")
    steps = [int(read[index]["frame_index"]) for index in range(len(read))]
    means = [255 * float(read[index]["observation.image"].mean()) for index in range(len(read))]
    assert means == pytest.approx(steps, abs=1.5)  # the fake simulator shows the number of the step


# --------------------------------------------------------------------------------------------------------- crashes


def killed(command: list[str], sign: Path, pattern: str) -> None:
    """Run a command and kill it, workers and all, once ``sign`` holds two paths that fit ``pattern``."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = monotonic() + 60
    while len(list(sign.glob(pattern))) < 2 and process.poll() is None and monotonic() < deadline:
        sleep(0.005)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_crash_in_the_middle_leaves_no_dataset_and_is_continued(finished, tmp_path):
    """Episodes that were recorded are not replayed again, and the dataset is the same in the end."""
    directory, part = tmp_path / "run", tmp_path / "run" / "recording.part"
    evaluate(directory, ENV | {"step_seconds": 0.1})
    command = [sys.executable, "-m", "proctor", "record", str(directory)]

    killed(command, part, "episodes/*/[0-9]")

    assert not (directory / "recording").exists()
    kept = {path.relative_to(part) for path in part.glob("episodes/*/[0-9]/values.npz")}
    assert 2 <= len(kept) < 2 * N_EPISODES
    with patch.object(recording, "RolloutTask", side_effect=rollouts.RolloutTask) as replayed:
        record(directory)
    assert replayed.call_count == 2 * N_EPISODES - len(kept)
    ours, theirs = tables(directory / "recording"), tables(finished / "recording")
    assert ours == theirs


def test_what_is_unfinished_is_removed_by_the_next_start(unrecorded):
    """A half-written episode, a half-written dataset, and an episode that is not the journal's."""
    part = unrecorded / "recording.part"
    with (
        patch.object(recording, "write_dataset", side_effect=OSError(errno.EIO, "broken")),
        pytest.raises(ResourceError),
    ):
        record(unrecorded)
    (part / "episodes" / "fake_0" / "0.part").mkdir()
    (part / "dataset" / "meta").mkdir(parents=True)
    identity = part / "episodes" / "fake_0" / "1" / "episode.json"
    identity.write_text(identity.read_text().replace('"final_state_hash":"', '"final_state_hash":"0'))

    with patch.object(recording, "RolloutTask", side_effect=rollouts.RolloutTask) as replayed:
        record(unrecorded)

    assert replayed.call_count == 1
    assert not part.exists()


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_crash_while_the_dataset_gets_its_name_loses_none(finished, tmp_path, moment):
    """It is there, or it is put there by the next start, also if another one was there before."""
    _, summary = load_summary(finished)
    staging = Staging(tmp_path / "out", "digest")
    made_of = staging.wanted(list(summary.episodes))
    for folder, text in ((staging.dataset, "new"), (staging.output, "old")):
        (folder / "meta").mkdir(parents=True)
        (folder / "meta" / "text").write_text(text)
    (staging.output / "meta" / "proctor.json").write_bytes(proctor_json(made_of))
    (staging.path / "proctor.json").write_text('{"run": "digest"}')
    rename, n_renames = Path.rename, iter(range(10))
    stop_at = {"before": 0, "between": 1, "after": 2}[moment]

    def crashing(self, target):
        if next(n_renames) == stop_at:
            raise KeyboardInterrupt
        return rename(self, target)

    with patch.object(Path, "rename", crashing):
        try:
            staging.publish(made_of)
        except KeyboardInterrupt:
            assert moment != "after"
    with staging.opened():
        assert (staging.output / "meta" / "text").read_text() == "new"
        assert staging.published() == made_of

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def proctor_json(made_of) -> bytes:
    import msgspec

    return msgspec.json.encode(made_of)


def test_a_crash_at_the_very_beginning_is_no_obstacle(finished, tmp_path):
    """The lock is there before it is written down whose folder it is."""
    part = tmp_path / "out.part"
    part.mkdir()
    for name in ("lock", ".proctor.json.1.tmp"):
        (part / name).touch()

    record(finished, tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_complete_dataset_is_not_made_again(finished):
    """Nothing is replayed; and its simulator is not needed."""
    with patch.object(recording, "Replayer", side_effect=AssertionError):
        assert record(finished).n_episodes == 2 * N_EPISODES


def test_more_episodes_replace_the_dataset(tmp_path):
    """The dataset of a run that grew has all of them."""
    evaluate(tmp_path, n_episodes=1, recording=True)

    result = evaluate(tmp_path, n_episodes=2, recording=True)

    assert result.recording.n_episodes == len(episodes_of(tmp_path / "recording")) == 4


# ------------------------------------------------------------------------------------------------ what is not recorded


def test_an_episode_whose_replay_differs_is_left_out_and_said(unrecorded, capsys):
    """The exit status is 1, and the others are in the dataset."""

    def tampered(record):
        actions = read_actions(record)
        return -actions if record.result.spec.episode_index == 2 else actions

    with patch.object(recording, "read_actions", tampered):
        assert main(["record", str(unrecorded), "--task=task-1"]) == 1

    out = capsys.readouterr().out
    assert "fake/1 episode 2 (seed 1002): its replay is another episode: " in out
    assert [row["task_episode"] for row in episodes_of(unrecorded / "recording")] == [0, 1, 3]


def test_what_cannot_be_replayed_is_recorded_while_it_is_measured(tmp_path, capsys):
    """In workers or here, for a policy that looks at some steps only; later it cannot be recorded, which is said."""
    env = ENV | {"drifts": True, "deterministic": False}
    result = evaluate(tmp_path / "run", env, batch_size=2, recording=True)

    assert (result.recording.n_episodes, result.recording.problems) == (2 * N_EPISODES, {})
    assert [row["sum_reward"] for row in episodes_of(tmp_path / "run" / "recording")] == [
        episode.sum_reward for episode in result.summary.episodes
    ]
    assert main(["record", str(tmp_path / "run"), "--episode=0", f"--output={tmp_path / 'later'}"]) == 1
    assert "its simulator is not deterministic" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_worker_without_an_encoder_leaves_that_to_the_engine(finished, tmp_path, watch):
    """The dataset is the same."""
    with patch.object(rollout_recorder, "can_encode", return_value=False):
        evaluate(tmp_path, recording=True)

    assert_same_content(tmp_path / "recording", finished / "recording", watch)


def test_an_observation_that_no_dataset_holds_costs_its_recording_only(tmp_path):
    """The reason is said, and there is no dataset if there is no episode."""
    from proctor.testing.fakes import FakeEnv

    look = FakeEnv._look
    with patch.object(FakeEnv, "_look", lambda env: {**look(env), "depth": np.zeros((4, 4, 1), np.float32)}):
        result = evaluate(tmp_path, n_episodes=1, recording=True)

    assert result.pc_success is not None
    (problem,) = set(result.recording.problems.values())
    assert problem == (
        "cannot be recorded: depth is float32 (4, 4, 1), which is neither an image of uint8 (height, width, 3) nor a "
        "vector"
    )
    assert not (tmp_path / "recording").exists()


def test_an_instruction_that_changes_is_recorded_at_each_step(tmp_path):
    """The text of a step is what the policy was given there."""
    from proctor.testing.fakes import FakeEnv
    from proctor.types import INSTRUCTION

    look = FakeEnv._look

    def telling(env):
        text = f"step {env._n_steps}".encode().ljust(16, b"\0")
        return {**look(env), INSTRUCTION: np.frombuffer(text, np.uint8)}

    with patch.object(FakeEnv, "_look", telling):
        evaluate(tmp_path, ENV | {"n_tasks": 1}, policy="random", n_episodes=1, recording=True)

    (row,) = episodes_of(tmp_path / "recording")
    assert row["tasks"] == ["step 0", "step 1", "step 2", "step 3"]


# -------------------------------------------------------------------------------------------------------- refusals


def test_a_full_disk_ends_the_recording_and_keeps_what_there_is(unrecorded):
    """The message says what to do; afterwards the rest is recorded."""
    keep, kept = rollouts.keep_rollout, []

    def full(spec, identity):
        if len(kept) == 3:
            return rollouts.cannot_be_written(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        kept.append(spec)
        return keep(spec, identity)

    with (
        patch.object(rollouts, "keep_rollout", full),
        pytest.raises(ResourceError, match="No space left on device") as it,
    ):
        record(unrecorded)

    assert "free some space, and record again" in str(it.value)
    assert len(list((unrecorded / "recording.part").glob("episodes/*/[0-9]"))) == 3
    assert record(unrecorded).n_episodes == 2 * N_EPISODES


@pytest.mark.parametrize("place", ["output", "part"])
def test_a_folder_of_somebody_else_is_left_alone(finished, tmp_path, place):
    """Whether the dataset would be there or what it is made of."""
    folder = tmp_path / ("data" if place == "output" else "data.part")
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")

    with pytest.raises(ConfigError, match=r"not .*Proctor's"):
        record(finished, tmp_path / "data")

    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_the_dataset_of_another_run_is_left_alone(finished, tmp_path):
    """It is named."""
    evaluate(tmp_path / "run", ENV | {"max_steps": 2}, n_episodes=1)

    with pytest.raises(ConfigError, match=r"recording is a recording of another evaluation"):
        record(tmp_path / "run", finished / "recording")


def test_two_processes_do_not_record_into_one_folder(finished, tmp_path):
    """The second is told who is there."""
    run, _ = load_summary(finished)
    with staging_of(tmp_path / "out", run).opened(), pytest.raises(RunLockedError):
        record(finished, tmp_path / "out")


def test_without_lerobot_nothing_is_measured(tmp_path):
    """What to install is said before the first episode runs."""
    with (
        patch.object(recording.importlib.util, "find_spec", return_value=None),
        pytest.raises(MissingExtraError, match=r"install it with: pip install 'proctor-eval\[lerobot\]'"),
    ):
        evaluate(tmp_path, recording=True)

    assert not RunDirectory(tmp_path).journal_files()


def test_tasks_that_no_dataset_holds_together_are_named(tmp_path):
    """And how to record them apart."""
    from proctor.testing.fakes import FakeEnv

    look = FakeEnv._look

    def looking(env):
        seen = dict(look(env))
        return {**seen, "observation.state": np.append(seen["observation.state"], 0)} if env._task.task_id else seen

    with patch.object(FakeEnv, "_look", looking), pytest.raises(ConfigError, match="record tasks apart") as it:
        evaluate(tmp_path, n_episodes=1, recording=True)

    assert "cannot hold both task-0 and task-1: observation.state has shape (2,) in the one and (3,)" in str(it.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recording_repo_id": "user/name"}, "nothing is recorded"),
        ({"recording": True, "num_shards": 2}, "record the merged run"),
    ],
)
def test_options_that_contradict_each_other_are_refused(fields, message):
    """In a sentence."""
    with pytest.raises(ConfigError, match=message):
        EvalConfig(**fields)


def test_a_race_does_not_record_the_same_run_at_every_step():
    """It is refused with what to do instead."""
    from proctor.cli.race import _with_anytime_intervals

    with pytest.raises(ConfigError, match="record the runs afterwards with `proctor record`"):
        _with_anytime_intervals(RunConfig(eval=EvalConfig(recording=True)))


# ---------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--episode=1,3"], [1, 3, 1, 3]),
        (["--episode=1", "--task=fake/1"], [1]),
        (["--episode=failures"], None),
        (["--episode=successes"], None),
    ],
)
def test_episodes_are_chosen(finished, tmp_path, options, expected, capsys):
    """By number, by outcome and by task; the dataset can be anywhere."""
    assert main(["record", str(finished), *options, f"--output={tmp_path / 'out'}"]) == 0

    rows = episodes_of(tmp_path / "out")
    if expected is None:
        assert {row["success"] for row in rows} == {"successes" in options[0]}
    else:
        assert [row["task_episode"] for row in rows] == expected
    assert f"Dataset     {len(rows)} episode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--episode=9", "No task has a completed episode 9"),
        ("--episode=some", "all, failures, successes, or numbers with commas"),
        ("--task=task-3", "The run has no task 'task-3'. Did you mean 'task-"),
    ],
)
def test_what_a_run_does_not_have_is_refused(finished, option, message, capsys):
    assert main(["record", str(finished), option]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_name_pushes_nothing_and_is_printed_with_the_command_that_does(tmp_path, capsys):
    """With LeRobot's flags; the command is Python that can be read."""
    flags = [f"--env.{name}={value}" for name, value in ENV.items()]
    flags += ["--eval.n_episodes=1", "--eval.batch_size=1", "--eval.video=none", "--eval.display=none"]
    flags += ["--eval.recording=true", "--eval.recording_repo_id=user/name", "--eval.recording_private=true"]

    assert main(["eval", "--policy.type=expert", *flags, f"--output_dir={tmp_path}"]) == 0

    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Push it"))
    assert f"LeRobotDataset('user/name', root='{tmp_path / 'recording'}').push_to_hub(private=True)" in line.replace(
        "'\"'\"'", "'"
    )
    assert json.loads((tmp_path / "run.json").read_text())["config"]["eval"]["recording_repo_id"] == "user/name"
