"""The markers of tests: the table names what is there, and a test that needs a marker and has none fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heavy import MARKERS, PACKAGES, is_heavy_throughout, markers_of, turn_of

TESTS = Path(__file__).parent


@pytest.mark.parametrize("start", MARKERS)
def test_an_address_of_the_table_is_there(start):
    """An entry that names nothing would leave tests without their markers."""
    file, _, name = start.partition("::")

    assert any(path.relative_to(TESTS).as_posix().startswith(file) for path in TESTS.rglob("test_*.py"))
    assert not name or f"def {name}" in (TESTS / file).read_text()


def test_the_packages_markers_are_given_by_the_table():
    """And ``pyproject.toml`` knows them: pytest refuses others."""
    assert set(PACKAGES.values()) < {marker for markers in MARKERS.values() for marker in markers}


def test_an_address_has_all_markers_of_its_beginnings():
    """A file of which one test has a marker is not left out as a whole; an exception has no marker."""
    assert markers_of("benchmarks/test_libero_adapter.py::test") == {"simulator", "torch"}
    assert markers_of("test_docs.py::test_what_a_page_shows_works[README.md]") == {"simulator", "torch"}
    assert markers_of("test_docs.py::test_every_link") == set()
    assert markers_of("statistics/test_counts.py::test") == set()
    assert is_heavy_throughout("cli/test_check.py")
    assert not is_heavy_throughout("test_docs.py")
    assert turn_of("test_real_policies.py::test") < turn_of("test_docs.py::test") < turn_of("test_plugins.py::test")


def run_quick(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a file of tests below this folder's ``conftest.py`` with a package called ``ray`` beside it."""
    for name in ("conftest.py", "heavy.py"):
        shutil.copy(TESTS / name, folder)
    (folder / "ray.py").touch()
    (folder / "test_some.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "quick", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_test_without_a_marker_may_not_import_what_needs_one(tmp_path):
    """It fails, and the test after it does not."""
    done = run_quick(tmp_path, "def test_one():\n    import ray\n\n\ndef test_two():\n    pass\n")

    assert "This test has imported ray: MARKERS of tests/heavy.py must give it ray" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_a_file_without_a_marker_may_not_import_it_either(tmp_path):
    """Nothing is run."""
    done = run_quick(tmp_path, "import ray\n\n\ndef test_one():\n    pass\n")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_some.py imports ray: MARKERS of tests/heavy.py must name the file" in done.stderr
