"""One meaning for the spellings of a command line, before it is parsed."""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from importlib import import_module
from typing import get_type_hints

import pytest

from proctor.cli.arguments import SWITCHES, expand
from proctor.cli.main import _GROUPS
from proctor.config import RunConfig
from proctor.errors import ConfigError, Note


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "--policy.path=a/b", "--eval.n_episodes=3"],
        ["eval", "--policy.path", "a/b", "--eval.n_episodes", "3"],
        ["eval", "policy.path=a/b", "eval.n_episodes=3"],
        ["eval", "--policy.path=a/b", "--eval.n-episodes", "3"],
        ["policy.path=a/b", "eval", "eval.n-episodes=3"],
        ["eval", "--policy.path=c", "--eval.n_episodes=3", "--policy.path", "a/b"],
    ],
    ids=" ".join,
)
def test_all_spellings_mean_the_same(arguments):
    """With two dashes or none, with ``=`` or a blank, ``-`` or ``_``; the last one written counts."""
    positional, *options = expand(arguments)

    assert positional == "eval"
    assert sorted(options) == ["--eval.n_episodes=3", "--policy.path=a/b"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--a=b=c"], ["--a=b=c"]),
        (["--env.map", '{"a": "b=c"}'], ['--env.map={"a": "b=c"}']),
        (["--name=with-dash"], ["--name=with-dash"]),
        (["--flag"], ["--flag"]),
        (["--flag", "--other", "1"], ["--flag", "--other=1"]),
        (["--flag", "a.b=1"], ["--flag", "--a.b=1"]),
        (["--flag", "false"], ["--flag=false"]),
        (["--empty="], ["--empty="]),
        (["--scale", "-0.5"], ["--scale=-0.5"]),
        (["--seed", "-3", "x"], ["x", "--seed=-3"]),
        (["--rate", "-1e-3"], ["--rate=-1e-3"]),
        (["--flag", "-h"], ["-h", "--flag"]),
        (["show", "--json", "run"], ["show", "run", "--json"]),
        (["resume", "--trust_remote_code", "run"], ["resume", "run", "--trust_remote_code"]),
        (["eval", "--trust_remote_code", "true"], ["eval", "--trust_remote_code=true"]),
        (["resume", "outputs/a=b"], ["resume", "outputs/a=b"]),
        (["resume", "./x=y"], ["resume", "./x=y"]),
        ([], []),
    ],
    ids=" ".join,
)
def test_where_a_value_begins_and_ends(arguments, expected):
    """Values may hold ``=``, dashes and blanks, and be negative; a path is no option."""
    assert expand(arguments) == expected


def test_every_boolean_option_of_a_command_is_a_switch():
    """Else ``--json RUN_DIR`` would take the directory for the value of the option."""
    booleans = set()
    for name in (name for commands in _GROUPS.values() for name in commands):
        module = name.replace("-", "_")
        command = getattr(import_module(f"proctor.cli.{module}"), f"{module}_command")
        hints = get_type_hints(command)
        for kind in list(hints.values()):  # a group of flags
            if is_dataclass(kind) and kind is not RunConfig:
                hints |= get_type_hints(kind)
        booleans |= {parameter for parameter, kind in hints.items() if kind is bool and parameter != "return"}

    assert booleans | {"help", "version"} == SWITCHES


CONFIG = {
    "policy": {"path": "a/b", "n-action-steps": 4},
    "env": {"type": "pusht", "camera_name_mapping": {"top": "camera1"}, "task": None},
    "eval.n_episodes": 10,
    "trust_remote_code": False,
    "seed": 7,
}
EXPANDED = {
    "--policy.path=a/b",
    "--policy.n_action_steps=4",
    "--env.type=pusht",
    '--env.camera_name_mapping={"top": "camera1"}',
    "--eval.n_episodes=10",
    "--trust_remote_code=false",
    "--seed=7",
}


@pytest.mark.parametrize("kind", ["yaml", "json"])
@pytest.mark.parametrize("option", ["--config_path={}", "--config-path={}", "config_path={}"])
def test_a_file_stands_for_what_is_in_it(tmp_path, kind, option):
    """Nested or dotted; a null is as if it were not there."""
    import yaml

    path = tmp_path / f"config.{kind}"
    path.write_text(json.dumps(CONFIG) if kind == "json" else yaml.safe_dump(CONFIG))

    assert set(expand([option.format(path)])) == EXPANDED


