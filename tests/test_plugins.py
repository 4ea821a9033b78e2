"""Plug-ins by name or by address."""

from __future__ import annotations

from importlib.metadata import EntryPoint, PackageNotFoundError
from types import SimpleNamespace

import pytest

from proctor import plugins
from proctor.errors import ConfigError
from proctor.plugins import BENCHMARKS, POLICIES, find, installed, load_object, requirements_of


def test_what_proctor_brings_is_registered_like_anybodys():
    """And every address leads somewhere, as far as its package is installed."""
    assert {"pusht", "metaworld", "gymnasium"} <= set(installed(BENCHMARKS))
    assert {"lerobot", "expert", "random", "zero", "function"} <= set(installed(POLICIES))

    for name in ("expert", "random", "zero", "function"):
        assert callable(load_object(find(POLICIES, name)))


def test_a_package_that_is_installed_adds_its_own(monkeypatch):
    """By its entry points; nothing of it is imported until it is used."""
    points = [EntryPoint("kitchen", "a_package_that_is_not_there:Kitchen", BENCHMARKS)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    installed.cache_clear()
    try:
        assert find(BENCHMARKS, "kitchen") == "a_package_that_is_not_there:Kitchen"
        with pytest.raises(ConfigError, match=r"Cannot import a_package_that_is_not_there.*ModuleNotFoundError"):
            load_object(find(BENCHMARKS, "kitchen"))
    finally:
        monkeypatch.undo()
        installed.cache_clear()


def test_an_unknown_name_is_answered_with_the_nearest():
    """Or with those there are."""
    with pytest.raises(ConfigError, match=r"Unknown benchmark 'pushT'\. Did you mean 'pusht'\?"):
        find(BENCHMARKS, "pushT")
    with pytest.raises(ConfigError, match=r"Unknown policy type 'xyz'\. Known: .*expert.*zero"):
        find(POLICIES, "xyz")


def test_an_address_stands_for_itself():
    """No registration is needed to try something out."""
    assert find(BENCHMARKS, "my_module:MyBenchmark") == "my_module:MyBenchmark"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("json", "not an address of the form module:attribute"),
        (":loads", "not an address"),
        ("json:", "not an address"),
        ("json:load_s", "json has no 'load_s'. Did you mean 'loads'?"),
        ("no_such_module:x", "Cannot import no_such_module .*ModuleNotFoundError"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_sentence(address, message):
    """That says what is wrong with it."""
    with pytest.raises(ConfigError, match=message):
        load_object(address)


def test_a_module_that_raises_when_imported_is_reported_with_its_reason(tmp_path, monkeypatch):
    """Whatever it raises."""
    (tmp_path / "a_broken_plugin.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=r"Cannot import a_broken_plugin .*ZeroDivisionError: division by zero"):
        load_object("a_broken_plugin:x")


def plug_in(requires, name="kitchen"):
    """A plug-in of a package that declares ``requires``."""
    return EntryPoint(name, "a:b", BENCHMARKS)._for(SimpleNamespace(name="house", requires=requires))


def test_a_plug_in_needs_what_the_extra_of_its_name_asks_for(monkeypatch):
    """Not what the package needs itself, nor other extras; where a version does not fit, what there is is said."""
    there = {"oven": "2.1", "table": "1.0"}

    def version(name):
        if name not in there:
            raise PackageNotFoundError
        return there[name]

    monkeypatch.setattr(plugins, "version", version)
    asked = [
        "roof>=1",
        "lamp; python_version > '3'",
        "oven<3,>=2; extra == 'kitchen'",
        "table==2.0; extra == 'kitchen'",
        "bed; extra == 'room'",
    ]
    asked += ["sink>=1; extra == 'kitchen'", "spoon; python_version < '3' and extra == 'kitchen'"]

    needs = requirements_of(plug_in(asked))

    assert needs.present == {"oven": "2.1"}
    assert needs.missing == ("table==2.0 (there is 1.0)", "sink>=1")
    assert not needs.met
    assert needs.command == "pip install 'house[kitchen]'"


@pytest.mark.parametrize("requires", [None, [], ["bed; extra == 'room'"]], ids=repr)
def test_a_plug_in_without_an_extra_needs_nothing(requires):
    """Functions, random actions, Gymnasium."""
    assert requirements_of(plug_in(requires)).met


def test_the_extra_that_a_benchmark_names_is_the_one_its_requirements_are_read_from():
    """So that an error and `proctor list` name the same command; here everything is installed."""
    for name, point in installed(BENCHMARKS).items():
        extra = load_object(point.value).extra
        assert extra in ("", name)
        assert requirements_of(point).met
        assert bool(requirements_of(point).present) == bool(extra)
