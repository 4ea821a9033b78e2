"""Ids that a script registers: what reaches the workers, and what has to run in the script's own process."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec

import proctor
from proctor.benchmarks.gymnasium_registry import register_specs, to_workers

SOURCE = Path(proctor.__file__).parents[1]

ENVIRONMENT = """
    import os
    import gymnasium
    import numpy as np

    class Tiny(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,))

        def __init__(self, pay=1):
            self.pay = pay

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(2, np.float32), {}

        def step(self, action):
            here = os.getpid() == int(os.environ["MAIN"])
            return np.zeros(2, np.float32), self.pay, True, False, {"is_success": here}
"""
"""Succeeds in the process that began the evaluation."""

EVALUATION = """
    import os
    import proctor

    os.environ["MAIN"] = str(os.getpid())
    env = {"type": "gymnasium", "task": "Tiny-v0"}
    result = proctor.evaluate({"type": "zero"}, env, n_episodes=2, output_dir="out")
    print(result.pc_success, [episode["sum_reward"] for episode in result.info["per_episode"]])
"""


def run_script(folder, **files):
    """Write the files and run ``script.py``."""
    for name, content in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(content))
    environment, command = {**os.environ, "PYTHONPATH": str(SOURCE)}, [sys.executable, "script.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_class_that_workers_can_import_reaches_them(tmp_path):
    """Registered by the script, with arguments of its own, from a module beside it."""
    register = (
        "import gymnasium, tiny\ngymnasium.register('Tiny-v0', tiny.Tiny, max_episode_steps=3, kwargs={'pay': 5})\n"
    )
    done = run_script(tmp_path, tiny=ENVIRONMENT, script=register + textwrap.dedent(EVALUATION))

    assert (done.stdout.strip(), "Note" in done.stderr) == ("0.0 [5.0, 5.0]", False), done.stderr


def test_a_class_of_the_script_runs_in_its_process_and_that_is_reported(tmp_path):
    """The script is never run again, so no main guard is needed."""
    register = "\ngymnasium.register('Tiny-v0', Tiny, max_episode_steps=3)\n"
    done = run_script(tmp_path, script=textwrap.dedent(ENVIRONMENT) + register + textwrap.dedent(EVALUATION))

    assert done.stdout.strip() == "100.0 [1.0, 1.0]", done.stderr
    assert done.stderr.count("Note: Tiny-v0 is registered with objects that only this process has") == 1


@pytest.mark.parametrize("where", ["entry point", "module"])
def test_a_script_that_would_evaluate_again_where_it_is_imported_is_refused(tmp_path, where):
    """In the worker that imports it to construct the environment, or at once where it is called env.module."""
    register = "\ngymnasium.register('Tiny-v0', 'script:Tiny', max_episode_steps=3)\n"
    evaluation = textwrap.dedent(EVALUATION)
    if where == "module":
        evaluation = evaluation.replace('"task": "Tiny-v0"', '"task": "Tiny-v0", "module": "script"')
    done = run_script(tmp_path, script=textwrap.dedent(ENVIRONMENT) + register + evaluation)

    assert "ConfigError: script starts an evaluation while it is imported for another one; move the" in done.stderr
    assert done.stdout == ""


class Local:
    """Stands for an environment's class."""


def as_built(**kwargs):
    """Stands for a function that makes one."""


def test_what_workers_can_construct_is_written_as_json(monkeypatch):
    """By its address; what has none, is in a module made at run time, or has arguments beyond JSON, is not."""
    made_up = ModuleType("made_up_at_run_time")
    made_up.Env = type("Env", (), {"__module__": "made_up_at_run_time"})
    monkeypatch.setitem(sys.modules, made_up.__name__, made_up)
    entries = {
        "class": EnvSpec("A-v0", Local, kwargs={"size": 3}),
        "function": EnvSpec("A-v0", as_built),
        "text": EnvSpec("A-v0", "a_package_not_yet_imported:Env"),
        "lambda": EnvSpec("A-v0", lambda: None),
        "main": EnvSpec("A-v0", "__main__:Env"),
        "run time": EnvSpec("A-v0", made_up.Env),
        "tuple": EnvSpec("A-v0", Local, kwargs={"size": (3, 4)}),
        "object": EnvSpec("A-v0", Local, kwargs={"thing": object()}),
    }

    assert [kind for kind, spec in entries.items() if to_workers(spec) is not None] == ["class", "function", "text"]


def test_a_worker_runs_what_the_script_registered_under_a_known_id(monkeypatch):
    """Not the environment that Gymnasium has under it."""
    monkeypatch.setattr(gymnasium, "registry", dict(gymnasium.registry))
    known = gymnasium.registry["CartPole-v1"]
    register_specs({"CartPole-v1": to_workers(known)})
    assert gymnasium.registry["CartPole-v1"] is known

    register_specs({"CartPole-v1": to_workers(EnvSpec("CartPole-v1", Local, max_episode_steps=7))})
    assert gymnasium.registry["CartPole-v1"].max_episode_steps == 7
