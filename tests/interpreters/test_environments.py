"""Which environments exist, their state, their list and their removal."""

from __future__ import annotations

from pathlib import Path

import pytest

from proctor.errors import ConfigError
from proctor.interpreters.environments import (
    MARKER,
    State,
    environments_folder,
    existing,
    ready_environment,
    size_of,
)
from proctor.interpreters.overview import overview
from proctor.interpreters.recipe import recipes
from proctor.interpreters.removal import environments_to_remove, remove
from proctor.machine import home


def test_environments_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    """In XDG_CACHE_HOME or ~/.cache, or where the user says."""
    assert environments_folder() == tmp_path / "environments"
    monkeypatch.delenv("PROCTOR_ENVIRONMENTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert environments_folder() == tmp_path / "cache" / "proctor" / "environments"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environments_folder() == tmp_path / ".cache" / "proctor" / "environments"


def test_a_cache_that_ends_with_the_process_keeps_no_environment(monkeypatch, tmp_path):
    """A user without a home is told to name a folder."""
    monkeypatch.delenv("PROCTOR_ENVIRONMENTS")
    monkeypatch.setattr(home, "prepare_surroundings", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    with pytest.raises(ConfigError, match="name a folder by PROCTOR_ENVIRONMENTS"):
        environments_folder()
    assert existing() == []


def test_a_folder_without_a_readable_marker_is_no_environment(recipe_of, create):
    environment = create(recipe_of())

    (environment.folder / MARKER).write_text("{}")
    assert existing() == []
    (environment.folder / MARKER).unlink()
    assert existing() == []


def test_an_environment_goes_stale_with_its_recipe(recipe_of, create):
    """It stays ready if the user's own file is gone, and is stale if the file is no recipe any more."""
    environment = create(recipe := recipe_of())
    assert environment.state is State.READY

    text = recipe.path.read_text()
    recipe.path.write_text(text.replace("import numpy", "import msgspec"))
    assert environment.state is State.STALE
    recipe.path.write_text("broken")
    assert environment.state is State.STALE
    recipe.path.unlink()
    assert environment.state is State.READY
    environment.interpreter.unlink()
    assert environment.state is State.BROKEN


def test_the_environment_of_a_name_is_the_ready_one(recipe_of, create):
    """Else a sentence says how to get it."""
    with pytest.raises(
        ConfigError, match="The environment 'xarm' is not created; create it with: proctor env create xarm"
    ):
        ready_environment("xarm")
    with pytest.raises(ConfigError, match=r"There is no environment 'xram'. Did you mean 'xarm'\?"):
        ready_environment("xram")
    old = create(recipe_of())
    recipe = recipe_of(check='"import msgspec"')
    with pytest.raises(
        ConfigError, match=rf"'tiny' is stale \(its recipe has changed\); .*: proctor env create {recipe.path}"
    ):
        ready_environment("tiny")
    new = create(recipe)
    assert ready_environment("tiny") == new
    new.interpreter.unlink()
    old.interpreter.unlink()
    with pytest.raises(ConfigError, match="'tiny' is broken"):
        ready_environment("tiny")


def test_the_overview_has_every_recipe_and_every_environment(recipe_of, create):
    """Old and new ones of a name each have a row."""
    create(recipe_of())
    create(recipe_of(check='"import msgspec"'))
    rows = overview()

    assert [row.name for row in rows] == sorted([*recipes(), "tiny", "tiny"])
    assert sorted(row.state for row in rows if row.name == "tiny") == ["ready", "stale"]
    assert {row.state for row in rows if row.name != "tiny"} == {"not created"}
    assert {row.benchmarks for row in rows if row.name == "xarm"} == {("xarm",)}


def test_environments_are_removed_by_name_if_they_cannot_be_used_or_all(recipe_of, create):
    other, old = create(recipe_of("other")), create(recipe_of())
    new = create(recipe_of(check='"import msgspec"'))

    def chosen(name=None, *, stale=False, everything=False):
        return {each.folder.name for each in environments_to_remove(name, stale=stale, everything=everything)}

    assert chosen("tiny") == {old.folder.name, new.folder.name}
    assert chosen(stale=True) == {old.folder.name}
    assert chosen(everything=True) == {other.folder.name, old.folder.name, new.folder.name}
    remove(old, lambda _: None)
    assert existing() == [other, new]
    with pytest.raises(ConfigError, match=r"There is no environment 'tinny'. Did you mean 'tiny'\?"):
        chosen("tinny")
    for wrong in ({}, {"name": "tiny", "stale": True}, {"stale": True, "everything": True}):
        with pytest.raises(ConfigError, match="Give proctor env remove a name, --stale or --all"):
            chosen(**wrong)


def test_an_interrupted_removal_leaves_no_environment(recipe_of, create, monkeypatch):
    """What is left counts as incomplete, and the next creation removes it."""
    environment = create(recipe_of())

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("proctor.interpreters.environments.shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove(environment, lambda _: None)
    monkeypatch.undo()
    monkeypatch.setenv("PROCTOR_ENVIRONMENTS", str(environment.folder.parent))

    assert environment.folder.exists()
    assert existing() == []
    assert create(recipe_of()).folder == environment.folder


def test_what_cannot_be_removed_is_a_sentence(recipe_of, create, monkeypatch):
    def refused(_):
        raise PermissionError(13, "Permission denied", "file")

    environment = create(recipe_of())
    monkeypatch.setattr("proctor.interpreters.environments.shutil.rmtree", refused)

    with pytest.raises(ConfigError, match="cannot be removed: Permission denied: file"):
        remove(environment, lambda _: None)


def test_the_size_counts_each_file_once(tmp_path):
    """Hard links of one file, as uv makes them, take the disk once."""
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    Path(tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "a")

    assert size_of(tmp_path) == 3
