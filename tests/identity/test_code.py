"""Whose result it is: two functions or objects that differ in what they use are two, here and in any interpreter."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import random
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from proctor.identity.code import code_of, identify
from proctor.types import EpisodeSpec

GAIN = 1.0
LOG = logging.getLogger(__name__)


def scaled(observation):
    return GAIN * observation


def calls_scaled(observation):
    return [scaled(value) for value in observation]


def made(value):
    """Functions of one source."""
    return lambda observation: (observation, value)


def made_deep(value):
    def outer():
        def inner(observation):
            return made(value)(observation)

        return inner

    return outer()


def with_default(value):
    def function(observation, gain=value):
        return gain * observation

    return function


def with_keyword_default(value):
    def function(observation, *, gain=value):
        return gain * observation

    return function


class Controller:
    """A policy with a state."""

    def __init__(self, gain):
        self.gain = gain
        self.itself = self

    def __call__(self, observation):
        return self.gain * observation

    def act(self, observation):
        return self(observation)


@dataclasses.dataclass(frozen=True)
class Settings:
    gain: object
    names: tuple[str, ...] = ("a", "b")


class Slotted:
    __slots__ = ("gain",)

    def __init__(self, gain):
        self.gain = gain


class Net(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.layer.weight, weight)
        torch.nn.init.zeros_(self.layer.bias)
        self.norm = torch.nn.BatchNorm1d(1)

    @torch.no_grad()
    def forward(self, observation):
        return self.layer(observation)


def buffered(value):
    net = Net(0.0)
    net.norm.running_mean += value
    return net


MAKERS = {
    "a closure": made,
    "a closure in a closure": made_deep,
    "a default": with_default,
    "a keyword default": with_keyword_default,
    "a callable object": Controller,
    "a bound method": lambda value: Controller(value).act,
    "a partial": lambda value: functools.partial(scaled, value),
    "a partial of a bound method": lambda value: functools.partial(Controller(value).act, 1),
    "a dataclass": lambda value: made(Settings(value)),
    "slots": lambda value: made(Slotted(value)),
    "an array": lambda value: made(np.full(1000, value)),
    "an array of objects": lambda value: made(np.array(["x", value], object)),
    "a numpy number": lambda value: made(np.float32(value)),
    "a list in a dictionary": lambda value: made({"a": [1, 2, value]}),
    "a set": lambda value: made({"a", "b", str(value)}),
    "a module's weights": lambda value: made(Net(value)),
    "a module's method": lambda value: Net(value).forward,
    "a module's buffers": buffered,
    "a tensor": lambda value: made(torch.full((3,), value, dtype=torch.bfloat16)),
    "a function of a library around one": lambda value: torch.no_grad()(made(value)),
    "a cache around a function": lambda value: functools.lru_cache(made(value)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_differs_in_a_value_that_it_uses_is_another(make):
    """And what does not is the same."""
    one, same, other = (identify(make(value)) for value in (1.0, 1.0, 2.0))

    assert not one.unidentified
    assert one.sha256 == same.sha256
    assert one.sha256 != other.sha256


def test_a_hash_that_an_object_remembers_does_not_count():
    """It is another one in each process. An episode's spec remembers it once it has been in a set."""
    spec = EpisodeSpec("suite", 0, 0, 7)
    before = identify(lambda _: spec)
    hash(spec)

    assert identify(lambda _: spec) == before
    assert before.sha256 is not None


def test_equal_values_of_another_type_are_another():
    """1, 1.0, True and their like compute differently."""
    values = [1, 1.0, True, "1", b"1", np.float32(1), np.int64(1), (1,), [1], {1}, {1: 1}, np.ones(1), torch.ones(1)]

    assert len({identify(made(value)).sha256 for value in values}) == len(values)


def test_the_order_of_a_dictionary_counts():
    """A function may go through it."""
    assert identify(made({"a": 1, "b": 2})).sha256 != identify(made({"b": 2, "a": 1})).sha256


def test_functions_of_a_loop_are_told_apart():
    """As of a sweep."""
    functions = [lambda observation, gain=gain: gain * observation for gain in range(5)]

    assert len({identify(function).sha256 for function in functions}) == 5


def test_two_functions_of_one_line_are_told_apart():
    """Their source is the same text."""
    up, down = lambda o: o + 1, lambda o: o - 1

    assert identify(up).sha256 != identify(down).sha256


def test_a_global_that_changes_makes_it_another(monkeypatch):
    """Also one that a function it calls uses."""
    before = identify(calls_scaled).sha256
    assert identify(calls_scaled).sha256 == before

    monkeypatch.setattr(sys.modules[__name__], "GAIN", 2.0)

    assert identify(calls_scaled).sha256 != before


def test_another_global_does_not(monkeypatch):
    """A script counts, and logs."""
    before = identify(scaled).sha256
    monkeypatch.setattr(sys.modules[__name__], "LOG", 7)

    assert identify(scaled).sha256 == before


def test_a_value_in_a_module_without_a_version_counts(monkeypatch):
    """``config.GAIN`` is as good as ``GAIN``, also when it was set after the import."""
    settings = types.ModuleType("settings_of_the_test")
    settings.GAIN = 1.0
    monkeypatch.setitem(sys.modules, settings.__name__, settings)
    code = compile("def f(observation):\n    return settings.GAIN * observation", "f", "exec")
    scope = {"settings": settings, "__name__": "somewhere"}
    exec(code, scope)
    before = identify(scope["f"]).sha256

    settings.GAIN = 2.0

    assert identify(scope["f"]).sha256 != before


