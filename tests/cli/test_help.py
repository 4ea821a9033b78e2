"""What ``--help`` says: grouped, with examples that work, on terminals of any width."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.cli.arguments import expand
from proctor.cli.completion import SCRIPTS
from proctor.cli.help import EXAMPLES, FIRST_STEPS
from proctor.cli.main import _GROUPS, _make_app, app

COMMANDS = [name for commands in _GROUPS.values() for name in commands]


def examples(text):
    """The command lines of a help text, without the remarks beside them."""
    lines = re.sub(r" *\\\n +", " ", text).splitlines()
    commands = [re.split(r" {3,}", line.strip())[0] for line in lines if line.startswith("  proctor ")]
    return [shlex.split(command)[1:] for command in commands]


@pytest.mark.parametrize(
    "arguments", [line for text in (FIRST_STEPS, *EXAMPLES.values()) for line in examples(text)], ids=" ".join
)
def test_every_example_is_understood(arguments):
    """Its command, its options, its values' types; whether the files exist is another matter."""
    command, bound, unused, *_ = app.parse_known_args(expand(arguments))

    assert command.__name__ == f"{arguments[0].replace('-', '_')}_command"
    assert not unused
    assert bound.arguments or len(arguments) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(name, capsys):
    """Usage, what it does, options, examples."""
    assert main([name, "--help"]) == 0

    out = capsys.readouterr().out
    assert out.startswith(f"Usage: proctor {name}")
    assert f"  proctor {name}" in out
    assert any(line[0] == name for line in examples(EXAMPLES[name]))


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_commands_are_grouped_and_fit_the_terminal(width, capsys, monkeypatch):
    """Evaluating, looking at results, setting up; the first steps below."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(
        sys.modules["proctor.cli.main"], "app", _make_app()
    )  # an application keeps the width of its first help

    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    positions = [out.index(f" {title} ") for title in _GROUPS]
    assert positions == sorted(positions)
    for name in COMMANDS:
        assert re.search(rf"^│ {name} ", out, re.MULTILINE)
    assert "First steps:" in out
    assert max(map(len, out.split("First steps:")[0].splitlines())) <= width


def test_texts_flow():
    """A sentence that is broken in the source is not broken there in the help."""
    command, wide = [sys.executable, "-m", "proctor", "eval", "--help"], {**os.environ, "COLUMNS": "400"}
    out = subprocess.run(command, env=wide, capture_output=True, text=True, check=True).stdout

    assert "for debugging: breakpoint() works there, and a crash of the simulator ends the run." in out


def test_the_version_is_the_packages(capsys):
    """Nothing else is printed."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("proctor-eval")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_a_shell(shell, tmp_path, monkeypatch, capsys):
    """Where that shell looks; the script asks the installed version, and holds no names that could be out of date."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZSH_CUSTOM", raising=False)

    assert main(["completion", shell]) == 0

    output = " ".join(capsys.readouterr().out.split())
    path = re.search(r"Completion is in (\S+);", output)[1]
    assert path.startswith(str(tmp_path))
    assert Path(path).read_text() == SCRIPTS[shell]


def test_where_the_shell_is_unknown_it_is_asked_for(monkeypatch, capsys):
    """A sentence."""
    from cyclopts.completion import detect

    def unknown():
        raise detect.ShellDetectionError

    monkeypatch.setattr("proctor.cli.completion.detect_shell", unknown)

    assert main(["completion"]) == 2
    assert "proctor completion bash, zsh or fish" in capsys.readouterr().err
