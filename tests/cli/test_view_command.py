"""``proctor view``: what the command adds to the viewer."""

from __future__ import annotations

import re
import sys

import pytest

from proctor.cli import main
from proctor.view import Viewer


@pytest.fixture
def opened(monkeypatch):
    """What the browser is told to open; the server itself ends at once."""
    addresses = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    monkeypatch.setattr(Viewer, "serve", lambda viewer: viewer._socket.close())
    return addresses


@pytest.mark.parametrize("order", [["--open", "DIR"], ["DIR", "--open"]], ids=" ".join)
def test_it_says_where_it_is_and_opens_it_if_asked_to(tmp_path, capsys, opened, order):
    """The same address; the switch may come first."""
    words = [str(tmp_path) if word == "DIR" else word for word in order]

    assert main(["view", *words, "--port=0"]) == 0
    (address,) = re.findall(r"^(http://127\.0\.0\.1:\d+/)  \(Ctrl-C ends it\)$", capsys.readouterr().out, re.MULTILINE)
    assert opened == [address]


def test_nothing_is_opened_unasked(tmp_path, opened):
    """Nobody may be sitting at this machine."""
    assert main(["view", str(tmp_path), "--port=0", "--host=::1"]) == 0
    assert opened == []


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path, capsys, monkeypatch, opened):
    """But the usual one need not be there before anything was evaluated."""
    monkeypatch.chdir(tmp_path)

    assert main(["view", "outputs/eval"]) == 2
    assert "outputs/eval is not a folder; give one with runs in it" in capsys.readouterr().err
    assert main(["view", "--port=0"]) == 0


def test_without_the_packages_the_extra_is_named(tmp_path, capsys, monkeypatch):
    """And how it is installed."""
    for name in ("proctor.view", "proctor.view.server"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    assert main(["view", str(tmp_path)]) == 2
    assert "uvicorn is not installed; install it with: pip install 'proctor-eval[view]'" in capsys.readouterr().err
