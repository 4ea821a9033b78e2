"""What a type checker says of calls from Python: a wrong keyword argument is found before anything runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

CALLS = """\
import proctor

policy, env = {"type": "random"}, "pusht"
result = proctor.evaluate(policy, env, n_epsiodes=4)
result = proctor.evaluate(policy, env, n_episodes="four")
result = proctor.evaluate(policy, env, video="frist")
with proctor.Evaluator(env, n_epsiodes=4) as evaluator:
    evaluator(policy, device=1)
    evaluator(policy, wait=False).results()
reveal_type(result.interval)
reveal_type(result.tasks[0].name)
reveal_type(proctor.__version__)
result = proctor.evaluate(policy, env, n_episodes=4, video="auto", n_episodes_to_render=None, ci="exact", seed=3)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What mypy says of each line. It has the cache that ``make check`` leaves."""
    file = tmp_path_factory.mktemp("typed") / "typed_calls.py"
    file.write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--no-pretty", "--hide-error-context", str(file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[int, str] = {}
    for number, text in re.findall(r"typed_calls\.py:(\d+): (.*)", done.stdout):  # the folder may be a cached one
        found[int(number)] = found.get(int(number), "") + text
    return found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (4, 'Unexpected keyword argument "n_epsiodes" for "evaluate"; did you mean "n_episodes"?'),
        (5, 'Argument "n_episodes" to "evaluate" has incompatible type "str"; expected "int"'),
        (6, "incompatible type \"Literal['frist']\"; expected \"Literal['auto', 'first', 'failures', 'all', 'none']\""),
        (7, 'Unexpected keyword argument "n_epsiodes" for "Evaluator"; did you mean "n_episodes"?'),
        (8, 'No overload variant of "__call__" of "Evaluator"'),
        (9, '"RunningEvaluation" has no attribute "results"'),
        (10, 'Revealed type is "tuple[float, float] | None"'),
        (11, 'Revealed type is "str"'),
        (12, 'Revealed type is "str"'),
    ],
)
def test_a_type_checker_knows_the_arguments_and_the_result(said, line, words):
    """A mistake has one message, with the right name if there is one that is near."""
    assert words in said[line].replace("builtins.", "")


def test_a_call_without_mistakes_is_accepted(said):
    """Of all that is there, None included."""
    assert 13 not in said
