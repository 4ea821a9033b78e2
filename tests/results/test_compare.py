"""Evaluations against each other, from what their directories and files hold."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from proctor.errors import ConfigError
from proctor.results.compare import (
    Verdict,
    circumstances,
    compare,
    compare_where_possible,
    different_exams,
    different_settings,
    different_versions,
)
from proctor.results.measured import EpisodeId, MeasuredRun, MeasuredTask, read_measured
from proctor.results.result_file import UNNAMED_TASK
from proctor.statistics.counts import Counts
from proctor.statistics.differences import Pairs, Samples, Score, Strata
from proctor.statistics.intervals import Interval
from proctor.types import TaskKey

LION, BEAR = TaskKey("zoo", 0), TaskKey("zoo", 1)
EXAM = {"benchmark": {"name": "zoo", "protocol": "zoo-1"}, "env": {"task": "all", "episode_length": None}}
EXAM |= {"policy": {"type": "act", "n_action_steps": 8}, "versions": {"mujoco": "3.3.1"}}


def task(outcomes, *, seed=1000, errors=0, missing=0, name="feed-lion", known=True):
    """A task whose episodes came out like the letters of ``outcomes``: ``+`` and ``-``."""
    n, successes = len(outcomes), outcomes.count("+")
    counts = Counts(n + errors + missing, successes, n - successes, errors)
    episodes = {EpisodeId(i, seed + i, None): outcome == "+" for i, outcome in enumerate(outcomes)}
    return MeasuredTask(name, counts, episodes if known else {})


def measured(name="a", fingerprint=EXAM, **tasks):
    keys = {"lion": LION, "bear": BEAR}
    return MeasuredRun(Path(name), {keys[key]: task for key, task in tasks.items()}, fingerprint)


def test_the_same_episodes_are_compared_in_pairs():
    """The reference numbers of two policies on fifty episodes."""
    a = measured("a", lion=task("+" * 33 + "-" * 17))
    b = measured("b", lion=task("+" * 30 + "-" * 3 + "+" * 12 + "-" * 5))

    (challenge,) = compare([a, b])

    overall = challenge.overall
    assert overall.contrast == Pairs(30, 3, 12, 5)
    assert overall.paired
    assert overall.p_value == overall.adjusted_p == 0.03515625
    assert (overall.verdict, overall.more_episodes) == (Verdict.BETTER, None)
    assert compare([b, a])[0].overall.verdict is Verdict.WORSE


def test_different_seeds_are_different_episodes():
    """Whatever their numbers."""
    a = measured("a", lion=task("+" * 33 + "-" * 17))
    b = measured("b", lion=task("+" * 42 + "-" * 8, seed=7))

    (challenge,) = compare([a, b])

    assert challenge.overall.contrast == Samples(Score(33, 50), Score(42, 50))
    assert not challenge.overall.paired
    assert challenge.overall.p_value == pytest.approx(0.042246, abs=5e-7)


def test_only_episodes_that_both_have_run_are_pairs():
    """The rest of the longer run is left out, and so is what ended in an error."""
    a = measured("a", lion=task("+-" * 25))
    b = measured("b", lion=task("+" * 20, errors=2))

    (challenge,) = compare([a, b])

    assert challenge.overall.contrast == Pairs(10, 0, 10, 0)
    assert challenge.overall.contrast.scores == (Score(10, 20), Score(20, 20))


def test_one_task_without_a_pair_makes_samples_of_all():
    """So that the sum over tasks is one thing."""
    a = measured("a", lion=task("++-"), bear=task("+-+"))
    b = measured("b", lion=task("+--"), bear=task("++--", known=False))

    (challenge,) = compare([a, b])

    assert [type(t.contrast) for t in challenge.tasks] == [Samples, Samples]
    assert isinstance(challenge.overall.contrast, Strata)


def test_a_task_that_only_one_has_run_is_left_out():
    """And counted; without a common one there is no comparison."""
    a, b = measured("a", lion=task("+-"), bear=task("++")), measured("b", lion=task("++"))

    (challenge,) = compare([a, b])

    assert [t.name for t in challenge.tasks] == ["feed-lion"]
    assert challenge.n_tasks_left_out == 1
    with pytest.raises(ConfigError, match="a and b have no task in common"):
        compare([a, measured("b", lion=task("", errors=3))])


def test_tasks_of_one_number_and_two_names_are_two_tasks():
    """A benchmark may number tasks as they are given: the first of one run need not be the first of another."""
    a = measured("a", lion=task("++--"), bear=task("+++-", name="feed-bear"))
    b = measured("b", lion=task("----", name="feed-wolf"), bear=task("++++", name="feed-bear"))

    (challenge,) = compare([a, b])

    assert challenge.task_keys == [BEAR]
    assert challenge.overall.contrast == Pairs(both=3, only_b=1)
    assert challenge.n_tasks_left_out == 2
    with pytest.raises(ConfigError, match="a and b have no task in common"):
        compare([measured("a", lion=task("++")), measured("b", lion=task("++", name="feed-wolf"))])


def test_a_task_that_a_file_only_numbers_is_the_one_of_its_number():
    """LeRobot's files have no names."""
    (challenge,) = compare([measured("a", lion=task("++--")), measured("b", lion=task("+---", name="zoo/0"))])

    assert challenge.task_keys == [LION]


