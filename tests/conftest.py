"""What tests in several folders need, and what is done with every test: its markers, its turn and its memory."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import pytest

from heavy import PACKAGES, is_heavy_throughout, markers_of, turn_of

TESTS = Path(__file__).parent
# Pillow 13 rounds the resizing of tall images otherwise than Pillow 12, so both sides have the same one.
PILLOW = version("pillow")
os.environ["PROCTOR_ENVIRONMENTS"] = (
    os.devnull
)  # no test uses the user's environments, and a test that makes one sets it
os.environ.setdefault("PROCTOR_SCENE_CACHE", str(TESTS.parent / ".cache" / "scenes"))  # not in the user's cache
os.environ["XDG_STATE_HOME"] = os.devnull  # no test writes down where its runs lie, and a test of that sets it
ORACLE = TESTS.parent / f".venv-openpi-pillow-{PILLOW}"
PYTHONS = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
ORACLE_NEEDS = ["openpi-client==0.1.2", "typing_extensions", "websockets>=14", "numpy<2", f"pillow=={PILLOW}"]


def address_of(item: pytest.Item) -> str:
    """The file of a test below ``tests``, ``::`` and its name; the file alone for a test of another folder."""
    file = item.path.relative_to(TESTS) if item.path.is_relative_to(TESTS) else item.path
    return f"{file.as_posix()}::{item.nodeid.partition('::')[2]}"


class Imports:
    """What this process has imported of the packages that only a test with a marker may import."""

    seen: frozenset[str] = frozenset()
    by_files: dict[str, frozenset[str]] = {}  # noqa: RUF012 - there is one process

    @classmethod
    def new(cls) -> frozenset[str]:
        """The packages that were imported since the last call."""
        now = frozenset(PACKAGES.keys() & sys.modules.keys())
        cls.seen, new = now, now - cls.seen
        return new


def pytest_itemcollected(item):
    """Give a test its markers; ``quick`` is the marker of a test that has no other."""
    address = address_of(item)
    if new := Imports.new():
        Imports.by_files[address.partition("::")[0]] = new
    for marker in sorted(markers_of(address)) or ["quick"]:
        item.add_marker(marker)


def pytest_ignore_collect(collection_path, config):
    """``-m quick`` does not even import a file in which no test is quick: such files import torch and simulators."""
    if config.option.markexpr == "quick" and collection_path.suffix == ".py":
        return is_heavy_throughout(collection_path.relative_to(TESTS).as_posix()) or None
    return None


def pytest_collection_modifyitems(items):
    """The longest files come first, so that no process is left with one of them while the other has nothing to do."""
    items.sort(key=lambda item: turn_of(address_of(item)))


def pytest_collection_finish(session):
    """The files of tests without a marker may not import the packages either."""
    if Imports.by_files and session.items and all(item.get_closest_marker("quick") for item in session.items):
        found = "; ".join(f"{file} imports {', '.join(sorted(new))}" for file, new in Imports.by_files.items())
        raise pytest.UsageError(f"{found}: MARKERS of tests/heavy.py must name the file, or it must not import that.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    new = Imports.new()
    if new and item.get_closest_marker("quick"):
        markers = sorted({PACKAGES[package] for package in new})
        pytest.fail(
            f"This test has imported {', '.join(sorted(new))}: MARKERS of tests/heavy.py must give it "
            f"{', '.join(markers)}, or it must not import it."
        )
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item, file_of_last=[None]):  # noqa: B006 - what is remembered from call to call
    """Take all that was left by earlier files from the garbage collector.

    An evaluation in this process calls the collector whenever it closes a simulator. The collector would look each time
    at all of torch, MuJoCo and the tests themselves: half a second, and half of the time of many tests.
    """
    if file_of_last[0] != item.path:
        file_of_last[0] = item.path
        gc.collect()
        gc.freeze()


@dataclass(frozen=True)
class Video:
    """A file as a player reads it. ``frames`` is uint8 ``(n, height, width, 3)``; times are in seconds."""

    codec: str
    pixel_format: str
    frame_rate: Fraction
    seconds: float
    times: list[float]
    frames: np.ndarray


def decode(path: Path) -> Video:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return Video(
            codec=stream.codec_context.name,
            pixel_format=stream.codec_context.pix_fmt,
            frame_rate=stream.average_rate,
            seconds=float(stream.duration * stream.time_base),
            times=[float(frame.pts * frame.time_base) for frame in frames],
            frames=np.stack([frame.to_ndarray(format="rgb24") for frame in frames]),
        )


@pytest.fixture(scope="session")
def watch():
    """Plays a video file: a function from its path to what is in it."""
    return decode


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, as Playwright drives it."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # five seconds are short on a machine that does something else as well
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "pages are tested in Chromium, which is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe():
    """Looks at a page with axe-core, in light and in dark: a function from a page of Playwright to the serious and
    critical findings.
    """
    from axe_playwright_python.sync_playwright import Axe

    engine = Axe()

    def findings(page) -> list[str]:
        found = []
        for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):  # the rest is in both alike
            page.emulate_media(color_scheme=scheme)
            looked = engine.run(page, options=options).response
            assert looked["passes"]
            found += [
                f"{each['id']} ({each['impact']}, {scheme}): {node['target']} {node['failureSummary']}"
                for each in looked["violations"]
                if each["impact"] in ("serious", "critical")
                for node in each["nodes"]
            ]
        return found

    return findings


@pytest.fixture(scope="session")
def openpi_python():
    """The interpreter of an environment that has the real ``openpi-client``, which needs numpy before 2."""
    return environment_with(ORACLE, sys.executable, ORACLE_NEEDS)


def environment_with(folder: Path, base: str, packages: list[str]) -> str:
    """The interpreter of the virtual environment in ``folder``, which is made once, of the Python ``base``."""
    python, made = folder / "bin" / "python", folder / "made-for-tests"
    with Path(tempfile.gettempdir(), f"proctor{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of these tests may want it at the same time
        if not made.exists() or made.read_text() != " ".join(packages):
            commands = [[base, "-m", "venv", "--clear", str(folder)], [str(python), "-m", "pip", "install", *packages]]
            for command in commands:
                done = subprocess.run(command, check=False, capture_output=True, text=True)
                if done.returncode:
                    pytest.skip(f"{folder.name} cannot be made: {done.stderr.strip()[-300:]}")
            made.write_text(" ".join(packages))
    return str(python)


def python_of(version: str) -> str:
    """The path of a Python of this version: one on ``PATH``, or one of pyenv's."""
    found = [*PYTHONS.glob(f"{version}.*/bin/python"), shutil.which(f"python{version}")]
    for candidate in filter(None, found):  # pyenv has shims also for versions that are not active
        if subprocess.run([candidate, "-c", ""], check=False, capture_output=True).returncode == 0:
            return str(candidate)
    return pytest.skip(f"Python {version} is not installed")


@pytest.fixture(scope="session")
def python_310():
    """The oldest interpreter in which workers run (``--env.python``): with the least and the oldest that they need."""
    packages = ["numpy==1.26.4", "msgspec", "gymnasium==0.29.1"]
    return environment_with(TESTS.parent / ".venv-worker-3.10", python_of("3.10"), packages)


@pytest.fixture(scope="session")
def python_310_gym():
    """The same with the old gym in place of Gymnasium."""
    packages = ["numpy==1.26.4", "msgspec", "gym==0.26.2"]
    return environment_with(TESTS.parent / ".venv-worker-3.10-gym", python_of("3.10"), packages)


@pytest.fixture(scope="session")
def python_313():
    """A newer interpreter than those of Proctor, with the PyAV that this one has."""
    packages = ["numpy>=2.1", "msgspec", "gymnasium>=1.1", f"av=={version('av')}"]
    return environment_with(TESTS.parent / f".venv-worker-3.13-av-{version('av')}", python_of("3.13"), packages)


@pytest.fixture
def in_an_empty_folder(tmp_path_factory, monkeypatch):
    """The working directory, in which there are no runs, and a state folder in which none is written down."""
    folder = tmp_path_factory.mktemp("empty")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    return folder
