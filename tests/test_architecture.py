"""What ARCHITECTURE.md, CONTRIBUTING.md and README.md say of the code is there: files, layers, messages."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import proctor
from proctor.engine.worker import messages
from proctor.parallel import messages as parallel_messages
from test_layering import LAYERS

REPOSITORY = Path(__file__).parents[1]
SOURCE = Path(proctor.__file__).parent
PAGES = [REPOSITORY / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")]
PAGES += sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
RUN_FOLDERS = ("videos/", "recording/")
WORKER_MESSAGES = ("Act", "Observed", "Finished")
FILE = re.compile(r"`([\w./-]+\.(?:py|html|js|md|txt|toml)|[\w./-]+/)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    """Paths are relative to the repository or to src/proctor; a run directory's files are of another kind."""
    named = {name for name in FILE.findall(page.read_text()) if "/" in name and not name.startswith(RUN_FOLDERS)}
    missing = [name for name in sorted(named) if not any((root / name).exists() for root in (REPOSITORY, SOURCE))]

    assert not missing


def test_the_layers_that_are_drawn_are_those_that_are_enforced():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    drawing = re.search(r"## Layers\n.*?```text\n(.*?)```", text, re.DOTALL)[1]
    lines = [re.split(r"\s{4,}", line)[0].split() for line in drawing.splitlines()]

    assert [sorted(line) for line in lines] == [sorted(line) for line in LAYERS]


def test_the_messages_in_the_picture_of_processes_exist():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    pictures = " ".join(re.search(r"## Processes\n(.*?)## Layers", text, re.DOTALL)[1].split("```text")[1:])
    named = {name for name in WORKER_MESSAGES if name in pictures}

    assert named >= {"Act", "Observed", "Finished"}
    assert all(hasattr(messages, name) for name in named)
    assert hasattr(parallel_messages, "RunEpisodes")
    assert hasattr(parallel_messages, "EpisodeDone")


@pytest.mark.parametrize("folder", ["bench", "examples", "tools"])
def test_no_script_has_the_name_of_a_module_that_is_installed(folder):
    """Python searches a script's own folder first, so a library would import the script in place of the module."""
    modules = {*sys.stdlib_module_names, *packages_distributions()}

    assert not modules & {path.stem for path in (REPOSITORY / folder).glob("*.py")}
