"""docs/from-lerobot-eval.md against LeRobot itself: every option is in a table, and pasted commands are understood."""

from __future__ import annotations

import re
import shlex
import warnings
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pytest

from proctor.cli.arguments import expand
from proctor.cli.main import app
from proctor.config import EvalConfig, RunConfig
from proctor.config.lerobot_flags import without_lerobots
from proctor.errors import CheckpointError, ConfigError, Note
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.plugins import BENCHMARKS, find, load_object

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "from-lerobot-eval.md").read_text()
COMMANDS = [
    line.split("\t")
    for line in (REPOSITORY / "tests" / "data" / "lerobot_commands.tsv").read_text().splitlines()
    if not line.startswith("#")
]
PASSED_ON = {"vlabench", "robotwin", "robomme", "isaaclab_arena"}
"""Types whose options are passed to LeRobot's own environment, as one sentence of the page says."""
OF_PARSER = {"--env.type", "--policy.path", "--policy.type", "--config_path"}
OF_PARSER |= {"--env.discover_packages_path", "--policy.discover_packages_path"}
"""Options of LeRobot's command line that are fields of none of its configuration classes."""


class Row(NamedTuple):
    """A row of the page's tables of options; ``types`` is empty if the option does not depend on ``--env.type``."""

    option: str
    types: frozenset[str]
    here: str

    @property
    def group(self) -> str:
        return self.option.removeprefix("--").rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.option.removeprefix("--").rpartition(".")[2]


def rows_of(page: str) -> list[Row]:
    section = page.partition("## Options")[2].partition("## What will change")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `--" in line]
    return [
        Row(row[0].strip("`"), frozenset(re.findall(r"`(\w+)`", row[1])) if len(row) == 4 else frozenset(), row[-2])
        for row in cells
    ]


ROWS = rows_of(PAGE)


@pytest.fixture(scope="module")
def lerobots():
    """LeRobot's options by configuration class; those of environments by type, without the fields of every type."""
    configs = pytest.importorskip("lerobot.configs.eval", reason="the page is about LeRobot 0.6's lerobot-eval")
    if not any(field.name == "recording" for field in fields(configs.EvalConfig)):
        pytest.skip("the page is about LeRobot 0.6, and an older one is installed")
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.envs.configs import EnvConfig as LeRobotEnvConfig

    named = lambda cls: {field.name for field in fields(cls)}  # noqa: E731
    return {
        "": named(configs.EvalPipelineConfig) - {"env", "eval", "policy"},
        "eval": named(configs.EvalConfig),
        "policy": named(PreTrainedConfig),
        "env": named(LeRobotEnvConfig),
        "types": {
            name: named(cls) - named(LeRobotEnvConfig)
            for name, cls in LeRobotEnvConfig.get_known_choices().items()
            if name not in PASSED_ON
        },
    }


def test_every_option_of_lerobot_is_in_a_table_and_every_row_is_an_option_of_lerobot(lerobots):
    """An option that a new LeRobot adds, or takes away, makes this test fail."""
    theirs = {
        f"--{group}.{name}".replace("--.", "--") for group in ("", "eval", "policy", "env") for name in lerobots[group]
    }
    of_types = {f"--env.{name}" for names in lerobots["types"].values() for name in names}

    assert sorted(row.option for row in ROWS) == sorted(theirs | of_types | OF_PARSER)


def test_the_table_of_one_type_names_the_types_that_have_each_option(lerobots):
    """As far as Proctor has an adapter for them. libero_plus has an option that LIBERO's type has as well."""
    for row in ROWS:
        if row.types and row.here != "refused":
            assert row.types == {name for name, names in lerobots["types"].items() if row.name in names}, row.option


def test_types_that_pass_options_on_are_named(lerobots):
    """So that no type of LeRobot is left out of the page."""
    assert all(f"`{name}`" in PAGE for name in PASSED_ON | lerobots["types"].keys())


@pytest.mark.parametrize("row", [row for row in ROWS if row.option not in OF_PARSER], ids=lambda row: row.option)
def test_an_option_does_here_what_its_row_says(row):
    """An option that is the same is a field here; others are accepted with a note, or refused."""
    if row.here == "same" and row.group in ("", "eval"):
        assert row.name in {field.name for field in fields(EvalConfig if row.group else RunConfig)}
    elif row.here == "same" and row.group == "env" and row.types != {"gym_manipulator"}:
        for name in row.types or {"pusht", "libero"}:
            assert row.name in {field.name for field in fields(load_object(find(BENCHMARKS, name)).config_class)}
    elif row.here == "note":
        with pytest.warns(Note, match=f"--env.{row.name} has no effect"):
            assert without_lerobots("env", {row.name: "1"}, known=()) == {}
    elif row.here == "refused":
        with pytest.raises(ConfigError, match=f"--env.{row.name} is not supported"):
            without_lerobots("env", {row.name: "1"}, known=())


def test_there_is_a_list_of_commands():
    assert len(COMMANDS) >= 20
    assert f"Of {len(COMMANDS)} commands, two are refused" in " ".join(PAGE.split())


@pytest.mark.parametrize("command", [command for _, command in COMMANDS], ids=[source for source, _ in COMMANDS])
def test_a_command_of_lerobots_documentation_is_understood_up_to_its_checkpoint(command, monkeypatch, tmp_path):
    """The options, the benchmark and its fields; only the checkpoint is not here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("proctor.policies.lerobot.location._download", refuse)
    words = shlex.split(command.removeprefix("lerobot-eval"))
    with warnings.catch_warnings(action="ignore", category=Note):
        _, bound, _ = app.parse_args(expand(["eval", *words]), print_error=False, exit_on_error=False)
        config = bound.arguments["config"]
        make_benchmark(config.env, trust_remote_code=config.trust_remote_code)
    expected = CheckpointError if "path" in config.policy else ConfigError
    with pytest.raises(expected, match=r"no checkpoint|not downloaded|policy type|Unknown field"):
        load_policy(config.policy, config.rename_map)


def refuse(repository, revision):
    """Take the place of a download, which is the first thing that is not tried here."""
    raise CheckpointError(f"{repository}@{revision} is not downloaded by a test.")


def test_lerobots_name_of_a_revision_is_understood(monkeypatch):
    """A run that was planned has the commit in its path, which counts."""
    monkeypatch.setattr("proctor.policies.lerobot.location._download", refuse)

    with pytest.raises(CheckpointError, match="user/act@v2 is"):
        load_policy({"path": "user/act", "pretrained_revision": "v2"})
    with pytest.raises(CheckpointError, match="user/act@abc is"):
        load_policy({"path": "user/act@abc", "revision": None, "pretrained_revision": "v2"})
