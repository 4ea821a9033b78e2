"""The name under which Proctor is installed: it stands in one place of the code, and every hint and version has it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import pytest

from proctor import errors
from proctor.errors import MissingExtraError, distribution_name, install_command
from proctor.identity import code
from proctor.plugins import BENCHMARKS, installed, requirements_of
from proctor.results.provenance import PROCTOR, collect_provenance
from proctor.streams import RandomStream

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
AN_EXTRA = re.compile(r"(?<![\w-])proctor[\w-]*(?=\\?\[[a-z])")
"""The name of a distribution of Proctor's with an extra, as in ``pip install 'NAME[EXTRA]'``."""


def test_the_code_and_the_project_agree_on_the_name():
    assert distribution_name() == PROJECT["name"]


def test_the_code_names_the_distribution_once():
    named = [
        (path.name, line)
        for path in (REPOSITORY / "src" / "proctor").rglob("*.py")
        for line in path.read_text().splitlines()
        if f'"{PROJECT["name"]}"' in line or f"{PROJECT['name']}[{{" in line
    ]

    assert named == [("errors.py", f'_PUBLISHED_AS = "{PROJECT["name"]}"')]


def test_every_extra_in_the_repository_is_one_of_that_distribution():
    """The pages, the docstrings, the tests, and the extras that consist of other extras."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    texts = {
        name: (REPOSITORY / name).read_text()
        for name in files.stdout.split("\0")
        if name.endswith((".py", ".md", ".toml", ".yml", ".json", "Dockerfile", "Makefile"))
        and not name.startswith(("tests/data/", "CHANGELOG"))
    }
    named = {(name, found) for name, text in texts.items() for found in AN_EXTRA.findall(text)}

    assert {found for _, found in named} - {"proctor-sliding"} == {PROJECT["name"]}, named  # a plug-in of the tests


def test_an_extra_that_consists_of_others_has_no_condition():
    """Hatchling copies the requirements of the others into its own, and drops the condition: all of them would apply
    under every Python."""
    extras = PROJECT["optional-dependencies"]
    others = [
        each for requirements in extras.values() for each in requirements if each.startswith(PROJECT["name"] + "[")
    ]

    assert len(others) >= 4
    assert [each for each in others if ";" in each] == []


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of the import path, and a function that leaves there what an installer leaves of a distribution."""
    monkeypatch.syspath_prepend(tmp_path)

    def leave(name, command):
        info = tmp_path / f"{name.replace('-', '_')}-7.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 7.0\n")
        (info / "entry_points.txt").write_text(f"[console_scripts]\nproctor = {command}\n")

    yield leave
    distribution_name.cache_clear()


def test_a_distribution_that_somebody_renamed_is_found_by_its_command(place):
    """Another project of the index installs a command of the same name, and is not taken for this one."""
    distribution_name.cache_clear()
    place("proctor", "proctor.runner:main")
    place("our-proctor", "proctor.cli:main")
    with patch.object(errors, "_PUBLISHED_AS", "no-such-distribution"):
        assert distribution_name() == "our-proctor"
        assert str(MissingExtraError("it", "view")).endswith("install it with: pip install 'our-proctor[view]'")
        assert collect_provenance([PROCTOR], 1).packages == {PROCTOR: "7.0"}


def test_the_hints_of_errors_and_of_plug_ins_are_the_same_command():
    needs = requirements_of(installed(BENCHMARKS)["pusht"])

    assert needs.command == install_command("pusht") == f"pip install '{PROJECT['name']}[pusht]'"


def test_results_call_proctors_version_by_the_name_that_older_results_have():
    assert collect_provenance([PROCTOR], 1).packages == {"proctor": version(PROJECT["name"])}


def test_proctor_is_no_package_that_a_function_depends_on():
    """It is one if it is installed as a wheel; a fingerprint with its version would refuse the next version."""

    def draws():
        return RandomStream

    with patch.object(code, "owner_of", lambda module: f"the owner of {module}"):
        assert "the owner of proctor" not in code.identify(draws).distributions
