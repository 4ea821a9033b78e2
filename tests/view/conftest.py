"""A folder of runs, and the viewer on it."""

from __future__ import annotations

import shutil

import pytest
from served_runs import STORED, fake_run, opened, viewing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``runs`` with a run of fakes and a stored one; beside it a secret that nobody may see."""
    outside = tmp_path_factory.mktemp("view")
    (outside / "secret.mp4").write_bytes(b"nobody may see this")
    runs = outside / "runs"
    fake_run(runs / "2026-11-21" / "fake")
    shutil.copytree(STORED, runs / "stored")
    return runs


@pytest.fixture(scope="module")
def viewer(folder):
    with viewing(folder) as serving:
        yield serving


@pytest.fixture
def page(browser, viewer):
    """The index; nothing may be wrong with a page, and nothing may be asked of anybody else."""
    yield from opened(browser, viewer.url)
