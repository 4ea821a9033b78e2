"""A plan joined with its results."""

import pytest

from proctor.errors import ConfigError, MergeError, Note
from proctor.results.journal import JournalWriter, key_of
from proctor.results.run_dir import write_run
from proctor.results.summary import describe, load_summary, require_complete, summarize
from result_samples import FINGERPRINT, SPECS, TASKS, broken, done, run_info


def test_results_come_in_the_order_of_the_plan():
    """Suites as the plan names them, not by the alphabet; within them by task and episode."""
    summary = summarize(TASKS, SPECS[::-1], [done(spec) for spec in SPECS[::-1]])

    assert tuple(result.spec for result in summary.episodes) == SPECS
    assert list(summary.groups) == ["zoo", "attic"]


def test_task_suite_and_overall_counts_agree():
    """Each level is the sum of the one below."""
    results = [done(spec, success=spec.episode_index == 0) for spec in SPECS[:-3]] + [broken(SPECS[-3])]

    summary = summarize(TASKS, SPECS, results)

    assert [task.counts.successes for task in summary.tasks] == [1, 1, 1]
    assert summary.groups["zoo"].successes == 2
    overall = summary.overall
    assert (overall.planned, overall.completed, overall.errors, overall.missing) == (12, 9, 1, 2)
    assert summary.missing == SPECS[-2:]
    assert not summary.complete


def test_results_outside_the_plan_are_left_out():
    """A journal with fifty episodes answers a question about four with four."""
    summary = summarize(TASKS, SPECS[:2], [done(spec) for spec in SPECS])

    assert summary.overall.planned == summary.overall.completed == 2
    assert [task.task.name for task in summary.tasks] == ["feed-lion"]


def test_the_first_error_is_that_of_the_first_episode():
    """Whatever order they happened in."""
    summary = summarize(TASKS, SPECS, [broken(SPECS[3], "late"), broken(SPECS[1], "early")])

    spec, error = summary.first_error
    assert (spec, error.message) == (SPECS[1], "early")
    assert summarize(TASKS, SPECS, []).first_error is None


def test_missing_episodes_are_listed_as_ranges():
    """Not as two thousand lines."""
    keys = [key_of(spec) for spec in SPECS if spec not in (SPECS[2], SPECS[4])]

    assert describe(keys) == "zoo/0 episodes 0-1, 3; zoo/1 episodes 1-3; attic/0 episodes 0-3"


def test_a_merge_that_must_be_whole_names_what_is_missing():
    """A missing shard is an error with exit code 5."""
    require_complete(summarize(TASKS, SPECS, [done(spec) for spec in SPECS]))

    with pytest.raises(MergeError, match=r"6 of 12 planned episodes are missing: zoo/0 episodes 1, 3; ") as error:
        require_complete(summarize(TASKS, SPECS, [done(spec) for spec in SPECS[::2]]))

    assert error.value.exit_code == 5


def test_a_run_directory_is_summarised_from_its_files_alone(tmp_path):
    """Two shards, one of them unfinished: what is there counts, the rest is missing."""
    write_run(tmp_path, run_info())
    for shard, specs in enumerate([SPECS[0::2], SPECS[1:4:2]]):
        with JournalWriter(tmp_path, FINGERPRINT, f"journal_{shard}_of_2") as writer:
            for spec in specs:
                writer.append(done(spec), None)

    run, summary = load_summary(tmp_path)

    assert run == run_info()
    assert (summary.overall.completed, summary.overall.missing) == (8, 4)
    assert summary.wall_s > 0


def test_results_of_another_evaluation_than_the_run_file_describes_are_noted(tmp_path):
    """As where a journal was put beside another run.json, or two evaluations were mixed on purpose."""
    write_run(tmp_path, run_info())
    with JournalWriter(tmp_path, {**FINGERPRINT, "seed": "another"}) as writer:
        writer.append(done(SPECS[0]), None)

    with pytest.warns(Note, match=r"than its run.json describes: seed: was \"another\", now "):
        load_summary(tmp_path)


def test_a_directory_without_a_run_cannot_be_summarised(tmp_path):
    """The user named the wrong directory."""
    with pytest.raises(ConfigError, match="holds no run"):
        load_summary(tmp_path)
