"""The compiled controller: robosuite's torques, goals and velocities to the bit, or robosuite's own code."""

import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from proctor.benchmarks import robosuite as package
from proctor.benchmarks.robosuite import controller as module


@pytest.fixture(autouse=True)
def _robosuite():
    pytest.importorskip("robosuite")


@pytest.fixture
def compiled():
    """The compiled functions, found anew in each test."""
    module.compiled_functions.cache_clear()
    yield module.compiled_functions()
    module.compiled_functions.cache_clear()


def test_random_arms_are_driven_alike_to_the_bit(compiled):
    """Also without a turn, and beyond the limits of actions."""
    assert compiled is not None
    assert module._difference(compiled) == ""


@pytest.mark.parametrize("name", ["set_goal", "drive", "sense"])
def test_one_number_that_is_rounded_otherwise_is_seen(compiled, name):
    """Then robosuite's own code runs, and a warning says so."""

    def rounded_otherwise(arm, *others):
        getattr(compiled, name)(arm, *others)
        for field in ("goal_pos", "ee_pos_vel"):
            arm[field][0, 0] = np.nextafter(arm[field][0, 0], 9)
        if name == "drive":
            others[-1][0] = np.nextafter(others[-1][0], 9)

    other = SimpleNamespace(**{**vars(compiled), name: rounded_otherwise})
    module.compiled_functions.cache_clear()
    with (
        patch.dict(sys.modules, {"proctor.benchmarks.robosuite.compiled": other}),
        patch("proctor.benchmarks.robosuite.compiled", other),
        pytest.warns(UserWarning, match=r"slower code \(on this machine the compiled one would round otherwise\)"),
    ):
        assert module.compiled_functions() is None


def test_without_numba_robosuites_own_code_runs(monkeypatch):
    """A warning says why."""
    module.compiled_functions.cache_clear()
    monkeypatch.delitem(sys.modules, "proctor.benchmarks.robosuite.compiled", raising=False)
    monkeypatch.delattr(package, "compiled", raising=False)
    with (
        patch.dict(sys.modules, {"numba": None}),
        pytest.warns(UserWarning, match=r"Robosuite's controller runs by its own, slower code \(ModuleNotFoundError"),
    ):
        assert module.compiled_functions() is None
    module.compiled_functions.cache_clear()


def test_only_the_controller_that_was_compiled_is_replaced(compiled):
    """One with limits, of another kind, or of an arm with another number of joints runs as it is."""
    usual = module._random_controller(np.random.default_rng(0))
    usual.joint_dim = 7

    assert module.compiled_for(usual) is compiled
    for name, value in {"position_limits": np.zeros((2, 3)), "impedance_mode": "variable", "joint_dim": 6}.items():
        with patch.object(usual, name, value):
            assert module.compiled_for(usual) is None
    assert module.compiled_for(None) is None


def test_torques_beyond_the_limits_are_clipped_and_nan_stays_nan(compiled):
    """As ``np.clip`` does it."""
    for value in (-3.0, -0.5, 2.5, np.nan):
        assert np.array_equal(compiled._clipped(value, -1.0, 2.0), np.clip(value, -1.0, 2.0), equal_nan=True)
