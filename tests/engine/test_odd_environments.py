"""Whatever an environment returns or raises, its episode has a result or an error, and no other episode differs."""

from __future__ import annotations

import json

import odd_simulators
import pytest
from fake_runs import NOTHING, held, left_since
from odd_simulators import FIRST_SEED, ODDITIES

from proctor.cli import main
from proctor.results.eval_info import canonical_info

NUMBERS = "but the environment's observation space has float32[2]"
A_BOOL = "expected a bool, 0 or 1, or an array that holds one of these"
ERRORS = {
    "raises": "RuntimeError: as many do",
    "raises SystemExit": "SystemExit: 0",
    "raises GeneratorExit": "GeneratorExit",
    "raises StopIteration": "StopIteration",
    "raises CancelledError": "CancelledError",
    "raises BaseException": "BaseException: a panic",
    "raises KeyboardInterrupt": "KeyboardInterrupt",
    "raises MemoryError": "MemoryError",
    "raises what has no text": "UnspeakableError: its message cannot be read, ValueError",
    "raises a lone surrogate": "RuntimeError: a file called \\udcff",
    "raises control characters": "RuntimeError: \x1b[31mred",
    "raises 50 MB": "xxx… (50000014 characters)",
    "recurses": "RecursionError",
    "asks": "EOFError",
    "observes objects": "observation.state consists of objects, but its space declares numbers",
    "observes a ragged list": "inhomogeneous shape",
    "observes text": f"is str32[2], {NUMBERS}",
    "observes records": "observation.state consists of objects, but its space declares numbers",
    "observes another shape": f"is float32[7], {NUMBERS}",
    "observes too much": f"is float32[12500000], {NUMBERS}",
    "observes None": "TypeError",
    "observes nothing": "KeyError: 'agent_pos'",
    "observes a number": "TypeError",
    "observes complex numbers": f"is complex128[2], {NUMBERS}",
    "observes a wider dtype": f"is float64[2], {NUMBERS}",
    "observes a list": f"is float64[2], {NUMBERS}",
    "observes NaN": "the policy gave nan as action[0]",
    "rewards an array of two": "the reward is array([1., 1.]); expected a real number",
    "rewards text": "the reward is '1.5'; expected a real number",
    "rewards None": "the reward is None; expected a real number",
    "rewards complex numbers": "the reward is (1+2j); expected a real number",
    "rewards more than a double holds": "expected a real number",
    "ends with an array of two": f"terminated is array([ True, False]); {A_BOOL}",
    "ends with None": f"terminated is None; {A_BOOL}",
    "ends with text": f"terminated is 'no'; {A_BOOL}",
    "informs of None": "the info of a step is None; expected a dict",
    "succeeds with NaN": f"info['is_success'] is nan; {A_BOOL}",
    "succeeds with an array of two": f"info['is_success'] is array([ True, False]); {A_BOOL}",
    "succeeds with a mapping": f"info['is_success'] is {{'task': False}}; {A_BOOL}",
    "succeeds with text": f"info['is_success'] is 'no'; {A_BOOL}",
    "steps into four": "expected 5, got 4",
    "steps into None": "cannot unpack",
    "resets to one": "expected 2, got 1",
    "resets to None": "cannot unpack",
}
"""A part of the message of each oddity that is an error. Both attempts at its episode have it."""
OTHERWISE = {
    "observes more": {"outcome": "success"},
    "rewards NaN": {"outcome": "success", "sum_reward": None},
    "rewards infinity": {"outcome": "success", "sum_reward": None},
    "rewards an array of one": {"outcome": "success"},
    "ends with an int of numpy's": {"outcome": "failure", "length": 3},
}
"""What is a result, but not that of the tame environment."""
NOT_DRAWN = {"draws floats", "draws None", "draws and raises"}


def run(directory, *command, tame=False):
    """Evaluate the odd environment by the command, an episode for each oddity; returns what eval_info.json holds."""
    status = main(
        [
            *command,
            *("--policy.type=function", "--policy.function=odd_simulators:act"),
            *("--env.type=gymnasium", "--env.task=Odd-v0", "--env.module=odd_simulators"),
            *(f"--env.kwargs={json.dumps({'tame': tame})}", f"--seed={FIRST_SEED}"),
            *(f"--eval.n_episodes={len(ODDITIES)}", "--eval.display=none", f"--output_dir={directory}"),
        ]
    )
    assert status == (0 if tame else 3)
    return json.loads((directory / "eval_info.json").read_text())


def by_oddity(info):
    return {ODDITIES[episode["seed"] - FIRST_SEED]: episode for episode in canonical_info(info)["per_episode"]}


def without_video(episode):
    return {**episode, "video": None}


@pytest.fixture(scope="module")
def tame(tmp_path_factory):
    run_directory = tmp_path_factory.mktemp("tame") / "run"
    return by_oddity(run(run_directory, "eval", "--eval.batch_size=1", "--eval.video=none", tame=True))


@pytest.fixture(scope="module")
def in_process(tmp_path_factory):
    """The directory of a run in this process, and the text of its results."""
    directory = tmp_path_factory.mktemp("odd") / "run"
    before = held()
    info = run(directory, "eval", "--eval.batch_size=1", "--eval.video=none")
    assert left_since(before) == NOTHING
    return directory, info


def test_each_oddity_is_an_error_or_a_result_and_costs_no_other_episode(in_process, tame):
    """The message names what came and what was expected."""
    _, info = in_process
    found = by_oddity(info)
    errors = {
        ODDITIES[episode["seed"] - FIRST_SEED]: [error["message"] for error in episode["errors"]]
        for episode in info["per_episode"]
    }

    assert {odd for odd in found if found[odd]["outcome"] == "error"} == set(ERRORS)
    unlike = {odd for odd, text in ERRORS.items() if [text in message for message in errors[odd]] != [True, True]}
    assert {odd: errors[odd] for odd in unlike} == {}
    for odd in set(found) - set(ERRORS):
        expected = tame[odd] if odd not in OTHERWISE else {**found[odd], **OTHERWISE[odd]}
        assert found[odd] == expected, odd


def test_texts_of_any_size_are_cut_and_of_any_kind_are_written(in_process, capfd):
    """No file grows by 50 MB, and what is shown has no control character."""
    directory, _ = in_process

    assert max(path.stat().st_size for path in directory.iterdir()) < 1_000_000
    assert main(["show", str(directory)]) == 0
    assert "\x1b[31m" not in capfd.readouterr().out


HOW = {
    "workers": ["eval", "--eval.batch_size=2", "--eval.video=all"],
    "shards": ["parallel", "--num_shards=2", "--launcher=local", "--eval.batch_size=1", "--eval.video=none"],
}


@pytest.mark.parametrize("how", HOW)
def test_it_is_the_same_wherever_the_environment_runs(tmp_path, monkeypatch, in_process, how):
    """In workers, whose files are as small, and in shards; a frame that cannot be drawn costs its video alone."""
    _, expected = in_process
    monkeypatch.syspath_prepend(odd_simulators.__file__.rpartition("/")[0])
    before = held()

    info = run(tmp_path / "run", *HOW[how])

    assert left_since(before) == NOTHING
    filmed = {odd for odd, episode in by_oddity(info).items() if episode.pop("video")}
    assert {odd: without_video(episode) for odd, episode in by_oddity(info).items()} == {
        odd: without_video(episode) for odd, episode in by_oddity(expected).items()
    }
    assert filmed == (set(ODDITIES) - set(ERRORS) - NOT_DRAWN if how == "workers" else set())
    assert max(path.stat().st_size for path in (tmp_path / "run").iterdir() if path.is_file()) < 1_000_000