def test_verdicts_are_by_p_values_adjusted_for_all_policies():
    """What shows a difference alone does not among three."""
    a = measured("a", lion=task("+" * 33 + "-" * 17))
    b = measured("b", lion=task("+" * 30 + "-" * 3 + "+" * 12 + "-" * 5))

    challenges = compare([a, b, a, a])

    assert [c.overall.p_value for c in challenges] == [0.03515625, 1.0, 1.0]
    assert challenges[0].overall.adjusted_p == pytest.approx(3 * 0.03515625)
    assert challenges[0].overall.verdict is Verdict.UNDECIDED
    assert challenges[0].overall.verdict_at(0.2) is Verdict.BETTER


@pytest.mark.parametrize("n_others", [1, 3])
@pytest.mark.parametrize("known", [True, False], ids=["pairs", "samples"])
def test_verdict_adjusted_p_and_interval_never_contradict_each_other(n_others, known):
    """Of one comparison and of several, in each task and over all: 0 is outside where a difference is shown."""
    generator, n_shown = random.Random(n_others), 0
    for _ in range(30 if known else 6):
        evaluations = [
            measured(
                **{
                    name: task("".join(generator.choices("+-", (rate, 1 - rate), k=size)), known=known)
                    for name, rate, size in (("lion", generator.random(), 9), ("bear", generator.random(), 8))
                }
            )
            for _ in range(n_others + 1)
        ]
        for comparison in (each for c in compare(evaluations) for each in (*c.tasks, c.overall)):
            shown = comparison.verdict is not Verdict.UNDECIDED
            assert shown == (comparison.adjusted_p <= 0.05)
            assert shown == (not comparison.interval.low <= 0 <= comparison.interval.high)
            assert (comparison.verdict is Verdict.BETTER) == (comparison.interval.low > 0)
            assert comparison.n_comparisons == n_others * (1 if comparison.name == "all tasks" else 2)
            n_shown += shown
    assert n_shown


def test_a_certain_difference_has_a_p_of_0_and_is_one_all_the_same():
    """So many pairs that p is below any number."""
    a, b = measured(lion=task("+" * 3000)), measured(lion=task("-" * 3000))

    (challenge,) = compare([a, b])

    overall = challenge.overall
    assert (overall.p_value, overall.adjusted_p, overall.verdict) == (0.0, 0.0, Verdict.WORSE)
    assert (overall.more_episodes, overall.interval.low, overall.interval.high < -0.99) == (None, -1.0, True)


def test_those_of_single_tasks_are_adjusted_for_tasks_and_policies_together():
    """Four tests: the smallest p counts four times."""
    one = task("+" * 33 + "-" * 17)
    better = task("+" * 30 + "-" * 3 + "+" * 12 + "-" * 5)

    challenges = compare([measured("a", lion=one, bear=one)] + [measured("b", lion=better, bear=one)] * 2)

    assert [t.adjusted_p for c in challenges for t in c.tasks] == pytest.approx([4 * 0.03515625, 1, 4 * 0.03515625, 1])


