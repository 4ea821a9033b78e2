"""An eval_info.json alone gives the numbers it was made from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from proctor.errors import ConfigError
from proctor.results.compare import compare
from proctor.results.eval_info import build_eval_info, write_eval_info
from proctor.results.measured import read_measured
from proctor.results.result_file import read_result_file
from proctor.results.summary import summarize
from proctor.results.videos import video_file
from proctor.statistics.intervals import IntervalMethod
from proctor.statistics.stopping import EarlyStop, Precision
from proctor.types import EpisodeSpec, Task
from result_samples import SPECS, TASKS, broken, done, run_info

LEROBOTS = Path(__file__).parents[1] / "data" / "lerobot_eval_info.json"


def written(directory, results, **fields):
    """A result file, and what it was made from."""
    summary = replace(summarize(TASKS, SPECS, results, wall_s=7.5), **fields)
    run = run_info(seed=1000)
    return write_eval_info(directory, build_eval_info(summary, run)), run, summary


def test_what_is_read_gives_the_same_file_again(tmp_path):
    """Rates, intervals, means, errors and every episode; without hashes and looks, which no report needs."""
    file, run, _ = written(
        tmp_path,
        [*(done(spec, success=spec.task_id == 0) for spec in SPECS[:-3]), broken(SPECS[-2])],
        method=IntervalMethod.EXACT,
        stop=EarlyStop(0.2, 4, 9),
    )

    found, summary = read_result_file(file)

    assert found is not None
    again = build_eval_info(summary, found)
    wanted = json.loads(file.read_text())
    for episode in [*again["per_episode"], *wanted["per_episode"]]:
        for name in ("n_looks", "final_state_hash"):
            episode.pop(name)
    again["overall"].pop("startup_s"), wanted["overall"].pop("startup_s")
    assert json.loads(json.dumps(again)) == wanted
    assert (found.fingerprint, found.provenance) == (run.fingerprint, run.provenance)


def test_missing_episodes_are_known_by_their_numbers(tmp_path):
    """A task's are numbered without a gap."""
    file, _, before = written(tmp_path, [done(spec) for spec in SPECS if spec not in (SPECS[1], SPECS[11])])

    _, summary = read_result_file(file)

    def keys(specs):
        return [(*spec.task, spec.episode_index) for spec in specs]

    assert keys(summary.missing) == keys(before.missing) == keys([SPECS[1], SPECS[11]])


def test_videos_beside_the_file_are_found(tmp_path):
    """By their names; what the file says of paths is not followed."""
    file, _, _ = written(tmp_path, map(done, SPECS), videos={SPECS[0]: "../../etc/passwd"})
    video = tmp_path / video_file(SPECS[5])
    video.parent.mkdir(parents=True)
    video.touch()

    _, summary = read_result_file(file)

    assert summary.videos == {SPECS[5]: video_file(SPECS[5])}


def test_of_lerobots_file_nothing_is_made_up():
    """It has rewards and outcomes; no means of lengths, no seeds, no origin."""
    run, summary = read_result_file(LEROBOTS)

    assert run is None
    assert (summary.overall.failures, summary.wall_s) == (4, 222.15495371818542)
    assert math.isclose(summary.overall.mean_sum_reward, 6.961177584755477)
    assert summary.overall.mean_length is summary.mean_intervals.length is None
    assert all(math.isnan(result.spec.seed) and math.isnan(result.length) for result in summary.episodes)
    assert read_measured(LEROBOTS).fingerprint == {}


def test_the_method_of_its_intervals_is_kept(tmp_path):
    """As the run was asked for."""
    summary = summarize(TASKS, SPECS, map(done, SPECS), precision=Precision(IntervalMethod.ANYTIME))
    file = write_eval_info(tmp_path, build_eval_info(summary, run_info()))

    assert read_result_file(file)[1].macro == summary.macro


def old_file(directory, outcomes, *, seeds=True):
    """What LeRobot wrote up to 0.3: a list of episodes of one task, and means."""
    episodes = [
        {"episode_ix": ix, "sum_reward": 2.0, "max_reward": 1.0, "success": won, "seed": 1000 + ix if seeds else None}
        for ix, won in enumerate(outcomes)
    ]
    file = directory / "old.json"
    file.write_text(json.dumps({"per_episode": episodes, "aggregated": {"pc_success": 1.0, "eval_s": 9.0}}))
    return file


def test_a_file_of_lerobot_up_to_0_3_gives_its_episodes_and_their_seeds(tmp_path):
    """It is of one task, whose name it does not say; lengths are not known."""
    run, summary = read_result_file(old_file(tmp_path, [True, False, True]))

    assert run is None
    assert (summary.overall.successes, summary.overall.failures, summary.wall_s) == (2, 1, 9.0)
    assert [result.spec.seed for result in summary.episodes] == [1000, 1001, 1002]
    assert summary.overall.mean_length is None


def test_such_a_file_is_compared_in_pairs_with_the_run_of_a_single_task(tmp_path):
    """By index and seed; without seeds as a sample of its own. Of two tasks it could be either."""
    ours = tmp_path / "ours"
    ours.mkdir()
    specs = [EpisodeSpec("pusht", 0, index, 1000 + index) for index in range(6)]
    summary = summarize([Task("pusht", 0, "PushT-v0", "", 300)], specs, map(done, specs))
    write_eval_info(ours, build_eval_info(summary, run_info()))
    theirs = read_measured(old_file(tmp_path, [False] * 6))

    (challenge,) = compare([read_measured(ours), theirs])

    assert challenge.overall.paired
    assert (challenge.overall.a.successes, challenge.overall.b.successes) == (6, 0)
    assert [task.name for task in challenge.tasks] == ["PushT-v0"]
    (unpaired,) = compare([read_measured(ours), read_measured(old_file(tmp_path, [False] * 6, seeds=False))])
    assert not unpaired.overall.paired
    two_tasks, _, _ = written(tmp_path, map(done, SPECS))
    with pytest.raises(ConfigError, match="does not say of which task its episodes are"):
        compare([read_measured(two_tasks), theirs])
