"""The command line: one file per command, which parses, calls and prints."""

from proctor.child import forget_empty_entries

forget_empty_entries()  # before anything else is imported

import gc  # noqa: E402

_collects = gc.isenabled()
gc.disable()  # the objects that are made here stay, so looking for garbage among them is in vain
try:
    from proctor.cli.main import main
finally:
    if _collects:
        gc.enable()

__all__ = ["main"]
