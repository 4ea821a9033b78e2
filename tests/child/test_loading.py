"""Garbage is not looked for while a process of Proctor's own imports and loads."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from proctor import child
from proctor.child.loading import without_garbage_collection


@pytest.fixture
def own_process(monkeypatch):
    monkeypatch.setattr(child, "_owned", True)
    yield
    gc.unfreeze()


def test_the_objects_of_a_block_stay_and_are_not_searched_later(own_process):
    """Also those of a block that fails; and a user who has switched the collector off finds it so."""
    before = gc.get_freeze_count()
    with without_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before

    with pytest.raises(ZeroDivisionError), without_garbage_collection():
        raise ZeroDivisionError
    assert gc.isenabled()

    gc.disable()
    try:
        with without_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_users_program_keeps_its_collector():
    before = gc.get_freeze_count()
    with without_garbage_collection():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


@pytest.mark.parametrize("switch", ["enable", "disable"])
def test_importing_the_command_line_leaves_the_collector_as_it_was(switch):
    program = (
        f"import gc; gc.{switch}(); before = gc.get_freeze_count(); import proctor.cli; "
        "print(gc.isenabled(), gc.get_freeze_count() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(switch == "enable"), "0"]