def test_how_many_more_would_tell_is_stated_if_nothing_is_shown():
    """80 % against 90 % in ten episodes each: about as many as planned from the start, less the ten."""
    (challenge,) = compare([measured("a", lion=task("+" * 8 + "--")), measured("b", lion=task("+" * 9 + "-", seed=1))])

    assert challenge.overall.verdict is Verdict.UNDECIDED
    assert challenge.overall.more_episodes == 199 - 10
    assert compare([measured(lion=task("+-"))] * 2)[0].overall.more_episodes is None


def test_among_several_policies_it_takes_more():
    """What 71 pairs would show alone takes 95 where three policies are compared with the first."""
    a = measured("a", lion=task("+" * 33 + "-" * 17))
    b = measured("b", lion=task("+" * 30 + "-" * 3 + "+" * 12 + "-" * 5))

    challenge = compare([a, b, a, a])[0]

    assert challenge.overall.contrast.episodes_needed() == 71
    assert challenge.overall.more_episodes == 95 - 50


def test_errors_bound_the_difference():
    """5 of 8 and 2 errors against 6 of 10: B minus A is between 6/10 - 7/10 and 6/10 - 5/10."""
    a, b = measured("a", lion=task("+" * 5 + "---", errors=2)), measured("b", lion=task("+" * 6 + "----"))

    (challenge,) = compare([a, b])

    assert challenge.overall.bounds == Interval(pytest.approx(-0.1), pytest.approx(0.1))
    assert compare([b, b])[0].overall.bounds is None


@pytest.mark.parametrize(
    ("part", "field", "value", "line"),
    [
        ("benchmark", "name", "farm", 'benchmark.name: "zoo" and "farm"'),
        ("benchmark", "protocol", "zoo-2", 'benchmark.protocol: "zoo-1" and "zoo-2"'),
        ("env", "episode_length", 50, "env.episode_length: null and 50"),
    ],
)
def test_another_exam_is_noticed(part, field, value, line):
    """Benchmark, protocol, environment."""
    other = {**EXAM, part: {**EXAM[part], field: value}}

    assert different_exams(measured(), measured(fingerprint=other)) == [line]


def test_another_way_to_run_the_policy_is_noted_and_is_no_other_exam():
    """How often it looks, and a delay of inference; a batch size changes at most last bits."""
    looks_often = measured(fingerprint={**EXAM, "policy": {**EXAM["policy"], "n_action_steps": 4}})
    batched = {"batch_size": 4, "threads": 1}
    late = {**EXAM, "inference": {**batched, "delay": {"steps": 5, "when_late": "hold"}}}
    prompt = measured(fingerprint={**EXAM, "inference": {"batch_size": 1, "threads": 1}})

    assert different_settings(measured(), looks_often) == ["policy.n_action_steps: 8 and 4"]
    assert different_settings(prompt, measured(fingerprint={**EXAM, "inference": batched})) == []
    assert different_settings(prompt, measured(fingerprint=late)) == [
        "inference.delay.steps: absent and 5",
        'inference.delay.when_late: absent and "hold"',
    ]
    assert different_exams(measured(), looks_often) == different_exams(prompt, measured(fingerprint=late)) == []
    assert circumstances(measured(), looks_often) == [
        "the policies were not run alike: policy.n_action_steps: 8 and 4."
    ]


def test_another_exam_is_compared_only_if_that_is_asked_for():
    """The reasons are given first."""
    fingerprint = {**EXAM, "benchmark": {**EXAM["benchmark"], "protocol": "zoo-2"}}
    both = [measured(lion=task("++--")), measured(lion=task("++++"), fingerprint=fingerprint)]

    (refused,) = compare_where_possible(both)
    (compared,) = compare_where_possible(both, anyway=True)

    assert refused.reasons == ('benchmark.protocol: "zoo-1" and "zoo-2"',)
    assert compared.circumstances == ['not the same exam: benchmark.protocol: "zoo-1" and "zoo-2".']


def test_another_policy_another_choice_of_tasks_and_unknown_exams_are_no_other_exam():
    """That is what is compared, what is in common is found out, and nothing is known."""
    for part, fields in (("policy", {"type": "expert"}), ("env", {**EXAM["env"], "task": "lion"})):
        assert different_exams(measured(), measured(fingerprint={**EXAM, part: fields})) == []
    assert different_exams(measured(), measured(fingerprint={})) == []


