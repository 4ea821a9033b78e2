"""The pages that promise something name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TESTS = Path(__file__).parent


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/reliability.md"])
def test_the_tests_that_a_page_names_exist(page):
    """By the name of a function or the path of a file."""
    named = re.findall(r"`((?:tests/[\w/.]+|bench/\w+\.py|test_\w+))`", (REPOSITORY / page).read_text())
    sources = "\n".join(file.read_text() for file in TESTS.rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", sources))

    assert len(named) > 10
    assert {name for name in named if name not in there and not (REPOSITORY / name).exists()} == set()
