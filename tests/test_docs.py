"""What README and docs say: their commands and programs run, their links lead somewhere, their tables are complete.

Blocks of a page run in their order, in one directory and, if Python, in one namespace; ``examples`` lies beside.

- ``bash``: every ``proctor`` and ``pytest`` command must exit with 0. Other commands must be those of
  ``OTHER_COMMANDS``.
- ``python``: must run. ``python title="file.py"`` and ``toml title="pyproject.toml"`` are files of the page.
- After ``<!-- only parsed: why -->`` either is not run: Python must compile, commands must be understood, up to the
  fields of their benchmark and policy.
- ``pycon``: must print what it says (doctest).
"""

from __future__ import annotations

import doctest
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import proctor
from proctor import errors
from proctor.cli import main
from proctor.cli.arguments import expand
from proctor.cli.main import app
from proctor.config import RunConfig
from proctor.evaluation.components import load_policy, make_benchmark
from proctor.plugins import installed
from proctor.testing.fakes import FAKE_BENCHMARK

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")], key=lambda page: page.relative_to(REPOSITORY)
)
WITHOUT_POLICY = {"sweep", "race"}
"""Commands whose policies are their arguments, and not fields of the evaluation."""
OTHER_COMMANDS = re.compile(r"make \w+|\. \.venv/bin/activate|pip install .+|git clone .+|cd \S+")

CARDS = sorted(REPOSITORY.glob("examples/*/README.md"))

every_page = pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(REPOSITORY)))


@dataclass(frozen=True)
class Block:
    """A fenced block; ``only_parsed`` is why it cannot run here."""

    language: str
    title: str
    text: str
    only_parsed: str

    def commands(self) -> Iterator[list[str]]:
        """Of a shell, without prompts and comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


_FENCE = re.compile(
    r"(?:<!-- only parsed: (?P<why>[^>]+) -->\n\s*)?^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    found = [
        Block(match["language"], match["title"] or "", match["text"], match["why"] or "")
        for match in _FENCE.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^```", text, re.MULTILINE)), "a fence that is not understood"
    return found


# ---------------------------------------------------------------------------------------------------- what is run


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty directory with the examples, from which plug-ins are found as if they were installed."""
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    installed.cache_clear()
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_what_a_page_shows_works(page, workplace):
    """Its commands and programs, in their order."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.title:
            write_file(workplace, block)
        elif block.language == "bash":
            for words in block.commands():
                run_command(words, only_parse=bool(block.only_parsed))
        elif block.language == "python":
            program = compile(block.text, page.name, "exec")
            if not block.only_parsed:
                exec(program, namespace)
        elif block.language == "pycon":
            run_session(block.text, page.name)
        else:
            assert block.language in ("text", "console"), f"a block of {block.language or 'nothing'}"


def write_file(folder: Path, block: Block) -> None:
    """A file that the page shows. What a ``pyproject.toml`` registers is there as if the package were installed."""
    (folder / block.title).write_text(block.text)
    if block.title == "pyproject.toml":
        register(folder, tomllib.loads(block.text)["project"])


def register(folder: Path, project: dict[str, Any]) -> None:
    """Leave what an installer leaves of a package's entry points."""
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines: list[str] = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {address}" for point, address in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    installed.cache_clear()


def run_command(words: list[str], *, only_parse: bool) -> None:
    """A command of a page; one of ours must work."""
    if words[0] == "pytest":
        subprocess.run([sys.executable, "-m", *words, "-q", "-p", "no:cacheprovider"], check=True)
        return
    if words[0] != "proctor":
        assert OTHER_COMMANDS.fullmatch(" ".join(words)), words
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE), words
        return
    parse(words[1:])
    if not only_parse:
        assert main(words[1:]) == 0, words


def parse(arguments: list[str]) -> None:
    """Understand a command line without running it: its options, and the fields of benchmark and policy."""
    _, bound, _ = app.parse_args(expand(arguments), print_error=False, exit_on_error=False)
    for value in bound.arguments.values():
        if isinstance(value, RunConfig):
            make_benchmark(value.env)
            if arguments[0] not in WITHOUT_POLICY and is_here(value.policy):
                load_policy(value.policy)


def is_here(policy: dict[str, Any]) -> bool:
    """Whether the page speaks of a policy that is there, and not of one of its reader's."""
    path = policy.get("path")
    return Path(path).is_dir() if path else policy.get("type") != "function"


def run_session(text: str, name: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    outcome = doctest.DocTestRunner().run(test)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    "command",
    [
        "eval --eval.n_episode=3",
        "eval --env.type=pusht --env.tasks=x",
        "eval --env.type=pusht --policy.type=exprt",
        "eval --policy.type=expert",
        "shwo outputs",
    ],
)
def test_a_command_that_is_wrong_would_be_noticed(command):
    """Although it is only parsed."""
    with pytest.raises(Exception, match=r"(?i)did you mean|unknown|which benchmark"):
        parse(command.split())


