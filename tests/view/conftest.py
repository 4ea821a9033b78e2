"""A folder of runs, and the viewer on it."""

from __future__ import annotations

import shutil

import pytest
from served_runs import STORED, fake_run, viewing


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
