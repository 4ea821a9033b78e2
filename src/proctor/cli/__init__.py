"""The command line: one file per command, which parses, calls and prints."""

from proctor.child import forget_empty_entries

forget_empty_entries()  # before anything else is imported

from proctor.cli.main import main  # noqa: E402

__all__ = ["main"]