def test_a_module_that_is_passed_on_as_settings_counts_with_what_it_holds():
    """``Policy(config)``, where ``config`` is a module whose ``GAIN`` somebody set; its submodules are no settings."""
    settings = types.ModuleType("settings_of_the_test")
    settings.GAIN = 1.0
    before = identify(made(settings)).sha256
    settings.submodule = types.ModuleType("settings_of_the_test.submodule")
    assert identify(made(settings)).sha256 == before

    settings.GAIN = 2.0

    assert identify(made(settings)).sha256 != before


def test_training_makes_it_another():
    """One object, other weights: what a training loop evaluates."""
    net = Net(0.5)
    before = identify(net).sha256
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()

    assert identify(net).sha256 != before


def test_so_does_the_mode_a_module_is_in():
    """Dropout and normalisation act otherwise."""
    net = Net(0.5)
    before = identify(net).sha256

    assert identify(net.eval()).sha256 != before


def test_what_leads_back_to_itself_is_looked_at_once():
    """A recursive function, a list in itself, objects of each other."""

    def count_down(n):
        return count_down(n - 1) if n else LOG.info("done")

    ring = [1]
    ring.append(ring)
    other = [2]
    other.append(other)

    assert identify(count_down).sha256
    assert identify(made(ring)).sha256 != identify(made(other)).sha256


def test_what_is_met_often_is_not_looked_at_often():
    """Else thirty lists of two take a billion steps."""
    tree = []
    for _ in range(60):
        tree = [tree, tree]

    assert identify(tree).sha256


def test_long_chains_are_no_recursion():
    """Nothing here may depend on Python's limit."""
    chain = None
    for _ in range(20_000):
        chain = [chain]

    assert identify(chain).sha256


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Path(__file__).open(), "a _io.TextIOWrapper in <lambda>.value"),  # noqa: SIM115 - the test closes it
        (lambda: (n for n in "ab"), "a builtins.generator"),
        (lambda: iter([1]), "a builtins.list_iterator"),
        (lambda: np.random.default_rng(0), "a random generator of its own"),
        (lambda: random.Random(0), "a random generator of its own"),
        (torch.Generator, "a random generator of its own"),
        (threading.local, "a _thread._local"),
        (lambda: {"a": [Settings(iter([1]))]}, r"a builtins.list_iterator in <lambda>.value\['a'\]\[0\].gain"),
        (lambda: torch.zeros(2, 2).to_sparse(), "a torch.sparse_coo tensor"),
    ],
)
def test_what_cannot_be_known_again_is_named(make, what):
    """With the way to it; there is no digest then."""
    value = make()
    identity = identify(made(value))
    getattr(value, "close", lambda: None)()  # of the file; an open one that is forgotten is a warning

    assert identity.sha256 is None
    assert re.search(what, identity.unidentified), identity.unidentified


HARMLESS = [LOG, threading.Lock(), np.random.uniform, random.random, np.mean, torch.relu, len, np.sin]


@pytest.mark.parametrize("value", HARMLESS)
def test_what_says_nothing_of_actions_or_is_a_librarys_is_no_obstacle(value):
    """The global generators are every episode's own."""
    assert identify(made(value)).sha256


def test_an_object_that_raises_for_attributes_it_does_not_have_is_no_obstacle():
    """Some raise what is no AttributeError."""

    class Policy:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert identify(Policy()).sha256


def test_looking_runs_no_code_of_the_policys():
    """Not even what pickling would."""

    class Trap:
        def __reduce_ex__(self, protocol):
            raise AssertionError

        __getstate__ = __hash__ = __eq__ = __repr__ = __iter__ = __reduce_ex__

    assert identify(made(Trap())).sha256


SCRIPT = """
import json, sys
import numpy as np
from proctor.identity.code import identify
import helper

def make(names, table):
    return lambda observation: (names, table, helper.turn(observation), {"x", "y"}, 3.5)

functions = [make({"a", "b", "c"}, {"b": 1, "a": 2}), helper.Turner(), helper.turn, np.clip]
print(json.dumps([identify(function).sha256 for function in functions]))
"""
HELPER = """
import enum
NAMES = frozenset({"left", "right", "up"})
class Side(enum.Enum):
    LEFT = 1
def turn(observation, side=Side.LEFT):
    return observation in ("up", "down") or observation in NAMES
class Turner:
    def __init__(self):
        self.names = {"p", "q", "r", "s"}
    def __call__(self, observation):
        return turn(observation)
"""


def test_the_same_code_is_the_same_in_another_interpreter(tmp_path):
    """Whatever the hash seed is, whether the byte code was compiled or read, and where it lies."""
    found = []
    for seed, place in (("1", "one"), ("2", "one"), ("3", "other")):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        (folder / "script.py").write_text(SCRIPT)
        (folder / "helper.py").write_text(HELPER)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout))

    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 4
    assert None not in found[0]


def test_modules_and_distributions_that_were_met_are_reported():
    """Their code, and their versions, belong to it."""

    def function(observation):
        return np.clip(torch.relu(observation), 0, 1)

    identity = identify(function)

    assert {"numpy", "torch"} <= set(identity.distributions)
    assert __name__ in identity.modules


def test_a_class_of_a_script_is_known_without_the_rest_of_the_script(monkeypatch):
    """More episodes may be asked for by editing it."""
    monkeypatch.setattr(Controller, "__module__", "__main__")
    name = "__main__:Controller"
    before = code_of([Controller], ()).digests[name]

    monkeypatch.setattr(Controller, "act", lambda self, observation: -observation)

    assert code_of([Controller], ()).digests[name] != before
