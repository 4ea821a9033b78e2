"""docs/benchmarks.md: written from what the adapters say of themselves, which their own tests compare with what is."""

import inspect
import runpy
from pathlib import Path

import pytest

from proctor.plugins import BENCHMARKS, installed, load_object

REPOSITORY = Path(__file__).parents[2]
OURS = [point.value for point in installed(BENCHMARKS).values() if point.value.startswith("proctor.")]


def test_the_page_is_what_the_docstrings_say():
    """``make docs`` writes it again."""
    tool = runpy.run_path(str(REPOSITORY / "tools" / "benchmark_reference.py"))

    assert (REPOSITORY / "docs" / "benchmarks.md").read_text() == tool["reference"]()


@pytest.mark.parametrize("address", OURS)
def test_every_benchmark_says_what_an_episode_is(address):
    """A row for each question there is; the seed is said to do something, and where the protocol differs, in what."""
    docstring = inspect.getdoc(load_object(address))
    rows = {line.split("  ")[0] for line in docstring.splitlines()}

    assert {"suite, task", "observation", "action", "episode", "success", "reward"} <= rows
    assert "seed" in docstring
