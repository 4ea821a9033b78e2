"""A user without a name, without a home, or with one that takes no files."""

import atexit
import getpass
import os
from pathlib import Path

import pytest

from proctor.machine import home

SET = (
    "HOME",
    "TORCHINDUCTOR_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HF_HOME",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
)


@pytest.fixture
def user(monkeypatch, tmp_path):
    """Somebody with a name and a home; functions that take these away, and one that says what was set."""

    class User:
        home = tmp_path / "home"
        removals = []  # noqa: RUF012 - of the one user there is

        def loses_the_name(self):
            def unknown():
                raise KeyError("uid not found: 12345")

            monkeypatch.setattr(getpass, "getuser", unknown)

        def may_not_write(self):
            (self.home / ".cache").write_text("")  # root may write into any directory

        def prepared(self):
            home.prepare_surroundings.__wrapped__()
            return {name: os.environ[name] for name in SET if name in os.environ and name != "HOME"}

    for name in SET:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    monkeypatch.setattr(atexit, "register", lambda *call: User.removals.append(call))
    monkeypatch.setattr(home.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(User.home))
    User.home.mkdir()
    User.removals.clear()
    return User()


def test_where_nothing_is_missing_nothing_is_set(user):
    """And no folder is made, in the home neither."""
    assert user.prepared() == {}
    assert not user.removals
    assert not list(user.home.iterdir())


def test_torch_does_not_ask_for_a_name_that_is_not_there(user):
    """Everything else has its place in the home."""
    user.loses_the_name()

    assert list(user.prepared()) == ["TORCHINDUCTOR_CACHE_DIR"]


def test_caches_that_cannot_be_written_lie_in_a_folder_that_is_removed(user, tmp_path):
    """At the end of this process, and of no other."""
    user.may_not_write()
    folders = {Path(path).parent for path in user.prepared().values()}
    (folder,) = folders
    ((remove, *arguments),) = user.removals

    assert folder.parent == tmp_path
    remove(folder, os.getpid() + 1)
    assert folder.exists()
    remove(*arguments)
    assert not folder.exists()


def test_what_was_downloaded_is_still_read(user, monkeypatch, tmp_path):
    """From a cache that takes no more."""
    cache = tmp_path / "full"
    (cache / "huggingface").mkdir(parents=True)
    monkeypatch.setattr(home, "_cache", lambda _: cache)
    monkeypatch.setattr(home, "_can_be_written", lambda _: False)

    assert user.prepared()["HF_HOME"] == str(cache / "huggingface")
    assert "TORCH_HOME" not in os.environ


def test_a_home_that_nobody_knows_is_replaced(user, monkeypatch):
    """Else libraries would make a folder called ~ where the command was typed."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(home.os.path, "expanduser", lambda path: path)
    user.loses_the_name()

    assert list(user.prepared()) == ["TORCHINDUCTOR_CACHE_DIR"]
    assert Path(os.environ["HOME"]).is_dir()


def test_what_the_user_set_stays(user, monkeypatch):
    """Whether or not it can be written to."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/mine too")
    user.loses_the_name()
    user.may_not_write()

    prepared = user.prepared()

    assert (prepared["TORCHINDUCTOR_CACHE_DIR"], prepared["TRITON_CACHE_DIR"]) == ("/mine", "/mine too")
