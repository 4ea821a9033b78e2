"""What is decided before anything runs: how many simulators memory holds, and which directory a run has."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.config import EvalConfig, RunConfig
from proctor.errors import ConfigError, ResourceError
from proctor.evaluation import capacity
from proctor.evaluation.capacity import n_simulators, require_memory, require_open_files
from proctor.evaluation.components import load_policy
from proctor.evaluation.prepared_run import prepare
from proctor.policies.base import LocalPolicy
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig

EACH = PushT.worker_memory_mb << 20


@pytest.fixture
def machine(monkeypatch):
    """Eight cores; a function that says how much memory is available."""
    monkeypatch.setattr(capacity, "usable_cores", lambda: 8)

    def available(n_bytes):
        monkeypatch.setattr(capacity, "available_memory", lambda: n_bytes)

    return available


def test_simulators_that_nobody_asked_for_are_as_many_as_memory_holds(machine):
    """But never more than the cores would get."""
    for n_bytes, n in ((100 * EACH, 5), (3 * EACH, 3), (EACH, 1), (None, 5)):
        machine(n_bytes)

        assert n_simulators(PushT(PushTConfig()), EvalConfig(), 100) == n


def test_more_simulators_than_memory_holds_are_refused_before_they_start(machine):
    """The sentence says how many there is room for."""
    machine(3 * EACH + 5)
    expected = (
        r"8 simulators of pusht at a time take 480 MB of memory \(60 MB each, as measured\), and 180 MB are available: "
        r"lower eval.batch_size to 3\."
    )

    with pytest.raises(ResourceError, match=expected):
        n_simulators(PushT(PushTConfig()), EvalConfig(batch_size=8), 100)
    assert n_simulators(PushT(PushTConfig()), EvalConfig(batch_size=8), 3) == 3
    assert n_simulators(PushT(PushTConfig()), EvalConfig(batch_size=8, use_async_envs=False), 100) == 8


def test_where_not_even_one_fits_nothing_is_lowered(machine):
    """There is nothing to lower."""
    machine(EACH - 1)

    with pytest.raises(ResourceError, match=r"59 MB are available: free some of it\."):
        n_simulators(PushT(PushTConfig()), EvalConfig(), 100)


def test_a_simulator_of_unknown_size_is_not_judged(machine):
    """A plug-in need not know."""
    machine(0)

    require_memory(FakeBenchmark(FakeConfig(type="fake")), 1000)


def test_more_simulators_than_files_may_be_open_are_refused(monkeypatch):
    """With the number that is possible."""
    monkeypatch.setattr(capacity, "workers_by_open_files", lambda n: min(n, 90))
    require_open_files(90)

    with pytest.raises(ResourceError, match=r"91 simulators .* lower eval\.batch_size to 90, or raise that limit"):
        require_open_files(91)


def test_consent_goes_to_a_loader_that_has_a_parameter_for_it(monkeypatch):
    """One without is called as ever; without consent, so is one with."""
    loaders = ModuleType("loaders_of_policies")
    loaders.asks = lambda fields, rename_map=None, *, trust_remote_code=False: LocalPolicy(f"a:{trust_remote_code}")
    loaders.does_not = lambda fields, rename_map=None: LocalPolicy("a:called")
    monkeypatch.setitem(sys.modules, loaders.__name__, loaders)

    def loaded(name, **consent):
        return load_policy({"type": f"loaders_of_policies:{name}"}, **consent).source

    assert loaded("asks", trust_remote_code=True) == "a:True"
    assert loaded("asks") == "a:False"
    assert loaded("does_not", trust_remote_code=True) == "a:called"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("builtins:print", "builtins:print returned a NoneType, which lacks open; a policy is a proctor.Policy"),
        ("math:pi", "math:pi is not callable; name a function that takes the fields"),
    ],
)
def test_a_loader_that_gives_no_policy_is_a_sentence(address, words):
    """As a benchmark's address that names no benchmark is."""
    with pytest.raises(ConfigError, match=words):
        load_policy({"type": address})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"output_dir": "runs/\udcff"}, r"'runs/\\udcff' is not UTF-8"),
        (
            {"output_dir": "x" * 300},
            "is not a valid name of a directory: File name too long; choose another one",
        ),
        ({"output_dir": "a\0b"}, "output_dir is not a valid name of a directory: "),
        ({"job_name": "\udcc3"}, r"'\\udcc3' is not UTF-8"),
        ({"env": {"type": "pusht", "kwargs": {"path": ["\udcff"]}}}, r"'\\udcff' is not UTF-8"),
        ({"env": {"type": "pusht", "\udcff": 1}}, r"'\\udcff' is not UTF-8"),
    ],
)
def test_names_that_cannot_be_written_are_refused(fields, words):
    """Before anything is made, in a sentence."""
    config = RunConfig(**{"policy": {"type": "zero"}, "env": {"type": "pusht"}, **fields})

    with pytest.raises(ConfigError, match=words):
        prepare(config)


@pytest.mark.parametrize("where", ["cwd", "path"])
def test_a_working_directory_that_is_not_utf8_is_refused(tmp_path, monkeypatch, where):
    """Workers are told where to find modules, and where videos go."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder if where == "cwd" else tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)] if where == "path" else sys.path)

    with pytest.raises(ConfigError, match=r"\\udcff' is not UTF-8"):
        prepare(RunConfig(policy={"type": "zero"}, env={"type": "pusht"}))


def placed_in(directory: Path | None):
    """A run for which the user chose this directory, or none."""
    output_dir = None if directory is None else str(directory)
    return prepare(RunConfig(env={"type": FAKE_BENCHMARK}, policy={"type": "zero"}, output_dir=output_dir))


def default_run(place: Path):
    return replace(placed_in(None), directory=place / "outputs/10-00-00_fake")


def test_of_runs_that_begin_in_the_same_second_each_has_its_own_directory(tmp_path):
    """They are threads here; the system makes a directory only once."""

    def begin(_):
        with default_run(tmp_path).in_own_directory() as prepared:
            (prepared.directory / "mine").touch()
            assert prepared.run_info.config["output_dir"] == str(prepared.directory)
            return prepared.directory.name

    with ThreadPoolExecutor(8) as threads:
        names = set(threads.map(begin, range(8)))

    assert names == {"10-00-00_fake", *(f"10-00-00_fake_{number}" for number in range(2, 9))}


def test_the_number_in_a_runs_own_name_stays(tmp_path):
    """A run that is called seed_1 must not end up as seed_2, which is another one's name."""
    prepared = replace(default_run(tmp_path), directory=tmp_path / "seed_1")
    prepared.directory.mkdir()

    with prepared.in_own_directory() as own:
        assert own.directory.name == "seed_1_2"


def test_a_directory_to_which_nothing_was_written_is_removed_again(tmp_path):
    """A start that failed leaves none."""
    with default_run(tmp_path).in_own_directory() as prepared:
        assert prepared.directory.is_dir()

    assert not prepared.directory.exists()


def test_a_directory_that_the_user_gave_is_taken_as_it_is(tmp_path):
    """There or not."""
    with placed_in(tmp_path / "run").in_own_directory() as prepared:
        assert prepared.directory == tmp_path / "run"
        assert not prepared.directory.exists()


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path):
    """A file is in its way."""
    (tmp_path / "outputs").touch()

    with pytest.raises(ResourceError, match="outputs/10-00-00_fake cannot be made"):
        default_run(tmp_path).in_own_directory().__enter__()
