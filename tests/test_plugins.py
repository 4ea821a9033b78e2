"""Plug-ins by name or by address."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from proctor import plugins
from proctor.errors import ConfigError
from proctor.plugins import BENCHMARKS, POLICIES, find, installed, load_object


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