def test_other_versions_are_reported():
    """Results may depend on them."""
    other = measured(fingerprint={**EXAM, "versions": {"mujoco": "3.3.7"}})

    assert different_versions(measured(), other) == ['mujoco: "3.3.1" and "3.3.7"']
    of_a_network = measured(fingerprint={**EXAM, "versions": {"mujoco": "3.3.1", "torch": "2.11"}})
    assert different_versions(measured(), of_a_network) == []  # the other policy needs no torch
    assert different_versions(measured(), measured(fingerprint={})) == []


def test_that_the_physics_engines_differ_is_stated_first():
    """Before all else that differs: the engine may make the difference."""
    fields = {"env": {"task": "all", "episode_length": 9}, "versions": {"mujoco": "3.3.7"}}

    engine, exam = circumstances(measured(), measured(fingerprint={**EXAM, **fields}))

    assert engine.startswith(
        'the two ran on different versions of what results depend on (mujoco: "3.3.1" and "3.3.7")'
    )
    assert exam.startswith("not the same exam")


def test_another_code_of_the_environment_is_reported():
    """A digest says nothing to people; that the policies' code differs is why they are compared."""
    one, other = (measured(fingerprint={**EXAM, "code": {"env": {"my_env": n}, "policy": {"p": n}}}) for n in "ab")

    assert different_versions(one, other) == ["the code of my_env"]
    assert different_versions(one, measured()) == ["the code of my_env"]


def test_where_a_task_has_no_name_it_is_compared_where_that_is_possible():
    """With the only task that it can be; a page goes on without the comparison if there are several."""
    old = MeasuredRun(Path("old.json"), {UNNAMED_TASK: task("++--")}, {})

    (challenge,) = compare_where_possible([measured(lion=task("++++")), old])
    assert [each.name for each in challenge.tasks] == ["feed-lion"]
    (incomparable,) = compare_where_possible([measured(lion=task("++++"), bear=task("++++")), old])
    assert incomparable.reasons == ("no task in common of which both completed episodes",)


# ------------------------------------------------------------------------------------------------------------- files


LEROBOTS = Path(__file__).parents[1] / "data" / "lerobot_eval_info.json"
"""Written by lerobot-eval 0.6.1: an ACT, four episodes of PushT. Its paths were made relative."""


def test_lerobots_own_file_says_how_many_succeeded_and_not_which():
    """No episode of it can be identified, and nothing says what was run."""
    read = read_measured(LEROBOTS)
    task = read.tasks[TaskKey("pusht", 0)]

    assert (read.path, len(read.tasks), read.fingerprint, read.stopped_early) == (LEROBOTS, 1, {}, False)
    assert (task.name, task.counts.n_successes, task.counts.n_failures, task.counts.n_planned) == ("pusht/0", 0, 4, 4)
    assert task.successes == {}


def test_the_directory_of_a_result_file_stands_for_it_and_nan_is_read_although_it_is_no_json(tmp_path):
    """LeRobot writes it where there is no rate."""
    info = json.loads(LEROBOTS.read_text())
    info["overall"]["pc_success"] = float("nan")
    (tmp_path / "eval_info.json").write_text(json.dumps(info))

    assert read_measured(tmp_path).path == tmp_path
    assert read_measured(tmp_path).tasks[TaskKey("pusht", 0)].counts.n_failures == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory; give a run directory or an eval_info.json."),
        ("{", "is not an eval_info.json of Proctor or LeRobot"),
        ("[]", "is not an eval_info.json of Proctor or LeRobot"),
        ('{"per_task": [{"task_group": "a"}]}', "is not an eval_info.json of Proctor or LeRobot"),
        ("\xff\xfe", "is not an eval_info.json of Proctor or LeRobot"),
    ],
)
def test_what_cannot_be_read_is_reported(tmp_path, content, message):
    """In a sentence."""
    file = tmp_path / "eval_info.json"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))

    with pytest.raises(ConfigError, match=message):
        read_measured(file)


def test_counts_are_of_the_episodes_that_are_compared():
    """A task of fifty against one of twenty: 20 of each."""
    a, b = measured("a", lion=task("+" * 50)), measured("b", lion=task("+" * 20))

    assert compare([a, b])[0].overall.contrast.scores == (Score(20, 20), Score(20, 20))