@pytest.mark.parametrize("before", [True, False])
def test_the_command_line_overrides_the_file(tmp_path, before):
    """On either side of it."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    arguments = [f"--config_path={path}"]
    arguments.insert(0 if before else 1, "--eval.n-episodes=99")

    assert set(expand(arguments)) == EXPANDED - {"--eval.n_episodes=10"} | {"--eval.n_episodes=99"}


def test_a_date_in_a_file_is_the_text_that_was_written(tmp_path):
    """YAML makes dates of what looks like one; a job's name may."""
    path = tmp_path / "config.yaml"
    path.write_text("job_name: 2026-01-31\n")

    assert expand(["--config_path", str(path)]) == ["--job_name=2026-01-31"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", "holds list; expected names and values"),
        ("", "holds NoneType; expected names and values"),
        ("a: [1, 2", "is neither YAML nor JSON"),
        ("a: !!python/object/apply:os.getcwd []\n", "is neither YAML nor JSON"),
        ("\x00", "is neither YAML nor JSON"),
        ("a: &x [1]\nb: *x\n", "anchors and aliases are not accepted (line 1, column 4)"),
        ("a: !!int x", "tags are not accepted"),
        ("seed: 1\nseed: 2\n", "the key 'seed' occurs twice (line 2, column 1)"),
        ("a: " + "[" * 5000, "nested more than 32 levels deep"),
        ("1: a", "the key 1 is not a text"),
        ("a: " + "x" * (1 << 20), "is larger than 1048576 bytes"),
    ],
    ids=["list", "empty", "torn", "code", "binary", "bomb", "tag", "twice", "deep", "number", "huge"],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, message):
    """In one line; nothing in it is ever executed."""
    path = tmp_path / "config.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError) as caught:
        expand([f"--config_path={path}"])

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """So is a folder in its place, or no name at all."""
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read: No such file"):
        expand([f"--config_path={tmp_path / 'nothing.yaml'}"])
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        expand([f"--config_path={tmp_path}"])
    for nothing in (["--config_path"], ["--config_path="], ["--config_path", "--seed=1"]):
        with pytest.raises(ConfigError, match="--config_path needs the name of a file"):
            expand(nothing)


@pytest.mark.parametrize(
    "value",
    [
        '{"a": "b", "c": ["d"]}',
        "{a: b, c: [d]}",
        "{'a': 'b', 'c': ['d']}",
        '{ "a": b, c: ["d"] }',
    ],
)
def test_a_mapping_may_be_written_as_yaml_as_lerobot_takes_it(value):
    """The commands see JSON."""
    assert expand([f"--rename_map={value}"]) == ['--rename_map={"a": "b", "c": ["d"]}']


def test_what_only_looks_like_a_mapping_reaches_the_command_as_it_was_written():
    """The command that takes the option says what is wrong with it."""
    assert expand(["--env.task={a: b"]) == ["--env.task={a: b"]


@pytest.mark.parametrize("option", ["--env.kwargs.size.width=3", "policy.kwargs.size.width=3"])
def test_a_part_of_a_mapping_is_refused_with_the_whole_of_it(option):
    """A field of an environment or a policy is given as a whole."""
    group = option.removeprefix("--").partition(".")[0]
    with pytest.raises(
        ConfigError, match=rf"give --{group}.kwargs as a whole: --{group}.kwargs='{{\"size.width\": …}}'"
    ):
        expand(["eval", option])


def test_lerobots_old_option_for_the_checkpoint_is_taken_with_a_note():
    """``-p`` was LeRobot's until 0.2."""
    with pytest.warns(Note, match=r"-p is an option of older LeRobots; it is taken as --policy\.path"):
        assert expand(["eval", "-p", "lerobot/x", "eval.n_episodes=10"]) == [
            "eval", "--policy.path=lerobot/x", "--eval.n_episodes=10",
        ]  # fmt: skip


def test_the_other_old_names_are_taken_with_a_note_too():
    """They stood beside the groups, in LeRobot until 0.2."""
    old = r"--{0} is an option of older LeRobots; it is taken as --policy\.{0}"
    with pytest.warns(Note, match=old.format("use_amp")), pytest.warns(Note, match=old.format("device")):
        assert expand(["eval", "--use_amp=false", "device=cuda"]) == [
            "eval", "--policy.use_amp=false", "--policy.device=cuda",
        ]  # fmt: skip
