"""A benchmark whose simulator fits no interpreter that Proctor fits is evaluated in the environment of its recipe.

The environment is kept in a folder that git ignores, so that it is installed once for each checkout.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.doctor import Status
from proctor.doctor.examination import checks_of_this_machine, make
from proctor.interpreters.environments import existing

KEPT = Path(__file__).parents[2] / ".venv-environments"


@pytest.fixture
def xarm(environments, monkeypatch, capsys):
    """The environment of gym-xarm: Python 3.10 or 3.11, MuJoCo 2, gymnasium before 1.0."""
    monkeypatch.setenv("PROCTOR_ENVIRONMENTS", str(KEPT))
    if main(["env", "create", "xarm"]):
        pytest.skip(f"the environment of gym-xarm cannot be made: {capsys.readouterr().err.strip()[-300:]}")
    return next(environment for environment in existing() if environment.name == "xarm")


def test_an_evaluation_runs_in_the_environment_of_its_benchmark(xarm, tmp_path, capsys):
    """The user is told, the versions of the fingerprint are those of the environment, and the run can be resumed."""
    run = tmp_path / "run"
    options = ["--policy.type=random", "--env.type=xarm", "--env.episode_length=20", "--eval.n_episodes=1"]

    assert main(["eval", *options, f"--output_dir={run}"]) == 0

    assert "The simulators run in the environment 'xarm' (Python 3.1" in capsys.readouterr().err
    versions = json.loads((run / "run.json").read_text())["fingerprint"]["versions"]
    assert versions.get("python", platform.python_version()) == xarm.facts.python  # it is named if the two differ
    assert versions["numpy"] == "1.26.4"
    assert json.loads((run / "eval_info.json").read_text())["overall"]["n_episodes"] == 1
    assert main(["resume", str(run)]) == 0


def test_a_run_in_an_environment_that_was_named_is_resumed_without_consent(xarm, tmp_path):
    """Since a run directory can name an environment, but not make one."""
    run = tmp_path / "run"
    options = ["--policy.type=random", "--env.type=xarm", "--env.episode_length=5", "--eval.n_episodes=1"]

    assert main(["eval", *options, "--env.python=xarm", "--eval.video=none", f"--output_dir={run}"]) == 0

    assert json.loads((run / "run.json").read_text())["config"]["env"]["python"] == "env:xarm"
    assert main(["resume", str(run)]) == 0


def test_the_doctor_checks_each_environment(xarm):
    """In its own interpreter, and in bounded time."""
    checks = [check for check in checks_of_this_machine() if check.name == "environment xarm"]

    findings = [make(check) for check in checks]

    assert [finding.status for finding in findings] == [Status.OK]
    assert "its check passed in" in findings[0].message
