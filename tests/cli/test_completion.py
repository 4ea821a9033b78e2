"""What a shell is told when somebody presses the tab key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.cli.complete import candidates
from proctor.cli.completion import SCRIPTS
from proctor.cli.main import app
from proctor.results.run_index import register_run


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ev"], ["eval"]),
        (["eval", "--env.type=metaw"], ["--env.type=metaworld"]),
        (["eval", "--env.type", "metaw"], ["metaworld"]),
        (["eval", "--policy.type=exp"], ["--policy.type=expert"]),
        (["eval", "--env.type=metaworld", "--env.task=reach-v"], ["--env.task=reach-v3"]),
        (["eval", "--env.type=metaworld", "--env.task=MT10,push-v"], ["--env.task=MT10,push-v3"]),
        (["eval", "--env.type=metaworld", "--env.camera"], ["--env.camera_name="]),
        (["eval", "--env.camera"], []),
        (["eval", "--eval.n_episodes_t"], ["--eval.n_episodes_to_render="]),
        (["eval", "--eval.display=p"], ["--eval.display=plain"]),
        (["eval", "--eval.ci", "w"], ["wilson"]),
        (["eval", "--policy.type=openpi", "--policy.u"], ["--policy.url="]),
        (["compare", "--any"], ["--anyway"]),
        (["list", "metaw"], ["metaworld"]),
        (["help", "comple"], ["completion"]),
        (["completion", "z"], ["zsh"]),
        (["nonsense", "--x"], []),
        (["merge", "a"], []),
    ],
    ids=" ".join,
)
def test_commands_options_types_and_tasks_complete(words, found):
    """As they are installed, and those of the type that the line names."""
    assert candidates(app, words) == found


@pytest.fixture
def runs(in_an_empty_folder):
    """Two runs, one of them in a directory of the user's."""
    for directory in (Path("outputs/eval/2026-11-21/09-00-00_pusht_act"), Path("mine/best")):
        directory.mkdir(parents=True)
        (directory / "run.json").write_text("{}")
        register_run(directory)
    return in_an_empty_folder


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["show", "mine"], ["mine/best"]),
        (["compare", "mine/best", "outputs/"], ["outputs/eval/2026-11-21/09-00-00_pusht_act"]),
        (["replay", "09"], ["09-00-00_pusht_act"]),
    ],
    ids=" ".join,
)
def test_runs_complete_by_path_and_by_name(words, found):
    """A name is what the other commands print."""
    assert candidates(app, words) == found


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("proctor eval --env.type=metaw", "metaworld\n"),
        ("proctor eval --env.type=metaworld --eval.disp", "--eval.display=\n"),
        ("proctor eval --env.type=nothing --env.", ""),
        ("proctor eval 'unclosed", ""),
    ],
)
def test_bash_is_given_what_comes_after_its_word_break(line, printed, capsys):
    """It replaces the rest of a word after ``=``. What cannot be completed is no error."""
    assert main(["__complete", "bash", line]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_of_bash_works_in_bash(runs, tmp_path):
    """The function fills in COMPREPLY, for the program by whichever path it was called."""
    program = tmp_path / "proctor"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m proctor "$@"\n')
    program.chmod(0o755)
    script = (
        SCRIPTS["bash"]
        + f"""
COMP_WORDS=({program} show mi) COMP_LINE="{program} show mi" COMP_POINT=$((${{#COMP_LINE}}))
_proctor
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=os.environ)

    assert done.stdout == "mine/best\n"