# ------------------------------------------------------------------------------------------------------------ links


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    text = _FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_leads_somewhere(page):
    """To a file of the repository, and to a heading that is there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert REPOSITORY in there.parents, target
        assert not anchor or anchor in anchors(there), target


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    """In one step."""
    linked = re.findall(r"\]\((docs/[^)#]+\.md)", (REPOSITORY / "README.md").read_text())

    assert {f"docs/{page.name}" for page in PAGES if page.parent == REPOSITORY / "docs"} == set(linked)


def test_every_ratio_in_the_readme_and_the_headlines_is_in_the_lab_book():
    """When a measurement is repeated, its number changes in all of them."""
    measured = ratios_of(REPOSITORY / "docs" / "lab-book.md")

    for page in (REPOSITORY / "README.md", REPOSITORY / "docs" / "performance.md"):
        assert ratios_of(page) <= measured


def ratios_of(page: Path) -> set[str]:
    """All numbers in front of a multiplication sign."""
    return set(re.findall(r"[\d.]+(?=\N{MULTIPLICATION SIGN})", page.read_text()))


# ------------------------------------------------------------------------------------------------------- references


def test_the_reference_of_python_is_what_the_docstrings_say():
    """``make docs`` writes it again, and every public name is in it."""
    tool = runpy.run_path(str(REPOSITORY / "tools" / "api_reference.py"))

    assert (REPOSITORY / "docs" / "api.md").read_text() == tool["reference"]()
    assert sorted(name for names in tool["GROUPS"].values() for name in names) == proctor.__all__


def test_the_reference_of_the_command_line_is_what_the_commands_say():
    """``make docs`` writes it again."""
    tool = runpy.run_path(str(REPOSITORY / "tools" / "cli_reference.py"))

    assert (REPOSITORY / "docs" / "cli.md").read_text() == tool["reference"]()


def test_every_exit_status_is_in_the_reference():
    """Those of all errors, and what commands return themselves."""
    table = (REPOSITORY / "docs" / "cli.md").read_text().partition("## Exit status")[2]
    documented = {
        int(status) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for status in row.split(", ")
    }
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ProctorError)]

    assert documented == {0, 3, 6, 129, 130, 143} | {kind.exit_code for kind in kinds}


FORMAT = (REPOSITORY / "docs" / "results-format.md").read_text()


def documented_keys(title: str) -> set[str]:
    """The first column of the tables below a heading; a key ending in ``…`` stands for all counts and averages."""
    (section,) = re.findall(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", FORMAT, re.MULTILINE | re.DOTALL)
    keys = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(keys) == len(set(keys))
    return {
        f"{key[:-1]}{shared}" if shared else key
        for key in keys
        for shared in (documented_keys("Counts, rates and averages") if key.endswith("…") else [""])
    }


def keys(value: object, documented: set[str], path: str = "") -> Iterator[str]:
    """Every key of a JSON value as the documentation writes it, as deep as that goes."""
    deeper = any(key.startswith((f"{path}.", f"{path}[]")) for key in documented)
    if path and (path in documented or not deeper):
        yield path
    if path and not deeper:
        return
    if isinstance(value, list):
        for item in value:
            yield from keys(item, documented, f"{path}[]")
    elif isinstance(value, dict):
        for name, item in value.items():
            inner = f"{path}.{name}".removeprefix(".")
            yield from keys(item, documented, re.sub(r"(per_group|attempts_by_kind)\.[^.]+$", _placeholder, inner))


def _placeholder(match: re.Match[str]) -> str:
    return f"{match[1]}.{'<suite>' if match[1] == 'per_group' else '<kind>'}"


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """A run in a git repository, of a policy with weights, with an episode that was retried and one video per task."""
    folder = tmp_path_factory.mktemp("documented")
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m one"):
        subprocess.run(["git", *command.split()], check=True, cwd=folder)
    faults = json.dumps({"0/1001/2": "raise"})
    arguments = [f"--env.type={FAKE_BENCHMARK}", f"--env.faults={faults}", f"--env.scratch={folder}", "--env.n_tasks=2"]
    arguments += ["--policy.type=expert", "--eval.n_episodes=2", "--eval.n_episodes_to_render=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["eval", *arguments, "--eval.display=none", f"--output_dir={folder / 'run'}"]) == 0
    return folder / "run"


def test_every_key_of_the_results_is_documented_and_every_documented_key_is_there(run_directory):
    """In ``eval_info.json``."""
    documented = documented_keys("`eval_info.json`")

    assert set(keys(json.loads((run_directory / "eval_info.json").read_text()), documented)) == documented


def test_every_key_of_the_run_file_is_documented_and_every_documented_key_is_there(run_directory):
    """In ``run.json``."""
    documented = documented_keys("`run.json`")

    assert set(keys(json.loads((run_directory / "run.json").read_text()), documented)) == documented


def test_every_key_of_the_journal_is_documented_and_every_documented_key_is_there(run_directory):
    """In the records of its lines."""
    documented = documented_keys("`journal.jsonl`")
    records = [json.loads(line)["record"] for line in (run_directory / "journal.jsonl").read_text().splitlines()]

    assert {key for record in records for key in keys(record, documented)} == documented


def test_every_file_of_a_run_is_documented(run_directory):
    """In the table at the top of the page."""
    documented = FORMAT.partition("\n## ")[0]
    files = [path.relative_to(run_directory) for path in run_directory.rglob("*") if path.is_file()]

    assert len(files) > 4
    for file in files:
        shown = "videos/<suite>_<task_id>/eval_episode_<n>.mp4" if file.parts[0] == "videos" else str(file)
        assert f"| `{shown}` |" in documented
