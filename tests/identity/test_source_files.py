"""Code that has no version: which it is, and that a change of it is seen."""

from __future__ import annotations

import json
import sys

import pytest

from proctor.errors import ConfigError
from proctor.identity.source_files import is_known, owner_of, unowned_code, unowned_places


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A folder on the import path, and a function that writes a file into it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, content=""):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        __import__("importlib").invalidate_caches()

    return write


def installed(path, folder, name, module, *, editable=False):
    """What pip leaves of a distribution, in a folder beside or away from its module."""
    metadata = f"{name.replace('-', '_')}-1.0.dist-info"
    origin = {"url": (folder / "a tree").as_uri(), "dir_info": {"editable": editable}}
    path(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    path(f"{metadata}/RECORD", "" if editable else f"{module}/__init__.py,,\n")
    path(f"{metadata}/direct_url.json", json.dumps(origin))


def test_a_module_is_the_text_of_its_file(path):
    """Alone: what lies beside it, and it does not import, is not its."""
    path("alone_a.py", "x = 1")
    before = unowned_code(["alone_a"])
    path("alone_b.py", "y = 1")
    assert unowned_code(["alone_a"]) == before

    path("alone_a.py", "x = 2")

    assert unowned_code(["alone_a"]) != before


def test_a_package_is_all_its_python_files(path):
    """A module deep inside is named by its package; caches and hidden folders are none of it."""
    path("pack_a/__init__.py")
    path("pack_a/deep/inner.py", "x = 1")
    before = unowned_code(["pack_a.deep.inner"])
    path("pack_a/__pycache__/inner.cpython-312.pyc", "whatever")
    path("pack_a/.hidden/x.py", "whatever")
    assert unowned_code(["pack_a"]) == before
    assert set(before) == {"pack_a"}

    path("pack_a/deep/inner.py", "x = 2")

    assert unowned_code(["pack_a"]) != before


def test_what_it_imports_and_nobody_owns_belongs_to_it(path):
    """However far away; what is installed is known by its version."""
    path("chain_a.py", "import json, numpy\ndef f():\n    from chain_b.inner import x\n")
    path("chain_b/__init__.py")
    path("chain_b/inner.py", "import chain_c\nimport chain_a\nx = 1")
    path("chain_c.py", "no Python at all (")

    assert list(unowned_code(["chain_a"])) == ["chain_a", "chain_b", "chain_c"]


def test_what_a_distribution_installed_is_known_by_its_version(path, tmp_path):
    """Also under another name than its own."""
    path("owned_a/__init__.py")
    installed(path, tmp_path, "Distribution_A", "owned_a")

    assert unowned_code(["owned_a", "numpy", "json", "yaml"]) == {}
    assert owner_of("owned_a") == "Distribution_A"
    assert owner_of("yaml") == "PyYAML"


def test_an_editable_install_counts_as_code_without_a_version(path, tmp_path, monkeypatch):
    """Its version never changes; it is found by its module and by its distribution, whatever they are called."""
    path("a tree/src/editable_a/__init__.py")
    monkeypatch.syspath_prepend(str(tmp_path / "a tree/src"))
    installed(path, tmp_path, "editable-dist", "editable_a", editable=True)

    assert not is_known("editable_a")
    assert set(unowned_code(["editable_a"])) == {"editable_a"}
    assert unowned_code([], ["editable-dist", "numpy", "never-installed"]) == unowned_code(["editable_a"])


def test_a_source_tree_with_metadata_is_no_installation(path):
    """setuptools leaves it there for ``pip install -e``."""
    path("tree_a/__init__.py")
    path("tree_a.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: tree_a\nVersion: 1.0\n")
    path("tree_a.egg-info/top_level.txt", "tree_a")

    assert not is_known("tree_a")


def test_proctor_itself_is_never_counted():
    """Its protocols' versions stand for it, also in a developer's checkout."""
    assert unowned_code(["proctor.testing.fakes"], ["proctor-eval"]) == {}


def test_code_that_cannot_be_read_is_a_sentence(path, tmp_path):
    """A link that leads nowhere, as editors leave them."""
    path("broken_a/__init__.py")
    (tmp_path / "broken_a" / "lock.py").symlink_to("nowhere")

    with pytest.raises(ConfigError, match=r"broken_a/lock\.py cannot be read"):
        unowned_code(["broken_a"])


def test_what_is_not_found_has_no_digest():
    """The module that imports it gets the error."""
    assert unowned_code(["no_such_module_anywhere", "__main__"]) == {}


def test_where_it_was_is_told_as_an_absolute_folder(path, tmp_path):
    """A run may be continued from another folder."""
    path("placed_a.py")
    path("placed_b/__init__.py")

    assert unowned_places(["placed_a", "placed_b.x", "json"]) == {"placed_a": str(tmp_path), "placed_b": str(tmp_path)}
    assert str(tmp_path) in sys.path
