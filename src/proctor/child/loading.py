"""Importing and loading in a process of Proctor's own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from proctor.child import is_own_process


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect no garbage in a block that imports and loads, if this is a process of Proctor's own.

    Importing torch makes half a million objects that stay, and a fifth of its time is the search for garbage among
    them. What exists at the end of the block is not searched later either.
    """
    if not (is_own_process() and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
