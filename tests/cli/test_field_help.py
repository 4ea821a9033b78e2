"""``--env.type=X --help``: the fields of a benchmark or a policy type, and panels by subject."""

from __future__ import annotations

import dataclasses

import pytest

from proctor.cli import main
from proctor.cli.fields import fields_of
from proctor.cli.help import SUBJECTS
from proctor.plugins import BENCHMARKS, installed, load_object


def test_the_fields_of_a_benchmark_are_listed_with_their_defaults(capsys, monkeypatch):
    """Its own first, then those that every benchmark has; not the two hundred lines about everything else."""
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["eval", "--env.type=metaworld", "--help"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("Meta-World: ")
    assert " Benchmark metaworld " in out
    assert "[default: corner2]" in out
    assert out.index("--env.camera_name") < out.index("--env.episode_length")
    assert "--eval." not in out
    assert out.endswith("Its tasks: proctor list metaworld. All other options: proctor eval --help\n")


def test_the_fields_of_a_policy_type_are_listed_too(capsys):
    """A scripted policy has none."""
    assert main(["check", "--policy.type=openpi", "-h"]) == 0
    assert "--policy.url" in capsys.readouterr().out

    assert main(["eval", "--policy.type=expert", "--help"]) == 0
    assert "Policy expert has no fields of its own." in capsys.readouterr().out


def test_an_unknown_type_gets_the_nearest_name(capsys):
    """As without --help."""
    assert main(["eval", "--env.type=metawrld", "--help"]) == 2
    assert "Did you mean 'metaworld'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(installed(BENCHMARKS)))
def test_every_field_of_every_benchmark_is_listed_and_described(name):
    """Also one whose simulator is not installed: no adapter imports its simulator for that."""
    config = load_object(installed(BENCHMARKS)[name].value).config_class
    options = fields_of("env", name)

    assert {option.name for option in options} == {
        f"--env.{field.name}" for field in dataclasses.fields(config) if field.name != "type"
    }
    assert all(option.text for option in options)


@pytest.mark.parametrize("command", ["eval", "parallel", "sweep"])
def test_the_options_of_an_evaluation_are_in_a_panel_for_each_subject(command, capsys, monkeypatch):
    """In this order; every option is in one of them."""
    monkeypatch.setenv("COLUMNS", "120")
    assert main([command, "--help"]) == 0

    out = capsys.readouterr().out
    positions = [out.index(f"─ {subject} ─") for subject in SUBJECTS]
    assert positions == sorted(positions)
    ends = [*positions[1:], None]
    panels = {subject: out[a:b] for subject, a, b in zip(SUBJECTS, positions, ends, strict=True)}
    for subject, option in {
        "Run": "--eval.n_episodes ",
        "Policy": "--policy ",
        "Benchmark": "--env ",
        "Videos and recording": "--eval.video_fps",
        "Statistics": "--eval.ci",
        "Engine": "--eval.use_async_envs",
        "Trackers": "--wandb.project",
    }.items():
        assert [name for name, panel in panels.items() if option in panel] == [subject]


def test_a_command_with_few_options_has_one_panel(capsys):
    """Subjects would only spread them."""
    assert main(["replay", "--help"]) == 0
    assert "─ Options ─" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["help", "eval"], ["help"], ["-V"]], ids=" ".join)
def test_help_and_the_version_are_found_by_the_names_that_other_programs_have(arguments, capsys):
    """git, uv, cargo and docker have these."""
    assert main(arguments) == 0
    asked = capsys.readouterr().out
    assert main({"help eval": ["eval", "--help"], "help": ["--help"], "-V": ["--version"]}[" ".join(arguments)]) == 0

    assert asked == capsys.readouterr().out


def test_the_help_of_an_unknown_command_names_the_nearest(capsys):
    """Exit status 2."""
    assert main(["help", "evl"]) == 2
    assert 'Did you mean "eval"?' in capsys.readouterr().err
